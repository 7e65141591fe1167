"""Workitems over HTTP: UPS-RS (PS3.18 Chapter 11)."""
