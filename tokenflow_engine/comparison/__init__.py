"""The yardstick: TokenFlow beside other ways to edit a clip, on the same clips and base editor."""
