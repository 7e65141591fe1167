"""Storage commitment on record: what peers asked us to vouch for, and what destinations vouched for (PS3.4 Annex J)."""
