"""A training run: the job, its set-up, what happens between two steps, the trainer."""
