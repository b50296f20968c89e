"""Rows as token ids with the mask of what is trained."""
