"""Networks of families of images, trained on painted lesions and on what earlier rounds marked."""
