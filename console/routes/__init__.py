"""Routes as people and programs see them: which file is in force, and what it makes of a study."""
