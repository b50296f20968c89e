"""Names for what the training libraries give no types, or none that all of its kinds share."""

from __future__ import annotations

from typing import Any

# A transformers model, or PEFT's wrapper around one: they share no base class that has what both have.
Model = Any
# TRL's trainer, or transformers' below it.
TrainerOfTrl = Any
