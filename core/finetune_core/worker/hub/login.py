"""A token of the hub, into the login file of the hub's own library: `python -P -m finetune_core.worker.hub.login`.

The token comes on standard input, since arguments are seen by every user of the machine. One line of JSON goes out:
`{"name": user}`, or `{"problem": [what, why, remedy]}`. What is written says nothing of the token itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from typing import Any

from finetune_core.models.find import hub_forbidden_by
from finetune_core.redaction import redact
from finetune_core.text import one_line
from finetune_core.worker.hub.access import explained, mend_client

_TOKENS_PAGE = "/settings/tokens"


def main() -> None:
    """Log in with the token on standard input."""
    os.umask(0o077)
    answer = log_in(sys.stdin.read().strip())
    sys.stdout.write(json.dumps(answer) + "\n")


def log_in(token: str) -> dict[str, Any]:
    """The user's name once the hub accepts the token and it is kept; else what is wrong."""
    if (forbidden := hub_forbidden_by()) is not None:
        return _wrong("the hub may not be asked", f"{forbidden} is set", f"unset {forbidden}")
    from huggingface_hub import constants, login, whoami

    try:
        mend_client()
        with contextlib.redirect_stdout(sys.stderr):
            name = whoami(token)["name"]
            login(token=token, add_to_git_credential=False)
    except Exception as error:  # noqa: BLE001 - whatever keeps the token from being kept is reported in words
        status = getattr(getattr(error, "response", None), "status_code", None)
        page = f"{constants.ENDPOINT}{_TOKENS_PAGE}"
        if status in {401, 403}:
            remedy = f"copy it whole, or make a new one (type Read) on {page}"
            return _wrong("the hub does not accept this token", f"it answered {status}", remedy)
        words = explained(error, "model")
        why = (
            words[0] if words else one_line(redact(f"{type(error).__name__}: {error}").replace(token, "[secret]"), 200)
        )
        return _wrong("the token was not kept", why, words[1] if words else f"make a new one on {page}")
    return {"name": one_line(str(name), 80)}


def _wrong(what: str, why: str, remedy: str) -> dict[str, Any]:
    return {"problem": [what, why, remedy]}


if __name__ == "__main__":
    main()
