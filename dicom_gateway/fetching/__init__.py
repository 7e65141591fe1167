"""Studies that are fetched from sources by C-MOVE, C-GET or WADO-RS."""
