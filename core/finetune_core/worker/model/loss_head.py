"""Whether the head that computes the loss gives what the model's own does.

TRL fuses the head with the loss, so that logits of all tokens never exist. What an architecture does to its logits
beside that (a scale, a cap, a bias) it knows of some architectures only, and what it does not know it leaves out.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch

from finetune_core.errors import FtError, problem
from finetune_core.text import one_line
from finetune_core.worker.model.undisturbed import undisturbed
from finetune_core.worker.types import Model

_LENGTH = 16
# Products in 16 bits are rounded otherwise in tiles; a scale that was left out is off by far more.
_TOLERANCE, _TOLERANCE_16_BITS = 1e-3, 0.1


def refuse_another_loss(
    model: Model,
    autocast: Callable[[], AbstractContextManager[Any]],
) -> None:
    """Raise FtError when the fused head's log-probabilities of a random row are not those of the model's logits."""
    config = model.config.get_text_config()
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(min(int(config.vocab_size), 1000), (1, _LENGTH), generator=draw).to(model.device)
    with undisturbed(model), autocast():
        logits = model(input_ids=ids, use_cache=False).logits
        try:
            fused = model(input_ids=ids, labels=ids, fused_lm_head=True, use_cache=False).log_probs
        except (AttributeError, TypeError, NotImplementedError) as error:
            raise _refused(config, f"its fused head fails: {type(error).__name__}: {error}") from error
    own = torch.log_softmax(logits[0, :-1].float(), -1).gather(-1, ids[0, 1:, None])[:, 0]
    off = float((fused[0].float() - own).norm() / own.norm())
    # A base that gives no numbers is another matter, which the first loss shows.
    if off > (_TOLERANCE if logits.dtype == torch.float32 else _TOLERANCE_16_BITS):
        raise _refused(
            config,
            f"the loss that would be trained on is {100 * off:.2g} % off the model's own: its head computes something "
            "that the trainer does not know of",
        )


def _refused(config: Any, why: str) -> FtError:  # noqa: ANN401 - a transformers config
    return problem(
        f"models of the type {one_line(str(config.model_type), 60)} cannot be trained here",
        where="model.source",
        why=one_line(why, 300),
        remedy="choose a model of another architecture",
    )
