"""Models of a site's own, from the command line: listed, and tried on a study without sending anything."""
