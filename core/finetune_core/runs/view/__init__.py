"""A run as a reader sees it: state, curves, history, summary, answers, damage."""
