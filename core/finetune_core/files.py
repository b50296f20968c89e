"""Writes that are either complete or invisible, and reads of what a stranger may have put there."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

PRIVATE_MODE = 0o600
_REPLACED = ".replaced-"
_SEAL = b'"seal":"'


def write_atomic(path: Path, content: str | bytes, *, durable: bool = True) -> None:
    """Replace `path` by `content` in one step: temporary file, fsync, rename, fsync of the folder.

    `durable=False` leaves out both fsyncs, for files whose loss in a power cut does no harm (heartbeats).
    A reader sees the old content or the new, never a part. The file is private (0600).
    """
    data = content.encode() if isinstance(content, str) else content
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(path.parent)


class OddFile(ValueError):  # noqa: N818 - it names what was found
    """A file that is not read; the text says why."""


def open_regular(path: Path, *, follow: bool = True) -> BinaryIO:
    """A file to read, and never to wait for. Raises OSError, and OddFile for what is no regular file.

    A link is followed, unless `follow` says otherwise.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return os.fdopen(handle, "rb")
    os.close(handle)
    raise OddFile("it is no regular file")


def read_capped(path: Path, limit: int, *, own: bool = False) -> bytes:
    """The content of a file a stranger may have put there. Raises OSError, and OddFile for what is not to be read.

    That is what is no regular file (a pipe would be waited for, and a device never ends) or has more than `limit`
    bytes; with `own` also a link, or a file that another user owns or may write to.
    """
    if own and path.is_symlink():
        raise OddFile("it is a link")
    with open_regular(path, follow=not own) as stream:
        info = os.fstat(stream.fileno())
        if own and info.st_uid != os.geteuid():
            raise OddFile("it belongs to another user")
        if own and info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise OddFile("others may write to it")
        # A buffer of the largest size for each small file would cost more than the reading.
        content = stream.read(min(limit, info.st_size) + 1)
    if len(content) > limit:
        raise OddFile(f"it is larger than {limit // 2**20} MiB")
    return content


def sealed(text: str) -> bytes:
    """A JSON object with a seal as its last field: SHA-256 over the bytes before it."""
    body = text.encode().rstrip()[:-1]
    comma = b"" if body.endswith(b"{") else b","
    return body + comma + _SEAL + _digest(body) + b'"}'


def unsealed(data: bytes) -> bytes | None:
    """What `sealed` made, checked; None where it was changed since, or has no seal."""
    body, mark, rest = data.rpartition(_SEAL)
    body = body.removesuffix(b",")
    return body + b"}" if mark and rest == _digest(body) + b'"}' else None


def write_sealed(path: Path, value: Mapping[str, Any], *, durable: bool = True) -> None:
    """Write a JSON object that shows whether it was changed since. Raises OSError."""
    write_atomic(path, sealed(json.dumps(value)), durable=durable)


def read_sealed(path: Path, limit: int, *, bare: bool = False) -> dict[str, Any] | None:
    """What `write_sealed` wrote; None for anything else.

    With `bare` also an object without a seal, as earlier versions wrote it.
    """
    try:
        data = read_capped(path, limit)
        whole = data if bare and _SEAL not in data else unsealed(data)
        found = None if whole is None else json.loads(whole)
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode()


def sync_folder(path: Path) -> None:
    """Make the names inside a folder survive a power cut."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Make everything inside a folder survive a power cut, and private (files 0600)."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            sync_folder(path)
        elif path.is_file():
            path.chmod(PRIVATE_MODE)
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
    sync_folder(folder)


def publish_folder(stage: Path, final: Path) -> None:
    """Let a finished folder take the place of another, or of none, on the same disk.

    At every moment the old folder or the new is there in full: after a kill between two renames
    `restore_replaced` brings the old one back. Both must be synced before.
    """
    aside = final.with_name(f"{_REPLACED}{final.name}")
    shutil.rmtree(aside, ignore_errors=True)
    if final.exists():
        final.rename(aside)
    stage.rename(final)
    sync_folder(final.parent)
    shutil.rmtree(aside, ignore_errors=True)


def restore_replaced(parent: Path) -> None:
    """Bring back what a killed `publish_folder` had moved aside, and remove what it had replaced."""
    for aside in parent.glob(f"{_REPLACED}*"):
        final = parent / aside.name.removeprefix(_REPLACED)
        if final.exists():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.rename(final)
