"""Segmentation evaluated on labelled cases: figures with intervals, always beside trivial baselines."""
