"""Where synthetic rows come from: an address, a model, and a key that is never shown."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from finetune_core.errors import problem
from finetune_core.text import one_line

KEY_VARIABLE: Final = "OPENAI_API_KEY"
HIDDEN: Final = "[key hidden]"
_VARIABLE: Final = re.compile(r"[A-Z_][A-Z0-9_]{0,63}")
# A shorter key, such as the "none" that local servers take, is no secret and would be found in ordinary words.
_SECRET_FROM: Final = 8
_LOOPBACK: Final = re.compile(r"localhost|127\.[0-9.]+|::1")


class Key:
    """A secret that shows itself to nobody who does not ask by name: not in a repr, not in a traceback's locals."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def __repr__(self) -> str:
        return f"Key({HIDDEN})"

    def reveal(self) -> str:
        """The key itself, for the one header that needs it."""
        return self._value

    def redact(self, text: str) -> str:
        """`text` without the key: endpoints repeat it in their complaints."""
        return text.replace(self._value, HIDDEN) if len(self._value) >= _SECRET_FROM else text


def key_from_environment(variable: str = KEY_VARIABLE) -> Key | None:
    """The key in an environment variable; None when the usual one is not set, which local endpoints do not need.

    FtError when a variable named by the user is not set, is no name of a variable, or holds what no header can carry.
    What was typed as a name is not repeated unless it looks like one: people paste the key itself there.
    """
    if not _VARIABLE.fullmatch(variable):
        raise problem(
            "this is not the name of an environment variable",
            where="key variable",
            why="it has to be in capitals, such as OPENAI_API_KEY; the key itself never goes on the command line",
            remedy=f"put the key into a variable: read -rs {KEY_VARIABLE}; export {KEY_VARIABLE}",
        )
    value = os.environ.get(variable, "").strip()
    if not value and variable == KEY_VARIABLE:
        return None
    if not value or not value.isascii() or not value.isprintable():
        raise problem(
            "the key cannot be used",
            where=variable,
            why="it holds characters no key has" if value else "the variable is not set",
            remedy=f"set it in this shell: read -rs {variable}; export {variable}",
        )
    return Key(value)


@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible endpoint: `base` such as `https://host/v1`, the model's name there, the key if any.

    `timeout` is the longest that one answer may take, in seconds. FtError when the address is none.
    """

    base: str
    model: str
    key: Key | None = None
    timeout: float = 300.0
    temperature: float | None = None
    key_variable: str = KEY_VARIABLE
    url: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", _chat_url(self.base))
        if not self.model.strip():
            raise problem(
                "no model is named",
                where="model",
                why="an endpoint may serve several",
                remedy=f"name one; {self.url.removesuffix('/chat/completions')}/models lists them",
            )

    @property
    def host(self) -> str:
        """Host and port, as rows and messages name the endpoint."""
        parts = urlsplit(self.url)
        return parts.netloc

    @property
    def is_local(self) -> bool:
        """Whether it is a server on this machine, which no proxy leads to."""
        return bool(_LOOPBACK.fullmatch(urlsplit(self.url).hostname or ""))

    @property
    def sends_key_in_clear(self) -> bool:
        """Whether the key travels over a network unencrypted."""
        return self.key is not None and self.url.startswith("http://") and not self.is_local

    def redact(self, text: str) -> str:
        """`text` without the key."""
        return self.key.redact(text) if self.key is not None else text


def _chat_url(base: str) -> str:
    try:
        parts = urlsplit(base.strip())
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    # Blanks and control characters would be dropped or obeyed further down.
    if not usable or not base.strip().isprintable() or " " in base.strip():
        raise problem(
            "this is not the address of an endpoint",
            where="url",
            why=f"{one_line(base.rpartition('@')[2], 120) or 'nothing'} is not http(s)://host[:port]/path",
            remedy="give the base URL its documentation names, such as http://localhost:8000/v1",
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise problem(
            "the address holds more than an address",
            where="url",
            why="a password, a query or a fragment in it would end up in rows and messages",
            remedy=f"give the plain base URL, and the key in the variable {KEY_VARIABLE}",
        )
    path = parts.path.rstrip("/").removesuffix("/chat/completions")
    return f"{parts.scheme}://{parts.netloc}{path}/chat/completions"
