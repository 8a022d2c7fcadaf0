"""What a good edit is, measured."""
