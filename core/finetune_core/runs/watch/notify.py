"""Word of an end or an alarm, sent where the user asked for it: to a command of his, or to a web address.

Both are taken from the environment the run was started in, never from a recipe, which may come from somebody else.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Final

from finetune_core.redaction import redact
from finetune_core.runs.directory import RunDir
from finetune_core.text import clean

COMMAND: Final = "FT_TUI_NOTIFY_COMMAND"
ADDRESS: Final = "FT_TUI_NOTIFY_URL"
_SECONDS: Final = 15.0
# A run that alarms at every step must not drown its user.
_MOST_ALARMS: Final = 20


class Notifier:
    """Sends in threads of its own, so that nothing waits for a slow network; a failure is a line in the log.

    `variables` is the environment (this process's own when None).
    """

    def __init__(self, run: RunDir, variables: Mapping[str, str] | None = None) -> None:
        found = os.environ if variables is None else variables
        self._run = run
        self._command = found.get(COMMAND, "")
        self._address = found.get(ADDRESS, "")
        self._alarms = 0
        self._sending: list[threading.Thread] = []

    def send(self, event: str, text: str, *, state: str = "") -> None:
        """Send word of an `alarm` or the `end`."""
        if event == "alarm":
            self._alarms += 1
            if self._alarms > _MOST_ALARMS:
                return
        word = {"run": self._run.name, "event": event, "state": state, "text": redact(clean(text)), "t": time.time()}
        for send, target in ((self._call, self._command), (self._post, self._address)):
            if target:
                thread = threading.Thread(target=_safely, args=(send, target, word), daemon=True)
                thread.start()
                self._sending.append(thread)

    def close(self) -> None:
        """Wait until everything is sent, or its time is up."""
        deadline = time.monotonic() + _SECONDS + 1
        for thread in self._sending:
            thread.join(max(0.0, deadline - time.monotonic()))

    @staticmethod
    def _call(command: str, word: Mapping[str, object]) -> None:
        named = {f"FT_TUI_{name.upper()}": str(word[name]) for name in ("run", "event", "state", "text")}
        done = subprocess.run(
            shlex.split(command),
            input=json.dumps(word).encode(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, **named},
            timeout=_SECONDS,
            check=False,
            # The supervisor waits for signals with a mask, which the user's command must not inherit.
            preexec_fn=_no_mask,
        )
        if done.returncode:
            raise OSError(f"it ended with code {done.returncode}: {done.stderr.decode(errors='replace')[:300]}")

    @staticmethod
    def _post(address: str, word: Mapping[str, object]) -> None:
        if not address.startswith(("http://", "https://")):
            raise ValueError("the address must begin with https:// or http://")
        request = urllib.request.Request(  # noqa: S310 - the scheme is looked at above
            address,
            data=json.dumps({**word, "content": f"{word['run']}: {word['text']}"}).encode(),
            headers={"Content-Type": "application/json", "User-Agent": "ft-tui"},
        )
        with urllib.request.urlopen(request, timeout=_SECONDS):  # noqa: S310 - as above
            return


def _no_mask() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _safely(send: object, target: str, word: Mapping[str, object]) -> None:
    assert callable(send)
    try:
        send(target, word)
    except (OSError, ValueError, subprocess.SubprocessError, urllib.error.URLError) as error:
        sys.stderr.write(f"supervisor: no word could be sent: {clean(redact(str(error)))[:300]}\n")
