"""What `oncue audit` does beside asking tables: the log's key, sealing, proofs."""
