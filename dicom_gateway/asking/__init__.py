"""What sources hold, asked by C-FIND (PS3.4 Annex C) and by QIDO-RS (PS3.18 10.6), within bounds of time and number."""
