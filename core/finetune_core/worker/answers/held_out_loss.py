"""The held-out loss: mean negative log-likelihood over every trained token of the held-out rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from math import fsum
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from finetune_core.evaluation.losses import RowLosses, grouped
from finetune_core.worker.model.undisturbed import undisturbed
from finetune_core.worker.report import Reporter
from finetune_core.worker.rows.dataset import IGNORED, Progress, Tokens
from finetune_core.worker.types import Model

_BATCH_TOKENS = 8_192

# The place of a token row, its nats in all, and its trained tokens.
RowLoss = tuple[int, float, int]


def held_out_loss(
    model: Model,
    tokens: Tokens,
    *,
    pad: int,
    autocast: Callable[[], AbstractContextManager[Any]],
    progress: Progress,
    rows: list[RowLoss] | None = None,
) -> float:
    """Nats a trained token, every token counted alike whatever batch it lies in; `rows` takes those of each row.

    The model must carry TRL's fused head (SFTTrainer adds it), so that the full logits never exist.
    `progress(done, total)` counts rows and may raise to stop. A batch too big for the memory is halved until it fits.
    """
    # Rows of like length together, longest first, so that a batch too big for the memory is met at once.
    order = sorted(range(len(tokens)), key=lambda place: -len(tokens.input_ids[place]))
    found: list[RowLoss] = []
    done, most = 0, _BATCH_TOKENS
    with undisturbed(model):
        while done < len(order):
            length = len(tokens.input_ids[order[done]])
            places = order[done : done + max(1, most // length)]
            try:
                sums = _sums(model, _padded(tokens, places, pad, model.device), autocast)
            except torch.cuda.OutOfMemoryError:
                if len(places) == 1:
                    raise
                most = len(places) * length // 2
                continue
            found.extend(zip(places, *sums, strict=True))
            done += len(places)
            progress(done, len(tokens))
    if rows is not None:
        rows.extend(found)
    count = sum(trained for *_, trained in found)
    # Rounded once, so that the sum does not depend on the order of the rows.
    return fsum(nats for _, nats, _ in found) / count if count else float("nan")


def keep_rows(
    reporter: Reporter,
    step: int,
    rows: Sequence[RowLoss],
    tokens: Tokens,
    tokenizer: PreTrainedTokenizerBase,
    *,
    of: str = "",
) -> str | None:
    """Write what `held_out_loss` took down after a step, with a hash of what it was measured on.

    Gives the path in the run; None where the disk refuses, and then nothing of an earlier attempt stays there.
    """
    path = reporter.run.losses_file(step)
    try:
        row_losses(rows, tokens, tokenizer).save(path, of)
    except OSError as error:
        with suppress(OSError):
            path.unlink()
        reporter.log(f"the losses of single rows are not kept: {error.strerror or error}")
        return None
    return str(path.relative_to(reporter.run.path))


def row_losses(rows: Sequence[RowLoss], tokens: Tokens, tokenizer: PreTrainedTokenizerBase) -> RowLosses:
    """What `held_out_loss` took down, a figure for each row of the file; of raw text with its bytes."""
    found = sorted(rows)
    utf8 = [_bytes(tokens, place, tokenizer) for place, *_ in found] if tokens.raw else None
    of = [tokens.of[place] for place, *_ in found]
    return grouped(of, [nats for _, nats, _ in found], [count for *_, count in found], utf8)


def _bytes(tokens: Tokens, place: int, tokenizer: PreTrainedTokenizerBase) -> int:
    """Bytes of the text that the trained tokens of a row stand for; the token that ends a text stands for none."""
    # The first token of a sequence has nothing before it to be predicted from.
    trained = [token for token in tokens.labels[place][1:] if token != IGNORED]
    return len(str(tokenizer.decode(trained, skip_special_tokens=True)).encode())


def longest_batch(
    model: Model,
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
    model: Model,
    inputs: dict[str, torch.Tensor],
    autocast: Callable[[], AbstractContextManager[Any]],
) -> tuple[list[float], list[int]]:
    """Nats of each row of a batch in all, and its trained tokens."""
    with autocast():
        outputs = model(**inputs, fused_lm_head=True, use_cache=False)
    nats, counts = -outputs.log_probs.double().sum(dim=-1), outputs.label_mask.sum(dim=-1)
    return nats.tolist(), [int(count) for count in counts.tolist()]


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
