"""What oncue holds and wrote, as peers ask for it: studies, series and instances (PS3.4 Annex C, PS3.18 10.6)."""
