"""Storage commitment over DIMSE, as the one who vouches and as the one who asks (PS3.4 Annex J)."""
