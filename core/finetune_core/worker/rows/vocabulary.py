"""Whether the model has an embedding for every token its rows are made of."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from finetune_core.errors import FtError, Problem
from finetune_core.models.config import shapes
from finetune_core.models.json_file import read_json
from finetune_core.text import one_line
from finetune_core.worker.types import Model

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from finetune_core.worker.rows.dataset import Tokens

UNKNOWN_TOKEN: Final = "unknown-token"  # noqa: S105 - of a tokenizer
_SHOWN: Final = 4


def refuse_unknown_tokens(
    model: Model,
    tokenizer: PreTrainedTokenizerBase,
    *rows: Tokens,
) -> None:
    """Raise FtError, with their names, when rows hold tokens beyond the model's embedding.

    On a CPU such a token is an IndexError in the first step, on a GPU an assertion of the device.
    """
    known = int(model.get_input_embeddings().weight.shape[0])
    found = unknown_tokens(known, tokenizer, (token for part in rows for ids in part.input_ids for token in ids))
    if found is not None:
        raise FtError(found)


def unknown_tokens(known: int, tokenizer: PreTrainedTokenizerBase, ids: Iterable[int]) -> Problem | None:
    """The tokens, by their names, that a model of `known` embeddings has none for; None when it has one for each."""
    beyond = sorted({token for token in ids if not 0 <= token < known})
    if not beyond:
        return None
    names = ", ".join(
        f"`{one_line(str(tokenizer.convert_ids_to_tokens(token)), 40)}` ({token})" for token in beyond[:_SHOWN]
    )
    more = f" and {len(beyond) - _SHOWN} more" if len(beyond) > _SHOWN else ""
    return Problem(
        f"the tokenizer writes tokens that the model does not know: {names}{more}",
        where="model.source",
        why=f"the model has embeddings for the ids 0 to {known - 1}, and its tokenizer was given more tokens than that",
        remedy="choose the version of the model these tokens were trained with (most often the instruct one), or set "
        "model.chat_template to one whose marks the model knows, such as plain",
        kind=UNKNOWN_TOKEN,
    )


def embeddings_of(folder: Path) -> int | None:
    """How many tokens the config of a model folder has embeddings for; None where it does not say."""
    try:
        return shapes(read_json(folder / "config.json"))["vocabulary"]
    except FtError:
        return None
