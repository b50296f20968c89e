"""Metrics and the verdict: pure functions over texts and numbers."""
