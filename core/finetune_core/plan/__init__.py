"""From facts to decisions: memory, steps, and each automatic value with its reason."""
