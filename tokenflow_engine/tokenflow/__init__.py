"""TokenFlow itself (Geyer et al., ICLR 2024, arXiv:2307.10373): keyframes, correspondence fields,
propagation, and the attention processors that wire them into the UNet."""
