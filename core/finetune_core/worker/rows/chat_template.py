"""Which chat template a tokenizer writes rows by: its own, one the recipe names, or the form TRL ships for training."""

from __future__ import annotations

import copy
import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from finetune_core.data.templates import ENDS, missing_tokens, template_text
from finetune_core.errors import problem

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def use_template(tokenizer: PreTrainedTokenizerBase, named: str) -> PreTrainedTokenizerBase:
    """The tokenizer with the chat template that a recipe names; itself for `auto`.

    FtError when the template cannot be read, or writes marks that the tokenizer would break into pieces.
    """
    text = template_text(named)
    if text is None:
        return tokenizer
    missing = missing_tokens(named, set(tokenizer.get_vocab()))
    if missing:
        raise problem(
            f"the tokenizer does not know {' and '.join(missing)}",
            where="model.chat_template",
            why=f"the template `{named}` writes turns with them, and in pieces they would not be trained as marks",
            remedy="set model.chat_template to plain, which needs no marks, or choose the instruct version",
        )
    other = copy.deepcopy(tokenizer)
    other.chat_template = text
    if named in ENDS:
        # Who loads the result stops at the tokenizer's end token: it has to be the one that was trained.
        other.eos_token = ENDS[named]
    return other


@lru_cache(maxsize=8)
def training_template(template: str) -> str | None:
    """The form with {% generation %} marks that TRL ships for a well-known chat template, or None.

    Reads TRL's template files, as its `get_training_chat_template` does, without the seconds its import takes.
    """
    spec = importlib.util.find_spec("trl")
    if spec is None or spec.origin is None:
        return None
    for plain in sorted((Path(spec.origin).parent / "chat_templates").glob("*.jinja")):
        trained = plain.with_name(f"{plain.stem}_training.jinja")
        if trained.exists() and plain.read_text(encoding="utf-8") == template:
            return trained.read_text(encoding="utf-8")
    return None
