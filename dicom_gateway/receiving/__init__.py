"""The way in: associations, messages and instances, until their rows are committed and the sender is answered."""
