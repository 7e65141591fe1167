"""Where results go, as people see it: the entries, what a destination takes, and what follows from it."""
