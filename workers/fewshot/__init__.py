"""Few-shot labels of lesions: a frozen encoder looks at the masked region, a head learns from a few labelled ones."""
