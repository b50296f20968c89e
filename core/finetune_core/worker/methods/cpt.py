"""Continued pre-training: the trainer of supervised fine-tuning, on rows whose every token is trained."""

from __future__ import annotations

from finetune_core.worker.methods import sft
from finetune_core.worker.methods.trainer import Parts
from finetune_core.worker.types import TrainerOfTrl


def trainer(parts: Parts) -> TrainerOfTrl:
    """The trainer around a model, an adapter and the tokens of raw text: the mask of a row says what is trained."""
    return sft.trainer(parts)
