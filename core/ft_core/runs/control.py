"""Requests to a running worker: one small file each, acted on once, answered by an event that carries its id."""

from __future__ import annotations

import json
import os
import secrets
import stat
import time
from collections.abc import Container
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ft_core.errors import problem
from ft_core.files import write_atomic
from ft_core.runs.directory import RunDir
from ft_core.runs.journal import Event, Tail
from ft_core.runs.status import CRASHED, ENDED, shown_state
from ft_core.text import one_line

REQUESTS = ("stop", "stop_now", "pause", "resume", "checkpoint", "sample", "evaluate")
_LARGEST = 64 * 1024
_LONGEST_PROMPT = 16_000
_RECENT_BYTES = 1024 * 1024
_LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class Request:
    """One request: its id, what is asked (one of REQUESTS), and its arguments (`prompt` for a sample)."""

    id: str
    request: str
    args: dict[str, Any] = field(default_factory=dict)


def ask(run: RunDir, request: str, **args: object) -> str:
    """Leave a request for the run and give its id. Raises FtError when the run has ended or the request is wrong."""
    _refuse_wrong(request, args)
    state = shown_state(run)
    if state in ENDED or state == CRASHED:
        raise problem(
            f"this run cannot {request.replace('_', ' ')}",
            where=run.name,
            why=f"it is not at work: {state}",
            remedy="continue it from its last checkpoint first, or start a new run",
        )
    name = f"{time.time_ns():020d}-{request}-{secrets.token_hex(4)}"
    try:
        write_atomic(run.control / f"{name}.json", json.dumps({"request": request, "args": args}))
    except OSError as error:
        raise problem(
            "the request cannot be written",
            where=one_line(str(run.control), 200),
            why=error.strerror or str(error),
            remedy="free some disk space, or check that the run directory is yours",
        ) from error
    return name


def _refuse_wrong(request: str, args: dict[str, object]) -> None:
    if request not in REQUESTS:
        raise problem(
            "unknown request",
            where=one_line(request, 80),
            why="a run does not understand it",
            remedy=f"use one of {', '.join(REQUESTS)}",
        )
    prompt = args.get("prompt")
    if request == "sample" and not (isinstance(prompt, str) and 0 < len(prompt.strip()) <= _LONGEST_PROMPT):
        raise problem(
            "a sample needs a prompt",
            where="prompt",
            why=f"it must be text of 1 to {_LONGEST_PROMPT} characters",
            remedy="type the question the model should answer",
        )


def pending(run: RunDir) -> list[Request]:
    """The requests not yet taken, oldest first; files that are damaged or not the user's own are passed over."""
    try:
        paths = sorted(path for path in run.control.iterdir() if path.suffix == ".json" and path.name[0] != ".")
    except OSError:
        return []
    found = (_read(path) for path in paths)
    return [request for request in found if request is not None]


def done(run: RunDir, id: str) -> bool:  # noqa: A002 - the word of the journal
    """Take a request away; True for the one caller who did, who alone may act on it."""
    try:
        (run.control / f"{id}.json").unlink()
    except OSError:
        return False
    return True


def take(run: RunDir, requests: Container[str] = REQUESTS) -> list[Request]:
    """Claim the pending requests of these kinds, oldest first: each is given once, to one caller."""
    return [request for request in pending(run) if request.request in requests and done(run, request.id)]


def _read(path: Path) -> Request | None:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        info = os.fstat(handle)
        if info.st_uid != os.geteuid() or not stat.S_ISREG(info.st_mode) or info.st_size > _LARGEST:
            return None
        return _parse(path.stem, os.read(handle, _LARGEST))
    finally:
        os.close(handle)


def _parse(name: str, data: bytes) -> Request | None:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or found.get("request") not in REQUESTS or not isinstance(found.get("args"), dict):
        return None
    return Request(name, found["request"], found["args"])


def wait_answer(run: RunDir, id: str, timeout: float) -> Event | None:  # noqa: A002 - the word of the journal
    """The `control` event that answers a request; None when it does not come within `timeout` seconds."""
    try:
        start = max(0, run.events_file.stat().st_size - _RECENT_BYTES)
    except OSError:
        start = 0
    tail = Tail(run.events_file, start=start)
    deadline = time.monotonic() + timeout
    while True:
        for event in tail.read():
            if event["kind"] == "control" and event.get("id") == id:
                return event
        if time.monotonic() >= deadline:
            return None
        time.sleep(_LOOK_SECONDS)
