"""The dashboard: one run, live or finished."""
