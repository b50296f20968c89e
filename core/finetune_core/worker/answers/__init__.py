"""Answers and losses of base and tuned model on held-out rows."""
