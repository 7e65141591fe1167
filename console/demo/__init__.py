"""The demonstration: a PACS of its own, a study, the whole system, and what came back."""
