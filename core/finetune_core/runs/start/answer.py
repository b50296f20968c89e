"""What a supervisor that cannot start answers to whoever started it: its problems, whole, through a pipe.

The log cannot carry them: it is shared by every start of the run, and on a full disk it takes nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Final

from finetune_core.errors import Problem

# The descriptor's number; taken out of the environment by the one process it is for.
VARIABLE: Final = "FT_TUI_ANSWER"
# A pipe takes so much without a reader.
_MOST: Final = 60_000
_LONGEST: Final = 4_000


def descriptor() -> int | None:
    """The descriptor to answer on, once; None where nobody asked."""
    said = os.environ.pop(VARIABLE, "")
    with suppress(ValueError, OSError):
        os.set_inheritable(int(said), False)
        return int(said)
    return None


def write(handle: int | None, problems: Sequence[Problem]) -> None:
    """Answer with as many problems as a pipe takes. Somebody who no longer listens is no error."""
    if handle is None:
        return
    found: list[dict[str, str]] = []
    for problem in problems:
        cut = {name: value[:_LONGEST] for name, value in asdict(problem).items()}
        if len(json.dumps([*found, cut])) > _MOST:
            break
        found.append(cut)
    with suppress(OSError):
        os.write(handle, json.dumps(found).encode())


def read(handle: int) -> list[Problem]:
    """The problems that came; none where nothing did, or what came is damaged. Never waits."""
    os.set_blocking(handle, False)
    data = b""
    with suppress(OSError):
        while part := os.read(handle, _MOST):
            data += part
    try:
        return [Problem(**one) for one in json.loads(data)]
    except (ValueError, TypeError):
        return []
