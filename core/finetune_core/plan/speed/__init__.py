"""The speed of a run: the time of a step, and what earlier runs measured here."""
