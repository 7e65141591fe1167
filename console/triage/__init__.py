"""Triage as people see it: what a policy would have done, in tables and pictures."""
