"""Heads: what learns from a few labelled vectors, in seconds on a processor; every hyperparameter is fixed in code."""
