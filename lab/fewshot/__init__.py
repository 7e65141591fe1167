"""Few-shot classification measured on labelled pictures: lists, splits, cached embeddings, runs, report."""
