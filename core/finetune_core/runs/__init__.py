"""The run directory: create, journal, status, control, launch, supervise, list, view."""
