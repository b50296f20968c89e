"""The hub as seen from here: failures by name with what to do, no long waits, files compared with their hashes."""

from __future__ import annotations

import errno
import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from finetune_core.errors import problem
from finetune_core.models.find import hub_forbidden_by
from finetune_core.text import duration_text, one_line

Thing = Literal["model", "data set"]
# Whoever waits sees nothing move meanwhile.
PATIENCE_SECONDS: Final = 60
_SILENCE_SECONDS: Final = 30.0
_CONNECT_SECONDS: Final = 10.0
_AGAIN: Final = "start again: files that came whole are kept, and only the others are fetched"
_UNREACHABLE: Final = {"ConnectError", "ConnectTimeout", "ReadTimeout", "PoolTimeout", "ProxyError", "ConnectionError"}
_BROKEN: Final = {"RemoteProtocolError", "ReadError", "ConnectionResetError", "IncompleteRead", "XetDownloadError"}
_FOR_GOOD: Final = {"GatedRepoError", "DisabledRepoError", "RevisionNotFoundError", "RepositoryNotFoundError"}
_NOT_HERE: Final = {"LocalEntryNotFoundError", "IncompleteSnapshotError"}
# How a token is given; never as an argument, which every user of the machine can read.
WAYS_TO_GIVE: Final = "`h` in the wizard's model step, `ft-tui models login`, or HF_TOKEN"
_REPOSITORY: Final = re.compile(
    r"(https?://[^/?#]+)/(api/models/|api/datasets/|datasets/)?([\w.-]+/[\w.-]+)(?=[/?#]|$)"
)
_RESET_IN: Final = re.compile(r"\bt=(\d{1,9})\b")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_SHA1: Final = re.compile(r"[0-9a-f]{40}")

Words = tuple[str, str]


def explained(error: BaseException, thing: Thing) -> Words | None:
    """(cause, remedy) of what went wrong with the hub, looked for in all chained errors; None of anything else.

    What names most precisely speaks: a refusal before a status, a status before a connection that failed.
    """
    chain = list(_chain(error))
    for ask in (_refusal, _status, _connection):
        for found in chain:
            if (words := ask(found, thing)) is not None:
                return words
    return None


def refused(error: BaseException) -> bool:
    """Whether the hub said no for good: no such model or revision, gated, private or disabled."""
    return any(type(found).__name__ in _FOR_GOOD for found in _chain(error))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _refusal(error: BaseException, thing: Thing) -> Words | None:
    field = "the name after hub:" if thing == "data set" else "model.source"
    said: dict[str, Words] = {
        "GatedRepoError": _gated(error, thing),
        "DisabledRepoError": (f"the hub has disabled this {thing} (403)", f"choose another {thing}"),
        "RevisionNotFoundError": (
            f"the {thing} has no such revision (404)",
            "check model.revision, or leave it out for the newest; one that was there has been withdrawn",
        ),
        "RemoteEntryNotFoundError": (
            f"a file of the {thing} is gone from the hub (404): {_address(error)}",
            f"it was withdrawn or replaced meanwhile; start again for what is there now, or choose another {thing}",
        ),
        "RepositoryNotFoundError": (
            f"the hub knows no such {thing}, or it is private (401/404)",
            f"check the spelling of {field}; for a private {thing} give a token that may read it: {WAYS_TO_GIVE}",
        ),
    }
    return said.get(type(error).__name__)


def _gated(error: BaseException, thing: Thing) -> Words:
    """A gated repository: the page on which its licence is accepted, and where a token goes if none was sent."""
    response = getattr(error, "response", None)
    page = _page(str(getattr(response, "url", "")))
    accept = f"open {page}, and accept its licence there" if page else "accept its licence on its page of the hub"
    if getattr(response, "status_code", None) == 401:
        return (
            f"the hub refuses this {thing}: it is gated, and no valid token was given (401)",
            f"{accept}; then give a token of that account: {WAYS_TO_GIVE}",
        )
    given = "one that is given already is of another account, or waits for the licence to be accepted"
    return (
        f"the hub refuses this {thing}: it is gated (403)",
        f"{accept}; then give a token of that account: {WAYS_TO_GIVE} ({given})",
    )


def _page(url: str) -> str:
    """The page of a model or data set, of the address of one of its files or of the hub's answer about it."""
    found = _REPOSITORY.match(url)
    if not found:
        return ""
    server, kind, name = found.groups()
    return one_line(f"{server}/{'datasets/' if kind and 'datasets' in kind else ''}{name}", 200)


def _address(error: BaseException) -> str:
    """The file a request was about, without the server and what follows a question mark."""
    url = str(getattr(getattr(error, "response", None), "url", ""))
    return one_line(url.partition("?")[0].partition("/resolve/")[2].partition("/")[2] or url or "unknown", 200)


def _status(error: BaseException, thing: Thing) -> Words | None:
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if response is None or not isinstance(status, int) or status < 400:
        return None
    if status == 401:
        return (
            "the hub does not accept the token (401)",
            f"it is mistyped, expired or revoked: make a new one on your page of the hub, and give it: {WAYS_TO_GIVE}",
        )
    if status == 403:
        return (
            f"the hub forbids this {thing} (403)",
            "the token in use may not read it: give it the right to, or take one of an account that may",
        )
    if status == 429:
        return _too_many(seconds_to_wait(response.headers))
    if status >= 500:
        return f"the hub fails at present ({status})", f"try again in some minutes; {_AGAIN}"
    return f"the hub answered with an error ({status}): {one_line(str(error), 200)}", f"check the {thing}'s name"


