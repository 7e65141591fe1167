"""The laboratory: training, evaluation, the protocols of the papers. Nothing of the product imports it."""
