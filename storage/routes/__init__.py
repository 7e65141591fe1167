"""Routes: which series of which studies get which analysis, by a file of the site's own."""
