"""Frozen diffusion models of other makers, read from a local folder and used through one interface."""
