"""The supervisor: it starts the trainer, watches it, restarts it where that helps, records how it ended."""
