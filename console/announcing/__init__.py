"""Who is told that a study is urgent, as people see it: the channels, and what each was told."""
