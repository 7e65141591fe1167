"""nnU-Net v2 result folders as a kind of model: found, read safely, run as nnU-Net runs them."""
