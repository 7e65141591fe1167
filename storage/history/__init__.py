"""The history as a log that proves itself: Merkle tree, tiles, signed checkpoints, proofs that a stranger can check."""
