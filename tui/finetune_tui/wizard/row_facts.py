"""The data file as the wizard reads it: first rows at once, then counts and bad rows. Blocking; run in threads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from finetune_core.data.files.base import unreadable
from finetune_core.data.files.hub import fetch_all
from finetune_core.data.files.open import SUFFIXES, Row, RowFile, open_rows
from finetune_core.data.scan.row_index import FarRows
from finetune_core.data.shapes.recognise import Choice, Shape
from finetune_core.data.usable import recognised
from finetune_core.errors import FtError, Problem

__all__ = ["SUFFIXES", "Opened", "open_source"]


@dataclass(frozen=True)
class Opened:
    """A file that could be opened: its rows are read from it as one walks through them.

    `problems` say why its rows cannot be trained on; `choice` is what the recipe says of them by hand; `far` goes to
    rows wherever they are. `size` is the file's in bytes when it was opened: it may be gone since.
    """

    source: str
    choice: Choice
    file: RowFile
    first: tuple[Row, ...]
    shape: Shape | None
    problems: tuple[Problem, ...]
    far: FarRows
    size: int


def open_source(
    source: str,
    choice: Choice,
    page: int,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    cancel: Callable[[], bool] = lambda: False,
) -> Opened:
    """Open a source and read its first rows. Raises FtError when it cannot be opened.

    A data set of the hub is fetched first; `progress` is called with bytes here and bytes in all.

    A shape that is not recognised or not trained on is no error here: the rows can be shown all the same.
    """
    fetch_all([source], progress, cancel)
    file = open_rows(source)
    far = FarRows(source, file)
    try:
        shown, size = tuple(file.first(page)), file.size
        conversion = recognised(file, choice).conversion
    except OSError as error:
        raise unreadable(file.path, error) from error
    except FtError as error:
        return Opened(source, choice, file, shown, None, error.problems, far, size)
    refused = conversion.refusal
    if refused is not None and conversion.shape.question is not None:
        # The question stands below with its answers, which say the same as settings of a command line.
        refused = replace(refused, remedy="answer the question below")
    return Opened(source, choice, file, shown, conversion.shape, () if refused is None else (refused,), far, size)
