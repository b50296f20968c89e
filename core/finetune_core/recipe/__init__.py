"""What to do: the schema of a run, YAML in and out, and checks that report all problems at once."""
