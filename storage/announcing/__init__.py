"""Priorities on their way out: channels, announcements, and who has seen which urgent study."""
