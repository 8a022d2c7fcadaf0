"""Base editors: what is injected, and where the diffusion starts, while keyframes are edited."""
