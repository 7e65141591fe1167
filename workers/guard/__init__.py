"""What the picture shows: the body region of a volume, before any analyser looks for lesions in it."""
