"""Rows in a Parquet or Arrow file, read batch by batch; pyarrow is loaded by the first of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from functools import cached_property
from math import isfinite, isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetune_core.data.files.base import Container, Row, RowFile, Wanted, every, listed, refused
from finetune_core.data.files.row_offsets import TOO_LONG, Fault
from finetune_core.limits import ROW_BYTES, UNPACKED_TIMES, unpacks_too_far
from finetune_core.text import one_line

if TYPE_CHECKING:
    from pyarrow import RecordBatch, Schema

_BATCH_ROWS = 256
_BATCH_BYTES = 4 * 2**20
# All that pyarrow raises on damaged input; its own errors are subclasses of these.
_BOMB = Fault(
    f"the table unpacks to more than {UNPACKED_TIMES} times its size",
    "no rows pack that far: it was made to exhaust a machine, and the rest of it is not read",
    "look at what it holds with another program, and write the rows you want again",
)
_ERRORS = (OSError, ValueError, LookupError, TypeError, OverflowError, NotImplementedError, MemoryError)


class TableFile(RowFile):
    """Rows in columns. What JSON has no type for becomes text; bytes that are no text, `{"bytes": how many}`."""

    def __init__(self, path: Path, container: Container) -> None:
        super().__init__(path, container)
        try:
            names = self.schema().names
        except _ERRORS as error:
            raise _damaged(path, error) from error
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            why = f"its column {listed(repeated)} is there more than once"
            raise refused(path, "a column of the table is repeated", why, "rename or drop one, and write it again")

    @abstractmethod
    def schema(self) -> Schema:
        """The columns of the table."""

    @abstractmethod
    def batches(self, start: int = 1) -> Iterator[tuple[int, RecordBatch | Fault, int]]:
        """(number of its first row, the batch, its rows) from the one with row `start` on; faults for lost ones."""

    def walk(self, start: int = 1, wanted: Wanted = every) -> Iterator[tuple[int, int, Row | None]]:
        """For each row from number `start` on: number, about how many bytes, and the row where it is wanted."""
        for first, batch, count in self.batches(start):
            numbers = range(max(first, start), first + count)
            if isinstance(batch, Fault):
                for number in numbers:
                    yield number, 0, self._blank(number).spoiled(batch) if wanted(number) else None
                continue
            size = written_out(batch) // max(count, 1)
            values = self.values(batch) if any(map(wanted, numbers)) else []
            for number in numbers:
                yield number, size, self._row(number, values[number - first]) if wanted(number) else None

    def _blank(self, number: int) -> Row:
        return Row(number, None, None, None, self.name)

    def _row(self, number: int, value: dict[str, object] | Fault) -> Row:
        if isinstance(value, Fault):
            return self._blank(number).spoiled(value)
        return Row(number, None, value, None, self.name)

    def values(self, batch: RecordBatch) -> list[dict[str, object] | Fault]:
        """The rows of a batch; in place of one that cannot be had, why."""
        try:
            return [plain_row(value) for value in batch.to_pylist()]
        except _ERRORS:
            return [_value(batch, place) for place in range(batch.num_rows)]


def _value(batch: RecordBatch, place: int) -> dict[str, object] | Fault:
    try:
        return plain_row(batch.slice(place, 1).to_pylist()[0])
    except _ERRORS as error:
        return _unreadable(error)


class ParquetFile(TableFile):
    """A Parquet file; any row is reached through the row group that holds it."""

    def __init__(self, path: Path, container: Container) -> None:
        super().__init__(path, container)
        self._unpacked = 0
        try:
            unpacked = self._announced()
        except _ERRORS as error:
            raise _damaged(path, error) from error
        if unpacks_too_far(unpacked, self.size):
            raise refused(path, _BOMB.what, _BOMB.why, _BOMB.remedy)

    def _announced(self) -> int:
        """Bytes of its pages when they are unpacked, as the file says."""
        with self._open() as file:
            groups = [file.metadata.row_group(place) for place in range(file.num_row_groups)]
            chunks = (group.column(place) for group in groups for place in range(group.num_columns))
            return sum(chunk.total_uncompressed_size for chunk in chunks)

    def schema(self) -> Schema:
        """The columns of the table."""
        with self._open() as file:
            return file.schema_arrow

    def counting(self) -> Iterator[tuple[int, int]]:
        """The count, at once: it stands in the file."""
        try:
            with self._open() as file:
                yield file.metadata.num_rows, self.size
        except _ERRORS as error:
            raise _damaged(self.path, error) from error

    def batches(self, start: int = 1) -> Iterator[tuple[int, RecordBatch | Fault, int]]:
        """(number of its first row, the batch, its rows) from the one with row `start` on."""
        try:
            file = self._open()
        except _ERRORS as error:
            raise _damaged(self.path, error) from error
        with file:
            first = 1
            self._unpacked = 0
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                if first + rows > start:
                    yield from self._group(file, group, first, rows)
                first += rows
                if unpacks_too_far(self._unpacked, self.size):
                    return

    def _group(self, file: Any, group: int, first: int, rows: int) -> Iterator[tuple[int, RecordBatch | Fault, int]]:  # noqa: ANN401 - untyped
        end = first + rows
        each = file.metadata.row_group(group).total_byte_size // max(rows, 1)
        batch_rows = max(1, min(_BATCH_ROWS, _BATCH_BYTES // max(each, 1)))
        try:
            for batch in file.iter_batches(batch_rows, row_groups=[group], use_threads=False):
                self._unpacked += written_out(batch)
                if unpacks_too_far(self._unpacked, self.size):
                    yield first, _BOMB, end - first
                    return
                yield from _pieces(first, batch)
                first += batch.num_rows
        except _ERRORS as error:
            if first < end:
                yield first, _lost(error), end - first

    def _open(self) -> Any:  # noqa: ANN401 - untyped
        from pyarrow.parquet import ParquetFile as File

        # A buffer, so that a row group of gigabytes is not read at one go; texts as often as they are stored, not as
        # often as rows name them.
        return File(self.path, buffer_size=2**20, read_dictionary=self._texts)

    @cached_property
    def _texts(self) -> list[str]:
        """The columns of text, by their places in the schema."""
        from pyarrow.parquet import ParquetFile as File

        with File(self.path) as file:
            columns = file.metadata.schema
            return [
                columns.column(place).path
                for place in range(len(columns))
                if columns.column(place).physical_type == "BYTE_ARRAY"
                and columns.column(place).logical_type.type in {"STRING", "NONE"}
            ]


class ArrowFile(TableFile):
    """An Arrow stream (as `datasets` saves them) or an Arrow file."""

    def schema(self) -> Schema:
        """The columns of the table."""
        with self._reader()[0] as reader:
            return reader.schema

    def counting(self) -> Iterator[tuple[int, int]]:
        """Pairs (rows, bytes of the file) seen so far."""
        rows = 0
        for first, _, count in self.batches():
            rows = first + count - 1
            yield rows, 0
        yield rows, self.size

    def batches(self, start: int = 1) -> Iterator[tuple[int, RecordBatch | Fault, int]]:
        """(number of its first row, the batch, its rows) from the one with row `start` on."""
        first = 1
        try:
            reader, batches = self._reader()
            with reader:
                for batch in batches:
                    if first + batch.num_rows > start:
                        yield from _pieces(first, batch) if _is_sound(batch) else _one_by_one(first, batch)
                    first += batch.num_rows
        except _ERRORS as error:
            yield first, _lost(error), 1

    def _reader(self) -> tuple[Any, Iterator[RecordBatch]]:
        # Not mapped into memory: a file that is cut short while it is read would end the program.
        from pyarrow import OSFile, ipc

        file = OSFile(str(self.path))
        if file.read(6) == b"ARROW1":
            reader = ipc.open_file(file)
            return reader, (reader.get_batch(place) for place in range(reader.num_record_batches))
        file.seek(0)
        stream = ipc.open_stream(file)
        return stream, iter(stream)


def written_out(array: Any) -> int:  # noqa: ANN401 - pyarrow has no types
    """About how many bytes a batch or an array takes once each row has its own copy of a text."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(array, pa.RecordBatch):
        return sum(map(written_out, array.columns))
    if isinstance(array, pa.DictionaryArray):
        if not pa.types.is_string(array.type.value_type) and not pa.types.is_binary(array.type.value_type):
            return int(array.nbytes)
        lengths = pc.binary_length(array.dictionary).cast("int64")
        return int(pc.sum(lengths.take(array.indices)).as_py() or 0)
    if isinstance(array, pa.StructArray):
        return sum(map(written_out, array.flatten()))
    if isinstance(array, pa.MapArray):
        return written_out(array.keys) + written_out(array.items)
    if isinstance(array, pa.ListArray | pa.LargeListArray):
        return written_out(array.flatten())
    return int(array.nbytes)


