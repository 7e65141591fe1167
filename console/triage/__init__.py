"""Urgent studies as people and programs see them: who waits, and how long each step took."""
