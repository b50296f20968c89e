"""Continued pre-training: every token of raw text is trained."""

from __future__ import annotations

from typing import Final

from finetune_core.data.rows import Text
from finetune_core.methods.method import Method

CPT: Final = Method(
    name="cpt",
    title="continued pre-training",
    takes=Text,
    rows="raw text",
    # How a text goes on is no question with one answer.
    answers=False,
)
