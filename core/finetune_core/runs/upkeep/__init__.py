"""Run directories made, removed, restored and packed for a bug report."""
