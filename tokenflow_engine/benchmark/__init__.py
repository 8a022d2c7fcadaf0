"""Speed and memory of the engine beside the bare UNet and beside the released code's way."""
