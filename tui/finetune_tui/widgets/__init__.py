"""Widgets, each named after the thing it shows."""
