"""Workitems of the department's worklist (PS3.4 Annex CC): one for each study, and its state."""
