"""What the data step's threads find out, as the messages they post."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from textual.message import Message

from finetune_core.data.checks.check import DataReport
from finetune_core.data.files.open import Row
from finetune_core.data.shapes.recognise import Choice
from finetune_core.data.tokens.client import Lengths, Preview, TrainOn
from finetune_core.errors import Problem
from finetune_core.plan.situation import DataFacts, TokenCount
from finetune_tui.wizard.row_facts import Opened
from finetune_tui.wizard.session import CountKey


@dataclass(frozen=True)
class Asked:
    """What a question to the tokenizer depends on, besides the rows."""

    model: Path
    train_on: TrainOn
    limit: int | None
    choice: Choice
    chat_template: str


@dataclass
class RowsRead(Message):
    """A file was opened, or could not be."""

    source: str
    opened: Opened | None
    problems: tuple[Problem, ...]


@dataclass
class Fetching(Message):
    """A data set of the hub is on its way."""

    source: str
    progress: str

    def can_replace(self, message: Message) -> bool:
        """Only the newest progress matters."""
        return isinstance(message, Fetching)


@dataclass
class PageRead(Message):
    """Rows around a wanted row were read."""

    source: str
    number: int
    rows: tuple[Row, ...]


@dataclass
class Found(Message):
    """The row a search came to; None with `news` while it goes on, or when there is none."""

    source: str
    text: str
    number: int | None
    news: str

    def can_replace(self, message: Message) -> bool:
        """Only the newest progress matters."""
        return isinstance(message, Found) and message.number is None


@dataclass
class Counted(Message):
    """The rows were counted."""

    source: str
    facts: DataFacts | None


@dataclass
class RowsChecked(Message):
    """The rows were converted."""

    source: str
    report: DataReport | None
    progress: str = ""

    def can_replace(self, message: Message) -> bool:
        """Only the newest progress matters."""
        return isinstance(message, RowsChecked) and message.report is None


@dataclass
class Previewed(Message):
    """A row went through the chat template and the tokenizer, or could not."""

    key: object
    preview: Preview | None
    problems: tuple[Problem, ...]


@dataclass
class TokensCounted(Message):
    """The rows of the recipe are counted in tokens, or cannot be (None, with the `problems` that refuse them).

    `progress` while they are counted.
    """

    key: CountKey
    counted: TokenCount | None
    progress: str = ""
    problems: tuple[Problem, ...] = ()

    def can_replace(self, message: Message) -> bool:
        """Only the newest progress matters."""
        return isinstance(message, TokensCounted) and bool(message.progress)


@dataclass
class Measured(Message):
    """The lengths of all rows are known, or cannot be; `done` of `total` while they are counted."""

    key: object
    lengths: Lengths | None
    problems: tuple[Problem, ...]
    progress: str = ""

    def can_replace(self, message: Message) -> bool:
        """Only the newest progress matters."""
        return isinstance(message, Measured) and message.lengths is None and not message.problems
