"""A token of the model hub: where one is found, and handing a typed one to the hub's own library to keep.

This program never keeps a token itself. It goes to a process of its own on standard input, and from there to the
library's login file, which every program that uses the hub reads.
"""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Final

from finetune_core.child_process import Helper
from finetune_core.errors import FtError, problem
from finetune_core.models.find import hub_home
from finetune_core.text import one_line

_SECONDS: Final = 90.0
_NAMES: Final = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_LONGEST: Final = 4096


def token_file() -> Path:
    """The file in which the hub's library keeps the token that is in use."""
    chosen = os.environ.get("HF_TOKEN_PATH")
    return Path(chosen).expanduser() if chosen else hub_home() / "token"


def token_found_in() -> str | None:
    """Where a token of the hub is found: a variable or a file, by its name; None where there is none."""
    for name in _NAMES:
        if os.environ.get(name, "").strip():
            return name
    with suppress(OSError):
        if token_file().stat().st_size:
            return str(token_file())
    return None


def log_in(token: str) -> str:
    """Have the hub's library check and keep the token; gives the user's name. Asks the hub.

    Raises FtError where it is no token, the hub does not accept it, or cannot be asked.
    """
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token or len(token) > _LONGEST:
        raise _refused(
            "this is no token", "a token is one word, such as hf_...", "copy it whole from your page of the hub"
        )
    # A token of the environment would be asked about instead.
    around = {name: value for name, value in os.environ.items() if name not in _NAMES}
    helper = Helper("finetune_core.worker.hub.login", stdin=subprocess.PIPE, env=around)
    try:
        answer, _ = helper.communicate(token.encode(), _SECONDS)
    except subprocess.TimeoutExpired:
        raise _refused("the token was not kept", "the hub gave no answer", "try again") from None
    finally:
        helper.end(0)
    return _answered(answer, helper.returncode)


def _answered(text: bytes, code: int) -> str:
    with suppress(ValueError, IndexError):
        found = json.loads(text.splitlines()[-1])
        if "problem" in found:
            raise _refused(*found["problem"])
        return str(found["name"])
    raise _refused("the token was not kept", f"its process ended with code {code}", "run `ft-tui doctor`")


def overridden_by() -> str | None:
    """The variable that the library takes in place of the token in its file; None where none is set."""
    return next((name for name in _NAMES if os.environ.get(name, "").strip()), None)


def _refused(what: str, why: str, remedy: str) -> FtError:
    return problem(what, where="the model hub", why=one_line(why, 300), remedy=one_line(remedy, 300))
