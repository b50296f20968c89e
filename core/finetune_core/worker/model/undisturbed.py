"""Passes through a model in training that leave the training exactly as it was."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def undisturbed(model: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode and no gradients inside; the mode and every random state are as before afterwards."""
    training = model.training
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    gpu = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        if gpu is not None:
            torch.cuda.set_rng_state(gpu)
            # What the cache of keys and values took is of no shape a training step could use again.
            torch.cuda.empty_cache()
