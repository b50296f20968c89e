"""Chat templates that ship with the program, for base models that have none: what a recipe may name, and their text."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from finetune_core.errors import problem
from finetune_core.paths import expanded
from finetune_core.text import one_line

AUTO: Final = "auto"
# Each with the tokens it writes that a tokenizer has to know.
SHIPPED: Final[dict[str, tuple[str, ...]]] = {"chatml": ("<|im_start|>", "<|im_end|>"), "plain": ()}
# The token that ends an answer, where that is not the tokenizer's own end token.
ENDS: Final = {"chatml": "<|im_end|>"}
_LARGEST: Final = 256 * 1024


def template_text(named: str) -> str | None:
    """The text of the template that `model.chat_template` names; None for `auto`, which is the model's own.

    FtError when it is neither shipped nor a file that can be read, or larger than 256 KiB.
    """
    if named == AUTO:
        return None
    if named in SHIPPED:
        return (Path(__file__).parent / f"{named}.jinja").read_text(encoding="utf-8")
    path = expanded(named)
    try:
        with path.open("rb") as stream:
            raw = stream.read(_LARGEST + 1)
        found = raw.decode(errors="ignore" if len(raw) > _LARGEST else "strict")
    except (OSError, UnicodeDecodeError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or "it is not UTF-8 text"
        raise problem(
            "the chat template cannot be read",
            where="model.chat_template",
            why=f"{one_line(named, 200)}: {why}",
            remedy=f"name one that ships ({', '.join(SHIPPED)}), or a .jinja file",
        ) from error
    if len(raw) > _LARGEST:
        raise problem(
            "the chat template is too large",
            where="model.chat_template",
            why=f"{one_line(named, 200)} has more than {_LARGEST // 1024} KiB, and real ones have less than 30",
            remedy="name the right file: a chat template is a .jinja text of some dozen lines",
        )
    return found


def missing_tokens(named: str, known: set[str]) -> tuple[str, ...]:
    """The tokens a shipped template writes that are not among the `known` tokens of a tokenizer."""
    return tuple(token for token in SHIPPED.get(named, ()) if token not in known)
