"""Training of the small foundation diffusion model and of the anomaly adapters on top of it."""
