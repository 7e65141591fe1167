"""Query and retrieval of what oncue holds over DIMSE: the SCP of C-FIND, C-MOVE and C-GET (PS3.4 Annex C)."""
