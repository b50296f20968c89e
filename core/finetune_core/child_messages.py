"""Messages of a child process that does one long piece of work: progress, its result, its problems."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from typing import IO, Any

from finetune_core.child_process import Helper
from finetune_core.errors import FtError, Problem, problem
from finetune_core.redaction import redact
from finetune_core.text import one_line

_POLL_SECONDS = 0.05

Message = dict[str, Any]


def run_child(
    module: str,
    arguments: Sequence[str],
    take: Callable[[Message], None],
    cancel: Callable[[], bool],
    environment: Mapping[str, str] = os.environ,
) -> Message | None:
    """Run a module as a helper and give the content of its message `done`; None once `cancel` said so.

    Each line the process writes is a JSON object: `{"done": {...}}` ends the work, `{"problems": [...]}` becomes an
    FtError, anything else is handed to `take`. FtError too when the process dies.
    """
    with tempfile.TemporaryFile() as errors:
        helper = Helper(module, arguments, stderr=errors, env=environment)
        try:
            return _listen(helper, errors, module, take, cancel)
        finally:
            helper.end()
            assert helper.stdout is not None
            helper.stdout.close()


def _listen(
    process: subprocess.Popen[bytes],
    errors: IO[bytes],
    module: str,
    take: Callable[[Message], None],
    cancel: Callable[[], bool],
) -> Message | None:
    assert process.stdout is not None
    held = b""
    while not cancel():
        if not select.select([process.stdout], [], [], _POLL_SECONDS)[0]:
            continue
        text = os.read(process.stdout.fileno(), 2**16)
        if not text:
            raise _died(process, errors, module)
        *lines, held = (held + text).split(b"\n")
        for message in map(json.loads, lines):
            if "problems" in message:
                raise FtError([Problem(**found) for found in message["problems"]])
            if "done" in message:
                done: Message = message["done"]
                return done
            take(message)
    return None


def _died(process: subprocess.Popen[bytes], errors: IO[bytes], module: str) -> FtError:
    code = process.wait()
    how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
    size = os.fstat(errors.fileno()).st_size
    tail = redact(os.pread(errors.fileno(), 2000, max(size - 2000, 0)).decode(errors="replace"))
    words = one_line(" | ".join(tail.splitlines()[-4:]), 400) or "none"
    why = f"it ended {how}; its last words: {words}"
    return problem("a helper process died", where=module, why=why, remedy="try again; `ft-tui doctor` may help")


def failure(error: FtError) -> Message:
    """The message that makes `run_child` raise the error on the other side."""
    return {"problems": [{key: redact(text) for key, text in asdict(found).items()} for found in error.problems]}


def say(message: Message) -> None:
    """Write one message; for use in the process that was started."""
    os.write(_output(), json.dumps(message).encode() + b"\n")


@cache
def _output() -> int:
    """The pipe to whoever started this process; whatever else is printed goes to standard error from now on."""
    output = os.dup(1)
    os.dup2(2, 1)
    return output
