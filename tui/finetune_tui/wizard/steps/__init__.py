"""The wizard's five steps."""
