"""The subcommands of `oncue`. Each imports what it starts inside its function, so that `oncue --help` stays fast."""
