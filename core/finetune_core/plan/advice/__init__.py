"""A value and its reason for each field on auto, and what else there is."""
