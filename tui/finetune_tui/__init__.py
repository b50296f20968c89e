"""The terminal interface of ft-tui: a form over the recipe and a reader of the run directory."""
