"""What `oncue doctor` looks at."""
