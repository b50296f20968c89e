"""A row turned into tokens and looked at by the gate, within a time: chat templates are somebody else's programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from finetune_core.data.rows import Text, TrainingRow
from finetune_core.errors import problem
from finetune_core.limits import RENDER_SECONDS
from finetune_core.worker.time_limit import TooSlow, time_limit

if TYPE_CHECKING:
    from finetune_core.worker.rows.gate import Gate
    from finetune_core.worker.rows.tokenise import Encoded, Encoder

TOO_SLOW: Final = "too-slow"


def encode(row: TrainingRow, encoder: Encoder, gate: Gate | None = None) -> Encoded:
    """The row as `Encoder.encode` gives it, shown to the gate, if any.

    FtError as there, and of the kind `too-slow` when it takes more than 10 s.
    """
    try:
        with time_limit(RENDER_SECONDS):
            encoded = encoder.encode(row)
            if gate is not None:
                gate.look(row, encoded)
    except TooSlow:
        what = "text" if isinstance(row, Text) else "turns"
        raise problem(
            f"row {row.number} took too long to turn into tokens",
            where=encoder.name,
            why=f"its {what} took the tokenizer and the chat template more than {RENDER_SECONDS:.0f} s",
            remedy="shorten the row, or choose another model: its chat template may be damaged or hostile",
            kind=TOO_SLOW,
        ) from None
    return encoded
