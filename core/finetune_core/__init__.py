"""Everything of ft-tui that is not a screen: facts, decisions, runs and the worker that trains."""

__version__ = "0.1.0"
