"""Secrets are taken out of what is shown or written: by their form, and by the values that the environment holds."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from functools import lru_cache
from typing import Final

_WORD: Final = "[secret]"
_SECRETS: Final = re.compile(
    r"\bhf_[A-Za-z0-9]{8,}"
    r"|\bsk-(?=[\w-]*\d)[A-Za-z0-9_-]{16,}"
    r"|\b(?:gh[oprsu]_|github_pat_)[A-Za-z0-9_]{20,}"
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"
    r"|(?<=://)[^\s/:@'\"]*:[^\s/@'\"]+(?=@)"
    r"|(?i:\bauthorization['\"]?\s*[:=]\s*['\"]?(?:(?:bearer|basic|token)\s+)?[^\s'\"]+"
    r"|\bbearer\s+[^\s'\"]{6,}"
    r"|\bwandb[^\n]{0,60}?\b[0-9a-f]{40}\b"
    r"|\b(?:x-amz-(?:signature|credential|security-token)|signature)=[^\s&'\"]{6,}"
    r"|\b\w*(?:api_?key|access_?key|hf_token|hub_token|auth_token|secret|password)['\"]?\s*[:=]\s*['\"]?[^\s'\"]{6,})"
)
_NAMES: Final = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|_KEY$|APIKEY|ACCESS_KEY|KEY_ID$")
# Shorter values are no secrets, and could be found in any text.
_SHORTEST: Final = 12


def redact(text: str) -> str:
    """`text` with tokens, keys, passwords in addresses and Authorization headers replaced by a bracketed word.

    What a variable of the environment holds whose name speaks of a secret is replaced whatever its form.
    """
    held = frozenset(value for name, value in os.environ.items() if len(value) >= _SHORTEST and _NAMES.search(name))
    known = _held(held)
    return _SECRETS.sub(_WORD, known.sub(_WORD, text) if known is not None else text)


@lru_cache(maxsize=4)
def _held(values: frozenset[str]) -> re.Pattern[str] | None:
    longest_first = sorted(values, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first))) if values else None


class Redacting:
    """A stream that hands on what is written to it without secrets; for everything else it is the other stream.

    What the other cannot take (a full disk, a terminal that is gone) is lost: a log is never a reason to end a run.
    """

    def __init__(self, stream: object) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text; gives the length of what was asked for."""
        with suppress(OSError):
            getattr(self._stream, "write")(redact(text))  # noqa: B009 - any stream, of which mypy knows no method
        return len(text)

    def flush(self) -> None:
        """Have it written."""
        with suppress(OSError):
            getattr(self._stream, "flush")()  # noqa: B009 - as above

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)
