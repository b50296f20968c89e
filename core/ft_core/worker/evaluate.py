"""The held-out loss: mean negative log-likelihood over every trained token of the held-out rows."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch

from ft_core.worker.dataset import IGNORED, Progress, Tokens
from ft_core.worker.generate import undisturbed

_BATCH_TOKENS = 8_192


def held_out_loss(
    model: Any,  # noqa: ANN401 - a transformers model or a PEFT wrapper around one, which share no base class
    tokens: Tokens,
    *,
    pad: int,
    autocast: Callable[[], AbstractContextManager[Any]],
    progress: Progress,
) -> float:
    """Nats a trained token, every token counted alike whatever batch it lies in.

    The model must carry TRL's fused head (SFTTrainer adds it), so that the full logits never exist.
    `progress(done, total)` counts rows and may raise to stop. A batch too big for the memory is halved until it fits.
    """
    # Rows of like length together, longest first, so that a batch too big for the memory is met at once.
    order = sorted(range(len(tokens)), key=lambda place: -len(tokens.input_ids[place]))
    total, count, done, most = 0.0, 0, 0, _BATCH_TOKENS
    with undisturbed(model):
        while done < len(order):
            length = len(tokens.input_ids[order[done]])
            places = order[done : done + max(1, most // length)]
            try:
                loss, learnt = _sums(model, _padded(tokens, places, pad, model.device), autocast)
            except torch.cuda.OutOfMemoryError:
                if len(places) == 1:
                    raise
                most = len(places) * length // 2
                continue
            total, count, done = total + loss, count + learnt, done + len(places)
            progress(done, len(tokens))
    return total / count if count else float("nan")


def longest_batch(
    model: Any,  # noqa: ANN401 - as above
    tokens: Tokens,
    pad: int,
    autocast: Callable[[], AbstractContextManager[Any]],
) -> None:
    """Compute the first batch of `held_out_loss`, which is the largest, for what it takes."""
    order = sorted(range(len(tokens)), key=lambda place: -len(tokens.input_ids[place]))
    places = order[: max(1, _BATCH_TOKENS // len(tokens.input_ids[order[0]]))]
    with undisturbed(model):
        _sums(model, _padded(tokens, places, pad, model.device), autocast)


def _sums(
    model: Any,  # noqa: ANN401 - as above
    inputs: dict[str, torch.Tensor],
    autocast: Callable[[], AbstractContextManager[Any]],
) -> tuple[float, int]:
    """Nats of a batch in all, and its trained tokens."""
    with autocast():
        outputs = model(**inputs, fused_lm_head=True, use_cache=False)
    return -float(outputs.log_probs.double().sum()), int(outputs.label_mask.sum())


def _padded(tokens: Tokens, places: list[int], pad: int, device: torch.device) -> dict[str, torch.Tensor]:
    """`input_ids`, `labels` and `attention_mask`, each [rows, longest row], padded on the right."""
    width = max(len(tokens.input_ids[place]) for place in places)
    ids = torch.full((len(places), width), pad, dtype=torch.long)
    labels = torch.full((len(places), width), IGNORED, dtype=torch.long)
    mask = torch.zeros((len(places), width), dtype=torch.long)
    for line, place in enumerate(places):
        length = len(tokens.input_ids[place])
        ids[line, :length] = torch.tensor(tokens.input_ids[place])
        labels[line, :length] = torch.tensor(tokens.labels[place])
        mask[line, :length] = 1
    return {"input_ids": ids.to(device), "labels": labels.to(device), "attention_mask": mask.to(device)}
