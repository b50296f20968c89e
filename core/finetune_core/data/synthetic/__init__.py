"""Synthetic rows: asked of a language model's endpoint, checked, kept apart until a person has looked at each."""
