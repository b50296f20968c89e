"""Supervised fine-tuning: the answers of conversations, or the completions of prompts, are trained."""

from __future__ import annotations

from typing import Final

from finetune_core.data.rows import Conversation
from finetune_core.methods.method import Method

SFT: Final = Method(
    name="sft",
    title="supervised fine-tuning",
    takes=Conversation,
    rows="prompts with answers",
)
