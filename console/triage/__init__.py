"""Triage, as people see it: policies on record and on trial."""
