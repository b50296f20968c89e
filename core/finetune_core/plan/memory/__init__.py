"""The memory of a training step: in closed form, and traced where no formula is known."""
