"""What `oncue peers` and the doctor show and make of the peers' entries."""
