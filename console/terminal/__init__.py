"""What every command shares: its options, who acts, and how results are written."""
