"""What people and other programs talk to: the command line, the HTTP API and the pages."""
