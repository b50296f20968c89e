"""What a run is called: by its model and data or the name it was given, and by what sets it apart from earlier runs.

Settings that differ from those of the nearest earlier run of that name are said (`capitals r=32 lr=1e-4`); a run like
an earlier one is a copy of it. What is said holds for the run by itself, so it stays true when the other one is gone.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from finetune_core.errors import FtError
from finetune_core.recipe.fields import AUTO
from finetune_core.recipe.schema import GUIDES, Recipe
from finetune_core.recipe.yaml_io import load
from finetune_core.runs.directory import RunDir, without_date
from finetune_core.runs.status import known
from finetune_core.text import one_line

_BASE, _APART, _SLUG = 40, 24, 52
_LONGEST_TITLE: Final = 80
# A recipe takes some 50 ms to read, and somebody waits for the launch.
_MOST_READ: Final = 4
_MOST_SAID: Final = 3
_SECTIONS: Final = frozenset({"model", "quantization", "adapter", "data", "training"})
# What is said first, and how; other settings follow in the recipe's order by the last part of their name.
_SHORT: Final = {
    "quantization.method": "",
    "adapter.kind": "",
    "adapter.rank": "r",
    "training.learning_rate": "lr",
    "training.epochs": "epochs",
    "training.max_steps": "steps",
    "adapter.alpha": "alpha",
    "data.max_length": "length",
    "training.schedule": "",
    "training.optimizer": "",
    "model.source": "model",
    "data.source": "data",
}
_AUTO: Final = f"={AUTO}"
_WORDS: Final = {("quantization.method", "none"): "unquantised", ("adapter.kind", "none"): "full"}


class Title(NamedTuple):
    """A run's name in words, which end with the settings that set it apart, and as part of its directory's name."""

    words: str
    apart: str
    slug: str


def title_of(recipe: Recipe, root: Path) -> Title:
    """What to call a run of this resolved recipe among the runs in `root`; reads the newest few of the same name."""
    base = base_of(recipe)
    slug = _slug(base, _BASE)
    nearest: tuple[list[str], RunDir] | None = None
    for run, other in _namesakes(root, base, slug):
        found = differences(recipe, other)
        if nearest is None or len(found) < len(nearest[0]):
            nearest = found, run
    if nearest is None:
        return Title(base, "", slug)
    said, run = nearest
    if not said:
        return _copy(base, slug, run, root)
    apart = " ".join(said[:_MOST_SAID]) + (" …" if len(said) > _MOST_SAID else "")
    own = _slug(apart.replace("=", ""), _APART)
    return Title(f"{base} {apart}", apart, f"{slug[: _SLUG - len(own) - 1].rstrip('-')}-{own}")


def base_of(recipe: Recipe) -> str:
    """The name a recipe gives its runs: the user's, else model and data."""
    name = recipe.output.name or f"{Path(recipe.model.source).name}-{Path(recipe.data.source).stem}"
    return one_line(name, _LONGEST_TITLE) or "run"


def differences(recipe: Recipe, other: Recipe) -> list[str]:
    """The settings of a recipe that differ from another's, as `r=32`; not what was chosen automatically in both."""
    paths = [path for path in GUIDES if path.partition(".")[0] in _SECTIONS and path not in _SHORT]
    found = []
    for path in (*_SHORT, *paths):
        automatic = path in recipe.reasons and path in other.reasons
        if not automatic and recipe.get(path) != other.get(path):
            found.append(_said(path, recipe.get(path), other.get(path)))
    # Of a run launched before its rows are counted, a value that was left to the program says little.
    return [said for said in found if not said.endswith(_AUTO)] or found


def _said(path: str, value: object, other: object) -> str:
    label = _SHORT.get(path, path.rpartition(".")[2].replace("_", "-"))
    if value is None or value == AUTO:
        return f"{label or path.partition('.')[0]}{_AUTO}" if GUIDES[path].takes_auto or value else f"no-{label}"
    if isinstance(value, dict | list):
        return f"other-{label}" if value else f"no-{label}"
    if isinstance(value, bool):
        return label if value else f"no-{label}"
    text = _WORDS.get((path, str(value))) or (_number(value) if isinstance(value, float) else _last(str(value), other))
    return f"{label}={text}" if label else text


def _number(value: float) -> str:
    """`2e-4` rather than `0.0002`, but `0.05`."""
    if 0 < abs(value) < 0.001:
        mantissa, _, exponent = f"{value:.5e}".partition("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    return f"{value:.6g}"


def _last(text: str, other: object) -> str:
    """The last part of a path, with its folder where that alone distinguishes two."""
    parts, others = text.split("/"), str(other).split("/")
    return one_line("/".join(parts[-2:] if parts[-1] == others[-1] else parts[-1:]), 30)


def _namesakes(root: Path, base: str, slug: str) -> list[tuple[RunDir, Recipe]]:
    """The newest runs that are called so, with their recipes; those that cannot be read are passed over."""
    beginning = slug[: _SLUG - _APART - 1]
    names = sorted((name for name in _names(root) if without_date(name).startswith(beginning)), reverse=True)
    found: list[tuple[RunDir, Recipe]] = []
    for name in names[:_MOST_READ]:
        run = RunDir(root / name)
        with suppress(FtError, OSError):
            recipe = load(run.recipe_file)
            if base_of(recipe) == base:
                found.append((run, recipe))
    return found


def _names(root: Path) -> list[str]:
    try:
        return [name for name in os.listdir(root) if not name.startswith(".")]  # noqa: PTH208 - names alone
    except OSError:
        return []


def _copy(base: str, slug: str, run: RunDir, root: Path) -> Title:
    """A run like an earlier one: a copy of that, or of what that is a copy of."""
    apart = known(run).apart
    taken = {without_date(name) for name in _names(root)}
    own = f"{_slug(apart.replace('=', ''), _APART - 8)}-copy".lstrip("-")
    for count in range(1, 100):
        end = own if count == 1 else f"{own}-{count}"
        path = f"{slug[: _SLUG - len(end) - 1].rstrip('-')}-{end}"
        if path not in taken or count == 99:
            break
    words = f"copy of {base}" if count == 1 else f"copy {count} of {base}"
    return Title(f"{words} {apart}".rstrip(), apart, path)


def _slug(text: str, most: int) -> str:
    """Letters a to z, digits and dashes; `run` where nothing is left."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:most].strip("-") or ("run" if most == _BASE else "")
