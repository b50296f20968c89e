"""Sets of answers in a run: files of prompts with the base's and the tuned model's words."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from finetune_core.errors import FtError, problem
from finetune_core.files import OddFile, read_capped
from finetune_core.runs.directory import RunDir
from finetune_core.runs.journal import Event
from finetune_core.text import one_line

_LARGEST = 64 * 1024 * 1024


@dataclass(frozen=True)
class SampleItem:
    """One prompt with the untouched base's answer, the present model's, and the row's own where there is one."""

    prompt: str
    reference: str | None
    base: str
    current: str


@dataclass(frozen=True)
class SampleSet:
    """Answers at one step; `source` is held_out, prompts or user."""

    step: int
    source: str
    items: tuple[SampleItem, ...]


def load_samples(run: RunDir, event: Event) -> SampleSet:
    """Read the file a `sample` event names. Raises FtError when it is missing, damaged or outside the run."""
    try:
        path = (run.path / str(event.get("path", ""))).resolve()
    except (OSError, RuntimeError) as error:
        raise _unreadable(str(event.get("path")), "it is a link that leads back to itself") from error
    if not path.is_relative_to(run.path.resolve()):
        raise _unreadable(str(path), "the event names a file outside the run directory")
    try:
        found = json.loads(read_capped(path, _LARGEST))
    except OSError as error:
        raise _unreadable(str(path), error.strerror or str(error)) from error
    except OddFile as error:
        raise _unreadable(str(path), str(error)) from error
    except (ValueError, RecursionError) as error:
        raise _unreadable(str(path), "it is not whole JSON") from error
    if not isinstance(found, dict) or not isinstance(found.get("items"), list):
        raise _unreadable(str(path), "it holds no list of items")
    step = found.get("step")
    items = tuple(_item(item) for item in found["items"] if isinstance(item, dict))
    return SampleSet(step if isinstance(step, int) else 0, str(found.get("source", "")), items)


def _item(item: dict[str, Any]) -> SampleItem:
    reference = item.get("reference")
    return SampleItem(
        prompt=str(item.get("prompt", "")),
        reference=None if reference is None else str(reference),
        base=str(item.get("base") or ""),
        current=str(item.get("current") or ""),
    )


def _unreadable(path: str, why: str) -> FtError:
    return problem(
        "these samples cannot be read",
        where=one_line(path, 200),
        why=why,
        remedy="ask for new ones with `ft-tui sample` while the run is at work",
    )
