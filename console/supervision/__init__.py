"""All processes of one machine under one parent: what `oncue up` runs."""
