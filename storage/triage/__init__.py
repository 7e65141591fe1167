"""The triage policy: how findings become a reading priority, on trial and live, and what it would have said before."""
