"""Whether rows packed into one sequence come out as each does alone, tried on the model at hand.

No table can know that: it depends on the attention finally used, on kernels that are installed, and on what each layer
makes of the boundaries it is given. So a few rows are computed alone and packed, in training mode, with rows longer
than every window of the model that a run's rows can be longer than.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, Final

import torch
from transformers import PreTrainedModel
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from finetune_core.text import one_line
from finetune_core.worker.failures import ran_out_of_memory
from finetune_core.worker.model.attention import packed_rows

# How far the roundings of two ways to compute may be apart, as a share of the outputs' norm.
_TOLERANCE: Final = {torch.float32: 1e-4, torch.bfloat16: 0.05, torch.float16: 0.02}
# What a neighbour does shows most in a row's first tokens, which see little else: states and convolutions fade.
_FIRST: Final = 3
_SHORT, _LEAST, _BEYOND = 11, 23, 9
_WINDOWS: Final = ("window", "chunk_size")
_RANDOM: Final = ("drop", "jitter")

Autocast = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Rows:
    """Rows of token ids, and the outputs of each alone: the last hidden states, [tokens, hidden]."""

    rows: tuple[torch.Tensor, ...]
    outputs: tuple[torch.Tensor, ...]
    neighbour: torch.Tensor


def rows_alone(model: PreTrainedModel, longest: int, autocast: Autocast) -> Rows:
    """Outputs of a few random rows, each computed alone under the model's present attention.

    `longest` is how many tokens a row of the run may have.
    """
    draw = torch.Generator().manual_seed(0)
    most = min(int(model.config.get_text_config().vocab_size), 1000)
    lengths = [min(length, longest) for length in (_SHORT, _SHORT, _long(model, longest), _SHORT)]
    neighbour, *rows = (torch.randint(most, (length,), generator=draw).to(model.device) for length in lengths)
    with _still(model), autocast():
        outputs = tuple(_hidden(model, {"input_ids": row[None]}) for row in rows)
    return Rows(tuple(rows), outputs, neighbour)


def packed_otherwise(model: PreTrainedModel, alone: Rows, autocast: Autocast) -> str | None:
    """How rows come out otherwise when they are packed, with the attention now set; None when they do not.

    Raises what says that the memory is used up.
    """
    try:
        with _still(model), autocast(), packed_rows():
            first, second, third = _parts(model, alone.rows)
            _, beside_other, _ = _parts(model, (alone.neighbour, *alone.rows[1:]))
    except Exception as error:
        if ran_out_of_memory(error):
            raise
        return one_line(f"{type(error).__name__}: {error}", 200)
    allowed = _TOLERANCE.get(alone.outputs[0].dtype, 1e-4)
    if _first_tokens_apart(second, beside_other) > allowed:
        return "a packed row sees the row before it"
    apart = max(_apart(one, other) for one, other in zip((first, second, third), alone.outputs, strict=True))
    return None if apart <= allowed else f"packed rows come out {100 * apart:.2g} % apart from lone ones"


def _long(model: PreTrainedModel, longest: int) -> int:
    """A length beyond every window that rows of `longest` tokens can be longer than."""
    values = {**vars(model.config), **vars(model.config.get_text_config())}
    windows = [
        value
        for name, value in values.items()
        if any(word in name for word in _WINDOWS) and type(value) is int and 0 < value < longest
    ]
    return max(_LEAST, max(windows, default=0) + _BEYOND)


def _parts(model: PreTrainedModel, rows: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
    """The outputs of each of these rows out of one packed sequence, laid out as the trainer does."""
    ids = [token for row in rows for token in row.tolist()]
    collate = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)
    batch = collate([{"input_ids": ids, "labels": ids, "seq_lengths": list(map(len, rows))}])
    del batch["labels"]
    moved = {name: value.to(model.device) if torch.is_tensor(value) else value for name, value in batch.items()}
    found = _hidden(model, moved)
    return [found[begin:end] for begin, end in pairwise([0, *accumulate(map(len, rows))])]


def _hidden(model: PreTrainedModel, batch: dict[str, Any]) -> torch.Tensor:
    found = model.base_model(**batch, use_cache=False).last_hidden_state[0]
    assert isinstance(found, torch.Tensor)
    return found


def _apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """The norm of the difference, as a share; what is not a number is as far apart as can be."""
    found = float((one.float() - other.float()).norm() / other.float().norm())
    return found if found == found else float("inf")


def _first_tokens_apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """The median over a row's first tokens: an expert chosen otherwise by a rounding changes one of them alone."""
    each = sorted(_apart(a, b) for a, b in zip(one[:_FIRST], other[:_FIRST], strict=True))
    return each[len(each) // 2]


@contextmanager
def _still(model: PreTrainedModel) -> Iterator[None]:
    """Training mode without gradients and without chance: what drops or jitters is at 0, and as before afterwards."""
    training = model.training
    with torch.no_grad(), without_chance(model):
        model.train()
        try:
            yield
        finally:
            model.train(training)


@contextmanager
def without_chance(model: torch.nn.Module) -> Iterator[None]:
    """Every rate of dropout and jitter of modules and config at 0."""
    config: Any = model.config
    owners: list[Any] = [config, *({id(text): text for text in [config.get_text_config()]}.values()), *model.modules()]
    before = [
        (owner, name, value)
        for owner in owners
        for name, value in vars(owner).items()
        if isinstance(value, float) and value > 0 and _is_chance(owner, name)
    ]
    for owner, name, _ in before:
        setattr(owner, name, 0.0)
    try:
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


def _is_chance(owner: object, name: str) -> bool:
    dropout = isinstance(owner, torch.nn.modules.dropout._DropoutNd) and name == "p"
    return dropout or any(word in name for word in _RANDOM)
