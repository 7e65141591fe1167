"""How much of a backbone is trained on a few examples: the freezing study."""
