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

from finetune_core.errors import problem
from finetune_core.files import write_atomic
from finetune_core.runs.directory import RunDir, require_own_run
from finetune_core.runs.journal import Event, Tail
from finetune_core.runs.status import CRASHED, ENDED, live, shown_state
from finetune_core.text import one_line

REQUESTS = ("stop", "stop_now", "pause", "resume", "checkpoint", "sample", "evaluate")
_LARGEST = 64 * 1024
_LONGEST_PROMPT = 16_000
_RECENT_BYTES = 1024 * 1024
_LOOK_SECONDS = 0.05
# A file that is no JSON may be one that is still being written by hand.
_WRITING_SECONDS = 2.0
_UNKNOWN = "unknown"


@dataclass(frozen=True)
class Request:
    """One request: its id, what is asked, and its arguments (`prompt` for a sample).

    `fault` says why nobody can carry it out: it is no known request, or its arguments do not fit. It is empty for a
    sound one, whose `request` is one of REQUESTS.
    """

    id: str
    request: str
    args: dict[str, Any] = field(default_factory=dict)
    fault: str = ""


def ask(run: RunDir, request: str, **args: object) -> str:
    """Leave a request for the run and give its id.

    Raises FtError when the run has ended or is open to other users, or the request is wrong.
    """
    _refuse_wrong(request, args)
    require_own_run(run)
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
    fault = _args_fault(request, args)
    if fault:
        raise problem(
            "a sample needs a prompt", where="prompt", why=fault, remedy="type the question the model should answer"
        )


def _args_fault(request: str, args: dict[str, Any]) -> str:
    """Why a known request cannot be carried out with these arguments; empty when it can."""
    if request != "sample":
        return ""
    prompt = args.get("prompt")
    if not (isinstance(prompt, str) and 0 < len(prompt.strip()) <= _LONGEST_PROMPT):
        return f"the prompt must be text of 1 to {_LONGEST_PROMPT} characters"
    if any("\ud800" <= letter <= "\udfff" for letter in prompt):
        return "the prompt holds bytes that are no UTF-8 text, which no tokenizer can read"
    return ""


def pending(run: RunDir) -> list[Request]:
    """The sound requests not yet taken, oldest first; files that are not the user's own alone are passed over."""
    return [request for request in _waiting(run) if not request.fault]


def _waiting(run: RunDir) -> list[Request]:
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


def take_faulty(run: RunDir) -> list[Request]:
    """Claim the requests nobody can carry out, oldest first, so that each is answered with its `fault`, once."""
    return [request for request in _waiting(run) if request.fault and done(run, request.id)]


def _read(path: Path) -> Request | None:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        info = os.fstat(handle)
        own = info.st_uid == os.geteuid() and not info.st_mode & stat.S_IWOTH
        if not own or not stat.S_ISREG(info.st_mode):
            return None
        if info.st_size > _LARGEST:
            return Request(path.stem, _UNKNOWN, fault=f"the request is larger than {_LARGEST // 1024} KiB")
        found = _json(os.read(handle, _LARGEST))
    finally:
        os.close(handle)
    if found is None and abs(time.time() - info.st_mtime) < _WRITING_SECONDS:
        return None
    return _understood(path.stem, found)


def _json(data: bytes) -> object:
    """What the bytes say as JSON; None when they are none."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _understood(name: str, found: object) -> Request:
    said = found.get("request") if isinstance(found, dict) else None
    if not isinstance(found, dict) or not isinstance(said, str):
        return Request(name, _UNKNOWN, fault='the request must be JSON such as {"request": "stop", "args": {}}')
    if said not in REQUESTS:
        return Request(name, one_line(said, 80), fault=f"unknown request; use one of {', '.join(REQUESTS)}")
    args = found.get("args")
    if not isinstance(args, dict):
        return Request(name, said, fault="the arguments (`args`) must be a JSON object")
    return Request(name, said, args, _args_fault(said, args))


def wait_answer(run: RunDir, id: str, timeout: float) -> Event | None:  # noqa: A002 - the word of the journal
    """The `control` event that answers a request; None when nobody is alive to answer, or after `timeout` seconds."""
    try:
        start = max(0, run.events_file.stat().st_size - _RECENT_BYTES)
    except OSError:
        start = 0
    tail = Tail(run.events_file, start=start)
    deadline = time.monotonic() + timeout
    while True:
        # Looked at before the journal is read: what was written before the death is still found.
        waiting = time.monotonic() < deadline and live(run)
        for event in tail.read():
            if event["kind"] == "control" and event.get("id") == id:
                return event
        if not waiting:
            return None
        time.sleep(_LOOK_SECONDS)
