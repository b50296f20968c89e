"""A file of lines that only grows: one write a line, one writer at a time, nothing lost at a kill."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from pathlib import Path
from typing import Final, Self

from finetune_core.errors import FtError, problem
from finetune_core.text import one_line

_LARGEST: Final = 512 * 2**20


class AppendFile:
    """The one writer of a file of JSON lines, which it makes (0600) where it is missing.

    Opening takes a lock that the kernel holds for this process, and mends a torn last line: a whole object only gets
    its newline, half of one is cut off. FtError when another process writes the file, or it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle = -1
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            self._handle = os.open(path, flags, 0o600)
            _lock(self._handle)
            _mend(self._handle)
        except OSError as error:
            self.close()
            raise _unwritable(path, error) from error
        except FtError:
            self.close()
            raise

    def lines(self) -> list[bytes]:
        """Every line, without its newline."""
        return _read(self._handle, self.path).split(b"\n")[:-1]

    def append(self, *lines: bytes) -> None:
        """Add lines in one write, and wait until they are on the disk. FtError when there is no room for all."""
        data = b"".join(line + b"\n" for line in lines)
        end = os.fstat(self._handle).st_size
        try:
            # The kernel writes a part without an error when the disk fills up in the middle.
            written = os.write(self._handle, data)
            if written == len(data):
                os.fsync(self._handle)
                return
            os.ftruncate(self._handle, end)
        except OSError as error:
            raise _unwritable(self.path, error) from error
        raise _unwritable(self.path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))

    def remove_if_empty(self) -> None:
        """Leave no file behind that nothing was written to."""
        if os.fstat(self._handle).st_size == 0:
            self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let file and lock go. Closing twice does no harm."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def whole_lines(path: Path) -> list[bytes]:
    """The lines of a file that another process may be adding to; a last one without its newline is not there yet.

    FtError when the file cannot be read.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        why = "there is no such file" if isinstance(error, FileNotFoundError) else error.strerror or str(error)
        raise problem(
            "the file cannot be read",
            where=one_line(str(path), 300),
            why=why,
            remedy="check the path and its permissions (ls -l)",
        ) from error
    try:
        return _read(handle, path).split(b"\n")[:-1]
    finally:
        os.close(handle)


def _read(handle: int, path: Path) -> bytes:
    size = os.fstat(handle).st_size
    if size > _LARGEST:
        raise problem(
            "the file is too large to be a file of rows under review",
            where=one_line(str(path), 300),
            why=f"it holds more than {_LARGEST // 2**20} MiB",
            remedy="name the file that `ft-tui data generate` wrote",
        )
    blocks, at = [], 0
    while at < size and (block := os.pread(handle, size - at, at)):
        blocks.append(block)
        at += len(block)
    return b"".join(blocks)


def _lock(handle: int) -> None:
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # A file system without locks is used without one; what is refused is a lock that another process holds.
        if error.errno in (errno.EACCES, errno.EAGAIN):
            raise


def _mend(handle: int) -> None:
    size = os.fstat(handle).st_size
    start, tail = size, b""
    while start > 0 and b"\n" not in tail:
        step = min(2**16, start)
        start -= step
        tail = os.pread(handle, step, start) + tail
    rest = tail.rpartition(b"\n")[2]
    if not rest:
        return
    try:
        whole = isinstance(json.loads(rest), dict)
    except (ValueError, RecursionError):
        whole = False
    if whole:
        os.write(handle, b"\n")
    else:
        os.ftruncate(handle, size - len(rest))


def _unwritable(path: Path, error: OSError) -> FtError:
    reasons = {
        errno.EACCES: "you may not write it, or another ft-tui writes it now",
        errno.EAGAIN: "another ft-tui writes it now",
        errno.ELOOP: "it is a link to another file",
        errno.ENOENT: "its folder does not exist",
        errno.EISDIR: "it is a folder",
    }
    return problem(
        "the file cannot be written",
        where=one_line(str(path), 300),
        why=reasons.get(error.errno or 0, error.strerror or type(error).__name__),
        remedy="check folder, rights and free space; look at a file in one place at a time",
    )
