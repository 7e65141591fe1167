"""Frozen image encoders, loaded offline and checked by digest: a picture becomes a vector and a spatial grid."""
