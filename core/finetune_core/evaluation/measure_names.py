"""The names of a verdict's measures: in journals, in tables, and in sentences."""

from __future__ import annotations

from typing import Final, NamedTuple

from finetune_core.text import one_line

HELD_OUT_LOSS: Final = "held_out_loss"


class MeasureName(NamedTuple):
    """`title` stands in a table, `phrase` in a sentence.

    A share is of the rows, from 0 to 1; a loss (nats a token, bits a byte) is better where it is lower.
    """

    title: str
    phrase: str
    is_share: bool = True
    is_loss: bool = False

    @property
    def more_is_better(self) -> bool:
        """Whether a higher figure is the better one."""
        return not self.is_loss


MEASURES: Final = {
    "valid_json": MeasureName("valid JSON", "valid JSON"),
    "right_fact": MeasureName("right fact", "right facts"),
    "accuracy": MeasureName("right label", "right labels"),
    "macro_f1": MeasureName("macro F1", "macro F1"),
    "chrf": MeasureName("likeness (chrF)", "likeness to the reference (chrF)"),
    "exact": MeasureName("exactly the row's answer", "answers equal to the reference"),
    "sound": MeasureName("sound answers", "sound answers"),
    "bits_per_byte": MeasureName("bits per byte", "bits per byte", is_share=False, is_loss=True),
    HELD_OUT_LOSS: MeasureName("held-out loss", "held-out loss", is_share=False, is_loss=True),
}


def measure_name(name: str) -> MeasureName:
    """The names of a measure; one of a later version goes by its name in the journal."""
    words = one_line(name.replace("_", " "), 40)
    return MEASURES.get(name) or MeasureName(words, words, is_share=False)
