"""Whether the model has an embedding for every token its rows are made of."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedTokenizerBase

from ft_core.errors import problem
from ft_core.text import one_line
from ft_core.worker.dataset import Tokens

_SHOWN = 4


def refuse_unknown_tokens(
    model: Any,  # noqa: ANN401 - a transformers model
    tokenizer: PreTrainedTokenizerBase,
    *rows: Tokens,
) -> None:
    """Raise FtError, with their names, when rows hold tokens beyond the model's embedding.

    On a CPU such a token is an IndexError in the first step, on a GPU an assertion of the device.
    """
    known = int(model.get_input_embeddings().weight.shape[0])
    beyond = sorted({token for part in rows for ids in part.input_ids for token in ids if not 0 <= token < known})
    if not beyond:
        return
    names = ", ".join(
        f"`{one_line(str(tokenizer.convert_ids_to_tokens(token)), 40)}` ({token})" for token in beyond[:_SHOWN]
    )
    more = f" and {len(beyond) - _SHOWN} more" if len(beyond) > _SHOWN else ""
    raise problem(
        f"the tokenizer writes tokens that the model does not know: {names}{more}",
        where="model.source",
        why=f"the model has embeddings for the ids 0 to {known - 1}, and its tokenizer was given more tokens than that",
        remedy="choose the version of the model these tokens were trained with (most often the instruct one), or set "
        "model.chat_template to one whose marks the model knows, such as plain",
    )
