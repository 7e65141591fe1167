"""MONAI bundles as a kind of model: read as data, run without code of theirs wherever that is possible."""
