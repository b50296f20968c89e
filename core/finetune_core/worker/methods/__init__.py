"""The half of each method that needs the training stack: its trainer and the trainer's settings."""

from __future__ import annotations

from finetune_core.methods.method import Method
from finetune_core.worker.methods.trainer import Parts
from finetune_core.worker.types import TrainerOfTrl


def make_trainer(method: Method, parts: Parts) -> TrainerOfTrl:
    """The trainer of this method; only what it needs is imported."""
    match method.name:
        case "sft":
            from finetune_core.worker.methods.sft import trainer
        case "cpt":
            from finetune_core.worker.methods.cpt import trainer
        case _:
            raise NotImplementedError(method.name)
    return trainer(parts)