def _too_many(seconds: int | None) -> Words:
    wait = f"wait {duration_text(seconds)}" if seconds else "wait some minutes"
    return (
        f"the hub was asked too often from here (429){f': it asks to {wait}' if seconds else ''}",
        f"{wait}, then {_AGAIN}; with a token it lets more through ({WAYS_TO_GIVE})",
    )


def seconds_to_wait(headers: Mapping[str, str]) -> int | None:
    """How long the hub asks to wait: `Retry-After: 120`, or `RateLimit: "api";r=0;t=120`."""
    plain = headers.get("Retry-After", "").strip()
    if plain.isdigit() and len(plain) < 10:
        return int(plain)
    found = _RESET_IN.search(headers.get("RateLimit", ""))
    return int(found[1]) if found else None


def _connection(error: BaseException, thing: Thing) -> Words | None:
    kinds = {kind.__name__ for kind in type(error).__mro__}
    local = "a model folder" if thing == "model" else "a file on this machine"
    if "OfflineModeIsEnabled" in kinds or (kinds & _NOT_HERE and hub_forbidden_by()):
        return (
            f"the {thing} is not in the cache, and the hub may not be asked",
            f"unset {hub_forbidden_by() or 'HF_HUB_OFFLINE'}, or choose {local}",
        )
    if "Consistency check failed" in str(error) or kinds & _BROKEN:
        return f"the connection to the hub broke off: {one_line(str(error), 200)}", f"check the network, then {_AGAIN}"
    if kinds & _UNREACHABLE:
        return (
            "the hub cannot be reached",
            f"check the network and proxy settings; {local} needs no network",
        )
    if kinds & _NOT_HERE:
        return (
            f"the {thing} is not in the cache, and the hub cannot be reached",
            f"connect to the network (and unset HF_HUB_OFFLINE), or choose {local}",
        )
    return None


def full_disk(error: BaseException) -> str | None:
    """The place that was full, `the disk` where that is not said; None of another error."""
    for found in _chain(error):
        if isinstance(found, OSError) and found.errno in {errno.ENOSPC, errno.EDQUOT}:
            return one_line(str(found.filename or "the disk"), 200)
    return None


def mend_client() -> None:
    """Let the hub's library fail where a 429 would have it sleep for longer than a minute, up to five times.

    And let it go on where a connection was reset in the middle of a file, as it does where one was merely closed.
    """
    import httpx2
    from huggingface_hub import set_client_factory
    from huggingface_hub.utils._http import default_client_factory

    class Steady(httpx2.SyncByteStream):
        """The bytes of an answer; a reset is raised as the early end that the library knows how to go on after."""

        def __init__(self, inner: Any) -> None:  # noqa: ANN401 - an httpx stream
            self._inner = inner

        def __iter__(self) -> Iterator[bytes]:
            try:
                yield from self._inner
            except httpx2.ReadError as error:
                raise httpx2.RemoteProtocolError(str(error)) from error

        def close(self) -> None:
            self._inner.close()

    def look(response: Any) -> None:  # noqa: ANN401 - an httpx response
        _refuse_wait(response)
        response.stream = Steady(response.stream)

    def client() -> Any:  # noqa: ANN401 - an httpx client
        made = default_client_factory()
        # Without it a server that takes the connection and says nothing is waited for without end.
        made.timeout = httpx2.Timeout(_SILENCE_SECONDS, connect=_CONNECT_SECONDS)
        hooks = made.event_hooks
        made.event_hooks = {**hooks, "response": [*hooks.get("response", ()), look]}
        return made

    set_client_factory(client)


def _refuse_wait(response: Any) -> None:  # noqa: ANN401 - an httpx response
    seconds = seconds_to_wait(response.headers) if response.status_code == 429 else None
    if seconds is not None and seconds > PATIENCE_SECONDS:
        cause, remedy = _too_many(seconds)
        raise problem(cause, where=str(response.url.host), why="it limits how often one address asks", remedy=remedy)


def verify(path: Path) -> None:
    """Compare a downloaded file of the cache with the hash in the name it is kept under. Raises FtError.

    A file that is not what the hub has is removed, so that it is fetched again. The hub names files by SHA-256, or
    small ones by git's SHA-1; servers that stand in for it may take a plain SHA-1, or names that say nothing.
    """
    name = path.readlink().name if path.is_symlink() else ""
    if _SHA256.fullmatch(name):
        sound = _digest(path, hashlib.sha256()) == name
    elif _SHA1.fullmatch(name):
        git = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
        sound = name in {_digest(path, git), _digest(path, hashlib.sha1(usedforsecurity=False))}
    else:
        return
    if not sound:
        (path.parent / path.readlink()).unlink(missing_ok=True)
        path.unlink()
        raise problem(
            "a file that was downloaded is not the one the hub has",
            where=one_line(path.name, 200),
            why="its hash differs: it was damaged on the way, or changed by a proxy",
            remedy=f"it was removed; {_AGAIN}",
        )


def _digest(path: Path, digest: Any) -> str:  # noqa: ANN401 - hashlib names no type
    with path.open("rb") as stream:
        while block := stream.read(2**20):
            digest.update(block)
    return str(digest.hexdigest())
