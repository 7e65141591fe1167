"""All processes of one machine under one parent, as `oncue up` runs them: children, ports, lock, signals."""
