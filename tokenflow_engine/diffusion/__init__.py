"""The pretrained text-to-image model: loading, prompts, noise schedule, inversion, autoencoder."""
