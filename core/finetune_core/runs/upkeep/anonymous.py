"""Names of people and places, secrets and quotations taken out of a text that is meant for strangers."""

from __future__ import annotations

import os
import platform
import pwd
import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from finetune_core.errors import FtError
from finetune_core.models.find import hub_cache
from finetune_core.paths import home
from finetune_core.redaction import redact
from finetune_core.text import clean

_EMAIL: Final = re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+")
_ADDRESS: Final = re.compile(r"(?<=://)[^\s/'\"`,)]+|\b(?:\d{1,3}\.){3}\d{1,3}:\d+\b")
_GPU: Final = re.compile(r"\b(GPU|MIG)-[0-9a-fA-F]{8}-[0-9a-fA-F-]{20,}")
# Other absolute paths keep their last part, which says most of what went wrong.
_PATH: Final = re.compile(r"(?<![\w.$~\]/-])/(?:[^\s/:'\"`,;()\[\]<>|]+/)+(?=[^\s/:'\"`,;()\[\]<>|])")
_IN_HOME: Final = re.compile(r"(?:/home|/Users)/[^\s/:'\"`,;()]+")
# A path that is left of one is no quotation.
_QUOTED: Final = re.compile(r"(['\"`])(?!(?:\[\.\.\.\]|~|\$[A-Z_]+)/\S*\1)(?:(?!\1).){25,}?\1")
# Hosts whose names say nothing of the user.
_KNOWN_HOSTS: Final = ("huggingface.co", "download.pytorch.org", "pytorch.org", "github.com")
# Shorter texts stand in any log; common users say nothing of a person.
_SHORTEST_NAME: Final = 3
_SHORTEST_TEXT: Final = 8
_COMMON: Final = frozenset({"root", "user", "ubuntu", "admin", "nobody", "localhost", "demo", "auto", "none"})


class Anonymous:
    """Takes out of texts what says who and where somebody is; `also` adds what must not be in them either."""

    def __init__(self) -> None:
        self._places = _places()
        self._names = _names()
        self._texts: list[str] = []

    def also(self, texts: Iterable[str]) -> None:
        """Take these texts out too, and each of their lines."""
        found = {part.strip() for text in texts for part in (text, *text.splitlines())}
        own = {text for text in found if len(text) >= _SHORTEST_TEXT and text.lower() not in _COMMON}
        self._texts = sorted(own | set(self._texts), key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """The text as strangers may read it."""
        text = clean(redact(text))
        for own in self._texts:
            text = text.replace(own, "[the user's own]")
        for place, word in self._places:
            text = text.replace(place, word)
        text = _IN_HOME.sub("~", text)
        text = _ADDRESS.sub(lambda match: match[0] if match[0].startswith(_KNOWN_HOSTS) else "[host]", text)
        text = _GPU.sub(r"\1-[id]", _EMAIL.sub("[mail]", text))
        text = _PATH.sub("[...]/", text)
        for name, word in self._names:
            text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", word, text)
        return _QUOTED.sub(r"\1[quoted]\1", text)


def _places() -> list[tuple[str, str]]:
    """Folders by what they are for, the longest first."""
    found = {sys.prefix: "$ENVIRONMENT", str(Path.home()): "~", str(hub_cache()): "$HUB_CACHE"}
    with suppress(FtError):
        found[str(home())] = "$FT_TUI_HOME"
    with suppress(OSError):
        found.setdefault(str(Path.cwd()), "$HERE")
    found.setdefault(str(Path(__file__).resolve().parents[3]), "$PROGRAM")
    return sorted(((place, word) for place, word in found.items() if len(place) > 1), key=lambda one: -len(one[0]))


def _names() -> list[tuple[str, str]]:
    """User and machine, where their names say something."""
    users = {os.environ.get(name, "") for name in ("USER", "LOGNAME", "SUDO_USER")}
    with suppress(KeyError):
        users.add(pwd.getpwuid(os.getuid()).pw_name)
        users.add(pwd.getpwuid(os.getuid()).pw_gecos.partition(",")[0])
    hosts = {platform.node(), platform.node().partition(".")[0], os.environ.get("HOSTNAME", "")}
    found = [(name, "[user]") for name in users] + [(name, "[host]") for name in hosts]
    return [(name, word) for name, word in found if len(name) >= _SHORTEST_NAME and name.lower() not in _COMMON]
