"""The draft of a recipe: exactly what was typed, also what cannot be read yet, so that nothing is ever lost."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from finetune_core.errors import FtError, Problem
from finetune_core.files import write_atomic
from finetune_core.paths import drafts_root
from finetune_core.recipe.check import check, from_text, with_values
from finetune_core.recipe.fields import AUTO
from finetune_core.recipe.schema import GUIDES, Recipe
from finetune_core.text import plural
from finetune_tui.wizard.per_file import SOURCE, WRITES_ROWS, Kept, Switched, forget_override, newer, switch

DRAFT_VERSION = 1
KEPT_DRAFTS = 20
STEP_COUNT = 5
_LONGEST_DRAFT = 1 << 20


@dataclass
class Draft:
    """Texts by field path, as typed; the step one was at and the steps one has seen (0 to 4).

    `kept` are texts about files of rows that were chosen before, `switched` what the last choice of another came to.
    """

    name: str
    texts: dict[str, str] = field(default_factory=dict)
    step: int = 0
    visited: set[int] = field(default_factory=lambda: {0})
    save_path: str = ""
    edited: bool = False
    kept: Kept = field(default_factory=dict)
    switched: Switched | None = None

    @property
    def file(self) -> Path:
        """Where the draft is kept."""
        return drafts_root() / f"{self.name}.json"

    def type(self, path: str, text: str) -> bool:
        """Take down what was typed for a field; False when it already stood so. Empty means: as if never touched.

        Another file of rows takes what was said of it, in place of what was said of the one before. Another model or
        template takes back the override of the template gate.
        """
        before = self.texts.get(path, "")
        if before == text:
            return False
        if text:
            self.texts[path] = text
        else:
            del self.texts[path]
        if path == SOURCE:
            self.switched = newer(self.switched, switch(self.texts, self.kept, before, text))
        if path in WRITES_ROWS:
            forget_override(self.texts, self.kept)
        self.edited = True
        return True

    def to_json(self) -> str:
        """The draft as the text of its file."""
        return json.dumps(
            {
                "v": DRAFT_VERSION,
                "step": self.step,
                "visited": sorted(self.visited),
                "save_path": self.save_path,
                "texts": self.texts,
                "kept": self.kept,
            },
            ensure_ascii=True,
            indent=1,
        )


@dataclass(frozen=True)
class Reading:
    """What a draft means: the recipe of everything that could be read, and the problems by field path."""

    recipe: Recipe
    problems: dict[str, tuple[Problem, ...]]


def read_draft(draft: Draft) -> Reading:
    """Turn typed texts into a recipe; a text that cannot be read leaves the default and a problem at its field."""
    values, found = _values(draft.texts)
    recipe = _recipe_of(values, found)
    return Reading(recipe, by_field([*found, *check(recipe)]))


def _values(texts: dict[str, str]) -> tuple[dict[str, object], list[Problem]]:
    values: dict[str, object] = {}
    found: list[Problem] = []
    for path, text in texts.items():
        if path not in GUIDES:
            continue
        value, problems = _value(path, text)
        if problems:
            found.extend(problems)
        else:
            values[path] = deepcopy(value)
    return values, found


@lru_cache(maxsize=256)
def _value(path: str, text: str) -> tuple[object, tuple[Problem, ...]]:
    """What a text says for a field, or its problems; kept, since every key has all texts read again."""
    try:
        return from_text(path, text), ()
    except FtError as error:
        return None, tuple(error.problems)


def _recipe_of(values: dict[str, object], found: list[Problem]) -> Recipe:
    try:
        return with_values(Recipe(), values)
    except FtError as error:
        found.extend(error.problems)
        bad = {one.where for one in error.problems}
    return with_values(Recipe(), {path: value for path, value in values.items() if path not in bad})


def by_field(problems: Iterable[Problem]) -> dict[str, tuple[Problem, ...]]:
    """Problems grouped by the field (or place) they stand at."""
    grouped: dict[str, tuple[Problem, ...]] = {}
    for one in problems:
        if one not in grouped.get(one.where, ()):
            grouped[one.where] = (*grouped.get(one.where, ()), one)
    return grouped


def text_of(value: object) -> str:
    """A recipe value as one would type it: `2e-4`, `true`, `["q_proj"]`, nothing for None.

    `from_text` reads it back as the same value.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return number_text(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def number_text(value: float) -> str:
    """A number as people write it: `2e-4` rather than `0.0002`, but `0.05`."""
    if 0 < abs(value) < 0.001:
        mantissa, _, exponent = f"{value:.11e}".partition("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    return f"{value:.12g}"


def epochs_text(epochs: float) -> str:
    """`1 epoch`, `2.5 epochs`."""
    return f"{epochs:.3g} {plural(epochs, 'epoch')}"


def draft_of(recipe: Recipe) -> Draft:
    """A draft that means this recipe; what had been chosen automatically is automatic again."""
    draft = Draft(new_name(), visited=set(range(STEP_COUNT)), step=STEP_COUNT - 1)
    for path, guide in GUIDES.items():
        value = recipe.get(path)
        if path not in recipe.reasons and value != guide.default:
            draft.texts[path] = text_of(value)
    return draft


def new_name() -> str:
    """A name no draft of this machine has yet."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{time.monotonic_ns() % 1_000_000:06d}"


def save_draft(draft: Draft) -> None:
    """Write the draft in one atomic step. Raises OSError when the disk refuses."""
    write_atomic(draft.file, draft.to_json())


def newest_draft() -> Draft | None:
    """The draft one worked at last; None when there is none that can be read."""
    files = sorted(drafts_root().glob("*.json"), key=_modified, reverse=True)
    for old in files[KEPT_DRAFTS:]:
        old.unlink(missing_ok=True)
    return next((draft for file in files[:KEPT_DRAFTS] if (draft := load_draft(file)) is not None), None)


def _modified(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


def load_draft(file: Path) -> Draft | None:
    """Read one draft; None when the file is gone, damaged or of another version."""
    try:
        if file.stat().st_size > _LONGEST_DRAFT:
            return None
        data: Any = json.loads(file.read_text(encoding="utf-8"))
        if data["v"] != DRAFT_VERSION:
            return None
        texts = _texts(data["texts"])
        kept = {str(file): _texts(found) for file, found in data.get("kept", {}).items()}
        visited = {int(step) for step in data["visited"] if 0 <= int(step) < STEP_COUNT}
        step = min(max(int(data["step"]), 0), STEP_COUNT - 1)
        return Draft(file.stem, texts, step, visited | {step}, str(data["save_path"]), edited=True, kept=kept)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _texts(found: Any) -> dict[str, str]:  # noqa: ANN401 - any JSON value
    return {str(path): str(text) for path, text in found.items()}


def drop_draft(draft: Draft) -> None:
    """Forget a draft whose recipe has been launched."""
    draft.file.unlink(missing_ok=True)


def shown_text(path: str, value: object) -> str:
    """A value as the form shows it: automatic ones as `auto`, empty ones as `none`."""
    if value is None:
        return AUTO if GUIDES[path].takes_auto else "none"
    if value in ([], ""):
        return "none"
    return text_of(value)
