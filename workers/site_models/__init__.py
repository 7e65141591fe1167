"""Models of a site's own: recognised, checked, loaded and kept warm, whatever the field published them as."""
