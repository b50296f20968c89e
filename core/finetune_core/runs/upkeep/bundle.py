"""What a bug report needs of a run, without rows, samples, tokens, or names of people and places.

Of a recipe and a journal numbers pass, and words that this program itself chose (`adamw`, `training`); what a person or
a model wrote does not. Causes and log lines pass with paths, users, hosts, addresses and long quotations taken out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from finetune_core.errors import FtError
from finetune_core.recipe.schema import GUIDES, Recipe
from finetune_core.recipe.yaml_io import load
from finetune_core.runs.directory import RunDir
from finetune_core.runs.journal import Event, Tail
from finetune_core.runs.upkeep.anonymous import Anonymous

_FIRST_EVENTS: Final = 300
_LAST_EVENTS: Final = 2000
_LOG_BYTES: Final = 256 * 1024
_LINE: Final = 400
_ITEMS: Final = 40
# Words of a recipe that are a person's own; all others are words this program offers.
_PERSONAL: Final = frozenset(
    {"data.source", "data.held_out", "data.mapping", "data.only", "data.without", "data.mix", "samples.prompts"}
    | {"evaluation.fact_field", "output.name", "model.chat_template", "hardware.gpus"}
)
# Texts of events that this program wrote itself; `text` of an answer to a request may hold what a model said.
_OWN_WORDS: Final = frozenset(
    {"kind", "state", "phase", "unit", "reason", "name", "outcome", "device", "dtype", "result_kind", "request"}
    | {"cause", "remedy", "path", "source", "model_commit", "attention"}
)
_SOURCES: Final = frozenset({"held_out", "prompts", "asked"})


def run_files(run: RunDir, hide: Anonymous) -> dict[str, str]:
    """Names and texts of what goes into the archive of a run, each as far as it can be read."""
    hide.also(_written_by_people(run))
    files = {
        "recipe.txt": _recipe(run, hide),
        "journal.jsonl": "".join(_journal(run, hide)),
        "worker.log": _log(run.log_file, hide),
        "files.txt": "".join(_listing(run, hide)),
    }
    return {name: text for name, text in files.items() if text}


def _written_by_people(run: RunDir) -> Iterator[str]:
    """Texts that must be nowhere in the archive, also where a library quoted them: prompts, filters, samples."""
    with suppress(FtError):
        recipe = load(run.recipe_file)
        for path in _PERSONAL:
            value = recipe.get(path)
            yield from _leaves([*value, value] if isinstance(value, dict) else value)
    for file in sorted((run.path / "samples").glob("*.json"))[:50]:
        with suppress(OSError, ValueError, TypeError, LookupError):
            yield from _leaves(json.loads(file.read_text(errors="replace"))["items"])


def _leaves(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _leaves(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _leaves(inner)


def _recipe(run: RunDir, hide: Anonymous) -> str:
    """One line a field, as `training.epochs: 3.0`."""
    try:
        recipe = load(run.recipe_file)
    except FtError as error:
        return hide(f"it cannot be read: {error}") + "\n"
    return "".join(f"{path}: {_value(recipe, path, hide)}\n" for path in GUIDES)


def _value(recipe: Recipe, path: str, hide: Anonymous) -> str:
    value = recipe.get(path)
    if path == "model.source" and Path(str(value)).is_absolute():
        return "[a folder]"
    if path not in _PERSONAL or value in (None, "", [], {}, "demo", "auto"):
        return hide(json.dumps(value, default=str))
    if isinstance(value, list | dict):
        return f"[{len(value)} of the user's own]"
    ending = re.search(r"\.(?:jsonl?|csv|tsv|parquet|arrow|txt)(?:\.(?:gz|zst))?$", str(value))
    kind = f", {ending[0]}" if ending else ", of the hub" if str(value).startswith("hub:") else ""
    return f"[the user's own, {len(str(value))} characters{kind}]"


def _journal(run: RunDir, hide: Anonymous) -> Iterator[str]:
    events = Tail(run.events_file).read()
    left_out = len(events) - _FIRST_EVENTS - _LAST_EVENTS
    if left_out > 0:
        events = [
            *events[:_FIRST_EVENTS],
            {"kind": "left out of this file", "events": left_out},
            *events[-_LAST_EVENTS:],
        ]
    for event in events:
        yield json.dumps(_event(event, hide)) + "\n"


def _event(event: Event, hide: Anonymous) -> Any:  # noqa: ANN401 - JSON
    """The event without what a person or a model wrote."""
    own = _OWN_WORDS | ({"text"} if event.get("kind") == "alarm" else set())
    return _filtered(event, own, hide)


def _filtered(value: object, own: frozenset[str] | set[str], hide: Anonymous, key: str = "") -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, bool | int | float) or value is None:
        return value
    if isinstance(value, dict):
        return {hide(str(name))[:80]: _filtered(inner, own, hide, str(name)) for name, inner in value.items()}
    if isinstance(value, list):
        return [_filtered(inner, own, hide, key) for inner in value[:_ITEMS]]
    if key == "source" and value not in _SOURCES:
        return "[text]"
    return hide(str(value))[:_LINE] if key in own else "[text]"


def _log(path: Path, hide: Anonymous) -> str:
    """The end of the log, line by line."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _LOG_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    lines = text.splitlines()[1 if size > _LOG_BYTES else 0 :]
    return "".join(hide(line)[:_LINE] + "\n" for line in lines)


def _listing(run: RunDir, hide: Anonymous) -> Iterator[str]:
    """Each file of the run with its size, not what is in it."""
    with suppress(OSError):
        for path in sorted(run.path.rglob("*"))[:500]:
            with suppress(OSError):
                yield f"{path.lstat().st_size:>14} {hide(str(path.relative_to(run.path)))}\n"
