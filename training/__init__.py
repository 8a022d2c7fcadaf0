"""Training of the embedded model on the toy world, from rendered pictures to the checkpoint."""
