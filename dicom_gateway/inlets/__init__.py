"""Ways in beside the listener: files and parts of requests that become acknowledged images."""
