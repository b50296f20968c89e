"""Checkpoints: sealed, kept, compared with what training goes on from."""
