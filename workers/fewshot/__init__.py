"""Few-shot classification of a lesion: a frozen backbone looks at the masked region, prototypes give the label.

The head is that of prototypical networks (Snell et al., 2017) on centred unit vectors; nothing is trained.
"""
