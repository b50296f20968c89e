"""What a draft says of one file of rows, kept for it while another is chosen.

A mapping, a fix or a filter fits the rows it was set for; with another file these begin anew, and come back with the
first one. What is about the run (lengths, packing, what is mixed in) stays as it is.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from finetune_core.paths import expanded
from finetune_core.recipe.schema import DEMO
from finetune_core.text import one_line

SOURCE: Final = "data.source"
# An override of the template gate is consent for rows that were looked at, as one template writes them.
GATE: Final = "data.template_gate"
WRITES_ROWS: Final = frozenset({"model.source", "model.revision", "model.chat_template"})
OF_A_FILE: Final[tuple[str, ...]] = (
    "data.shape", "data.mapping", "data.fixes", "data.held_out", "data.only", "data.without", "data.min_characters",
    "data.max_characters", GATE,
)  # fmt: skip
_AUTOMATIC: Final = frozenset({"data.shape", "data.mapping", "data.fixes"})
_WORDS: Final[dict[str, str]] = {
    "data.held_out": "held-out file",
    "data.only": "filters",
    "data.without": "filters",
    "data.min_characters": "filters",
    "data.max_characters": "filters",
    GATE: "the override of the template gate",
}

# Texts by field path, by the file they were typed for.
Kept = dict[str, dict[str, str]]


@dataclass(frozen=True)
class Switched:
    """What came of choosing another file: the fields put aside with the one before, and those back with the new one."""

    before: str
    after: str
    aside: tuple[str, ...]
    back: tuple[str, ...]

    def words(self) -> str:
        """It in a sentence or two; empty where nothing was put aside and nothing came back."""
        parts = []
        if self.aside:
            verb = "begin" if len(_named(self.aside)) > 1 or "filters" in _named(self.aside) else "begins"
            auto = ", on auto" if set(self.aside) & _AUTOMATIC else ""
            parts.append(
                f"Another file: {_listed(self.aside)} {verb} afresh{auto}; {_short(self.before)} keeps its own."
            )
        if self.back:
            parts.append(f"As set before for {_short(self.after)}: {_listed(self.back)}.")
        return " ".join(parts)


def newer(old: Switched | None, new: Switched | None) -> Switched | None:
    """Which of two is to be said: the new one, unless nothing came of it and the old one still holds.

    A name is typed letter by letter, and each letter names another file.
    """
    if new is None or (old is not None and not (new.aside or new.back or old.back)):
        return old
    return new


def switch(texts: dict[str, str], kept: Kept, before: str, after: str) -> Switched | None:
    """Put aside in `kept` what `texts` say of the file before, and bring back what they said of the one after.

    None where both texts name the same file.
    """
    old, new = file_key(before), file_key(after)
    if old == new:
        return None
    aside = {path: texts.pop(path) for path in OF_A_FILE if path in texts}
    if aside:
        kept[old] = aside
    back = kept.pop(new, {})
    texts.update(back)
    return Switched(before, after, tuple(aside), tuple(back))


def forget_override(texts: dict[str, str], kept: Kept) -> None:
    """Take back every override of the template gate: another model writes the rows another way."""
    for said in (texts, *kept.values()):
        said.pop(GATE, None)


def file_key(text: str) -> str:
    """The file a text of the source field names, whatever way it is written; nothing is looked at on the disk."""
    name = text.strip() or DEMO
    if name == DEMO or name.startswith("hub:"):
        return name
    return os.path.normpath(expanded(name).absolute())


def _short(source: str) -> str:
    name = source.strip().rstrip("/")
    return one_line(name.rpartition("/")[2] or name or DEMO, 40)


def _named(paths: tuple[str, ...]) -> list[str]:
    return list(dict.fromkeys(_WORDS.get(path, path.partition(".")[2]) for path in paths))


def _listed(paths: tuple[str, ...]) -> str:
    *most, last = _named(paths)
    return f"{', '.join(most)} and {last}" if most else last
