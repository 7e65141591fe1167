"""Visual prompts: how a mask tells a frozen backbone where to look; deterministic, `PROMPT_VERSION` in every key."""
