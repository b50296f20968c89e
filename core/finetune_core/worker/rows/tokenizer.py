"""The one way a model's tokenizer is loaded: for rows that are shown, counted and trained alike. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from finetune_core.errors import problem
from finetune_core.models.config import check_folder
from finetune_core.models.trust import is_trusted
from finetune_core.text import one_line
from finetune_core.worker.foreign_code import use_private_modules

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder; one without a padding token pads with its end token.

    Code from the folder runs only with consent. Raises FtError when it cannot be loaded, or names no end token.
    """
    check_folder(folder)
    from transformers import AutoTokenizer

    use_private_modules()
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=is_trusted(folder)
        )
    except Exception as error:
        raise problem(
            "the model's tokenizer cannot be loaded",
            where=one_line(str(folder), 300),
            why=one_line(f"{type(error).__name__}: {error}", 300),
            remedy="get the folder's tokenizer files again (tokenizer.json, tokenizer_config.json)",
        ) from error
    if tokenizer.eos_token is None:
        raise problem(
            "the tokenizer names no end token",
            where=one_line(str(folder / "tokenizer_config.json"), 300),
            why="without one the model cannot learn where an answer ends",
            remedy='add "eos_token" to tokenizer_config.json, or choose another model',
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
