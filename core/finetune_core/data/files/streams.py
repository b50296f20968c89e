"""The bytes of a file, plain or unpacked on the way; both are read forward and looked back into."""

from __future__ import annotations

import io
import os
import zlib
from collections import deque
from os import pread
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from finetune_core.data.files.base import Compression, unreadable
from finetune_core.data.files.row_offsets import BLOCK, Fault
from finetune_core.limits import ROW_BYTES, UNPACKED_TIMES, unpacks_too_far

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAGIC: tuple[tuple[bytes, Compression], ...] = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"))
# Header and check sum of gzip around the packed bytes (zlib's documentation).
_GZIP = 16 + zlib.MAX_WBITS
_KEPT = ROW_BYTES + 8 * BLOCK


class Plain(io.BufferedReader):
    """A file as it is."""

    damage: Fault | None = None

    def pread(self, size: int, offset: int) -> bytes:
        """`size` bytes from `offset` on, without moving; fewer at the end."""
        return pread(self.fileno(), size, offset)

    def forget(self, offset: int) -> None:
        """What lies before `offset` will not be asked for again."""

    def position(self) -> int:
        """How many bytes of the file have been read."""
        return self.tell()


class _Unpacker(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Unpacked(io.RawIOBase):
    """Unpacks as it is read, and keeps a bounded stretch of what went by, since an archive cannot be read backwards."""

    def __init__(self, unpacker: _Unpacker, compression: str, packed: int) -> None:
        """`packed` is the size of the archive in bytes."""
        self._unpacker, self._compression, self._packed = unpacker, compression, packed
        self._kept: deque[tuple[int, bytes]] = deque()
        self._at = self._end = self._held = 0
        self.damage: Fault | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset if whence == io.SEEK_SET else self._at + offset
        return self._at

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer)
        found = self.pread(min(len(view), BLOCK), self._at)
        view[: len(found)] = found
        self._at += len(found)
        return len(found)

    def pread(self, size: int, offset: int) -> bytes:
        """`size` bytes of the unpacked text from `offset` on; OSError when they went by too long ago."""
        while self._end < offset + size and self._unpack(offset):
            pass
        if self._kept and offset < self._kept[0][0]:
            raise OSError(f"byte {offset} of the unpacked text is gone")
        return b"".join(
            block[max(offset - begin, 0) : offset + size - begin]
            for begin, block in self._kept
            if begin < offset + size and begin + len(block) > offset
        )

    def forget(self, offset: int) -> None:
        while self._kept and self._kept[0][0] + len(self._kept[0][1]) <= offset:
            self._held -= len(self._kept.popleft()[1])

    def _unpack(self, needed: int) -> bool:
        """Take in the next block; False at the end, or where the archive is damaged."""
        if self.damage is not None:
            return False
        try:
            block = bytes(self._unpacker.read(BLOCK))
        except (EOFError, OSError, zlib.error) as error:
            self.damage = _damage(self._compression, error)
            return False
        if unpacks_too_far(self._end + len(block), self._packed):
            self.damage = _bomb(self._compression)
            return False
        if block:
            self._kept.append((self._end, block))
            self._end, self._held = self._end + len(block), self._held + len(block)
        # At the end nothing new takes the place of what was read last, which may still be asked for.
        while self._held > _KEPT or (block and len(self._kept) > 1 and self._end <= needed):
            self._held -= len(self._kept.popleft()[1])
        return bool(block)


class Packed(io.BufferedReader):
    """A gzip or zstd file, unpacked as it is read; offsets are those of the unpacked text."""

    def __init__(self, path: Path, compression: Compression) -> None:
        self._file = path.open("rb")
        size = os.fstat(self._file.fileno()).st_size
        self._unpacked = _Unpacked(_unpacker(self._file, compression), compression, size)
        super().__init__(self._unpacked, BLOCK)

    @property
    def damage(self) -> Fault | None:
        """Why unpacking ended too early, once it did."""
        return self._unpacked.damage

    def pread(self, size: int, offset: int) -> bytes:
        """`size` bytes of the unpacked text from `offset` on, without moving."""
        return self._unpacked.pread(size, offset)

    def forget(self, offset: int) -> None:
        """What lies before `offset` will not be asked for again, unless it is in the buffer still."""
        self._unpacked.forget(min(offset, self.tell()))

    def position(self) -> int:
        """How many bytes of the packed file have been read."""
        return self._file.tell()

    def close(self) -> None:
        """Close the file too."""
        super().close()
        self._file.close()


Source = Plain | Packed


def open_source(path: Path, compression: Compression) -> Source:
    """The bytes of a file. FtError when it cannot be opened."""
    try:
        return Packed(path, compression) if compression else Plain(io.FileIO(path, "rb"), BLOCK)
    except OSError as error:
        raise unreadable(path, error) from error


class _Gzip:
    """A gzip file, member by member. Unlike the standard library's, it gives everything before a damage."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self._member = zlib.decompressobj(wbits=_GZIP)

    def read(self, size: int) -> bytes:
        """At most `size` bytes; empty at the end. EOFError where the file is cut off, zlib.error where damaged."""
        while True:
            if self._member.eof:
                # Archives on tape are filled up with zero bytes.
                packed = (self._member.unused_data or self._file.read(BLOCK)).lstrip(b"\0")
                if not packed:
                    return b""
                self._member = zlib.decompressobj(wbits=_GZIP)
            else:
                packed = self._member.unconsumed_tail or self._file.read(BLOCK)
                if not packed:
                    raise EOFError
            text = self._member.decompress(packed, size)
            if text:
                return text


def _unpacker(file: io.BufferedReader, compression: Compression) -> _Unpacker:
    if compression == "gzip":
        return _Gzip(file)
    import pyarrow as pa

    unpacker: _Unpacker = pa.CompressedInputStream(file, "zstd")
    return unpacker


def _bomb(compression: str) -> Fault:
    return Fault(
        f"the {compression} archive unpacks to more than {UNPACKED_TIMES} times its size",
        "no rows pack that far: it was made to exhaust a machine, and the rest of it is not read",
        "unpack the file yourself, and look at what it holds",
    )


def _damage(compression: str, error: BaseException) -> Fault:
    cut = isinstance(error, EOFError)
    return Fault(
        f"the {compression} archive ends in the middle" if cut else f"the {compression} archive is damaged here",
        "the file was cut off while it was written or copied" if cut else "its bytes cannot be unpacked from here on",
        f"copy or download the file again; {compression} -t names the damage",
    )
