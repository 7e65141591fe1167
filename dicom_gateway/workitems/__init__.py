"""Workitems over DIMSE: the SCP of UPS Push, Pull, Watch (query and get) and Query (PS3.4 Annex CC)."""
