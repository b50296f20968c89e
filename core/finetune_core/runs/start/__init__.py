"""A run started, continued or tried: launch, preflight, the worker that waits."""
