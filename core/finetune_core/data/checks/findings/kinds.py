"""Every kind of finding: how grave it is, why it matters, and what can be done about it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from finetune_core.errors import Problem
from finetune_core.text import one_line

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Kind:
    """A kind of finding. A row with an `error` cannot be used; `fixes` are what `data.fixes` may say of the others.

    Without `fixes` a kind is only reported.
    """

    name: str
    severity: Severity
    words: str
    why: str
    fixes: tuple[str, ...] = ("drop", "keep")
    proposed: str = "drop"

    @property
    def default(self) -> str:
        """The fix to propose; empty where the kind is only reported."""
        return self.proposed if self.fixes else ""


_ALL: Final = (
    # Rows that cannot be used as they are.
    Kind("unreadable-row", "error", "the row cannot be read", "nothing can be learned from it", ("drop",)),
    Kind("wrong-type", "error", "a field holds what it should not", "only text can be trained", ("drop",)),
    Kind("missing-answer", "error", "an answer is missing or empty", "the model would learn to say nothing", ("drop",)),
    Kind("role-order", "error", "turns stand in a wrong order", "templates write turns in order", ("drop", "merge")),
    Kind("unknown-role", "error", "a role is not known", "templates leave unknown roles out", ("drop",)),
    Kind(
        "no-assistant-end",
        "error",
        "the last turn has no answer",
        "it ends with a question nobody answers",
        ("drop", "trim"),
    ),
    Kind("invalid-tool-json", "error", "tools or calls are no JSON", "the model would learn broken calls", ("drop",)),
    Kind("bad-answer", "error", "the answer is one not to be trained", "it is labelled or rejected as bad", ("drop",)),
    Kind("multimodal", "error", "the row shows an image, video or sound", "only text is trained", ("drop",)),
    Kind("tokenised", "error", "the row holds tokens", "they fit one tokenizer only", ("drop",)),
    # Rows that can be used and perhaps should not.
    Kind("empty-turn", "warning", "a turn says nothing", "an answer to nothing teaches to answer anything"),
    Kind("placeholder", "warning", "a placeholder was never filled in", "the model will say it as it stands"),
    Kind("template-tokens", "warning", "marks of a chat template stand in the text", "they end or begin turns early",
         ("drop", "trim", "keep"), "trim"),
    Kind("invisible-characters", "warning", "characters nobody sees", "the model learns to write them too",
         ("trim", "drop", "keep"), "trim"),
    Kind("bidi-override", "warning", "characters that turn the direction of writing", "text shows other than it is",
         ("trim", "drop", "keep"), "trim"),
    Kind("mojibake", "warning", "text decoded wrongly", "the model learns to write it garbled"),
    Kind("media-tags", "warning", "tags of images, video or sound in the text", "the model never sees what they show",
         proposed="keep"),
    Kind("refusal", "warning", "the answer refuses, or speaks of itself as an AI", "the model learns to refuse",
         proposed="keep"),
    Kind("cut-answer", "warning", "the answer stops in mid-sentence", "the model learns to stop there too"),
    Kind("personal-data", "warning", "personal data", "the model can repeat it to anyone", proposed="keep"),
    Kind("secret", "warning", "a key or password", "the model can repeat it to anyone; make it invalid"),
    Kind("exact-duplicate", "warning", "the same row again", "it counts for more than the others"),
    Kind("near-duplicate", "warning", "nearly the same row again", "it counts for more than the others"),
    Kind("contradiction", "warning", "the same question with another answer", "the model cannot learn both",
         proposed="keep"),
    Kind("equal-sides", "warning", "the better and the worse answer are the same", "there is nothing to prefer"),
    Kind("leakage-exact", "warning", "a held-out row is trained on too", "what was memorised measures nothing"),
    Kind("leakage-near", "warning", "a held-out row is nearly one that is trained on", "it measures memory, not skill"),
    # What the rows are as a whole.
    Kind("language-mix", "note", "few rows are in another script than the others", "often they were left by mistake",
         proposed="keep"),
    Kind("length-outlier", "note", "far longer than the others", "often several rows run together", proposed="keep"),
    Kind("length-bias", "note", "the better answers are mostly the longer ones", "it may learn length alone", ()),
    Kind("label-imbalance", "note", "good and bad answers are of very unequal number", "KTO wants them within 1 to 4",
         ()),
    Kind("few-rows", "note", "fewer than 200 rows", "enough for a format or tone, seldom for knowledge", ()),
)  # fmt: skip
KINDS: Final[dict[str, Kind]] = {kind.name: kind for kind in _ALL}


def fix_problems(fixes: Mapping[str, str]) -> list[Problem]:
    """What is wrong with a recipe's `data.fixes`: kinds that are not known, actions that a kind does not have."""
    return [found for name, action in fixes.items() if (found := _fix_problem(name, action)) is not None]


def _fix_problem(name: str, action: str) -> Problem | None:
    kind = KINDS.get(name)
    if kind is None:
        near = difflib.get_close_matches(name, KINDS, 1)
        remedy = f"did you mean `{near[0]}`?" if near else f"known are: {', '.join(KINDS)}"
        return Problem(f"`{one_line(name, 40)}` is no kind of finding", "data.fixes", "kinds are fixed", remedy)
    if action in kind.fixes:
        return None
    remedy = f"use {' or '.join(kind.fixes)}" if kind.fixes else "take it out: this is only reported"
    return Problem(f"{name} cannot be mended by `{action}`", "data.fixes", kind.words, remedy)
