"""The upper layer protocol and DIMSE as bytes, for both directions: PDUs, command sets, connections (PS3.7, PS3.8)."""