def _pieces(first: int, batch: RecordBatch) -> Iterator[tuple[int, RecordBatch | Fault, int]]:
    """A batch in parts that are small enough to be turned into Python values."""
    step = max(1, min(_BATCH_ROWS, _BATCH_BYTES * batch.num_rows // max(written_out(batch), 1)))
    for begin in range(0, batch.num_rows, step):
        part = batch.slice(begin, step)
        if step == 1 and written_out(part) > ROW_BYTES:
            yield first + begin, TOO_LONG, 1
        else:
            yield first + begin, part, part.num_rows


def _is_sound(batch: RecordBatch) -> bool:
    """Whether what a batch says of itself is true: where it is not, pyarrow leaves its memory, and the program ends."""
    try:
        batch.validate(full=True)
    except _ERRORS:
        return False
    return not _has_too_many_rows(batch)


def _has_too_many_rows(batch: RecordBatch) -> bool:
    rows, size = int(batch.num_rows), int(batch.get_total_buffer_size())
    return rows > 8 * size


def _one_by_one(first: int, batch: RecordBatch) -> Iterator[tuple[int, RecordBatch | Fault, int]]:
    """The rows of a batch that is not sound; each that is not sound itself as a fault."""
    if _has_too_many_rows(batch):
        raise ValueError("a part of the table claims more rows than it has bits")
    for place in range(batch.num_rows):
        row = batch.slice(place, 1)
        try:
            row.validate(full=True)
        except _ERRORS as error:
            yield first + place, _unreadable(error), 1
        else:
            yield first + place, row, 1


def plain_row(value: dict[str, object]) -> dict[str, object]:
    """A row with only what JSON has types for."""
    return {name: plain_value(inner) for name, inner in value.items()}


def plain_value(value: object) -> object:
    """A value as JSON would hold it: times and decimals as text, NaN as null, bytes as text where they are some."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if isfinite(value) else (None if isnan(value) else str(value))
    if isinstance(value, dict):
        # The type of a column gives each of its objects every field that any of them has: what is null was not there.
        return {str(name): plain_value(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple):
        return [plain_value(inner) for inner in value]
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"bytes": len(value)}
    return str(value)


def _unreadable(error: Exception) -> Fault:
    return Fault(
        "a value of the row cannot be read",
        one_line(f"{type(error).__name__}: {error}", 160),
        "write the table again with that value mended, or leave the row out",
    )


def _lost(error: Exception) -> Fault:
    return Fault(
        "the file is damaged here",
        one_line(f"{type(error).__name__}: {error}", 200),
        "copy or download the file again; rows in the damaged part cannot be read",
    )


def _damaged(path: Path, error: Exception) -> Exception:
    why = one_line(f"{type(error).__name__}: {error}", 200)
    return refused(path, "the table cannot be read", why, "copy or download the file again: it is cut off or damaged")
