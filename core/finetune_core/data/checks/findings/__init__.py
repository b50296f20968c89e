"""What can be wrong with rows that are well formed: each kind with its reason, the rows it is in, and what to do."""
