"""What is kept of each row to compare it with all others: hashes, lengths and a sketch, never the row.

About 100 bytes a row, and 128 more where it is long enough to have a sketch. Facts of the parts of a file can be made
in processes of their own and put together.
"""

from __future__ import annotations

import hashlib
import json
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeAlias

from finetune_core.data.checks.findings.near import Sketches, word_hashes
from finetune_core.data.rows import (
    CanonicalRow,
    Conversation,
    Message,
    Passage,
    Preference,
    PromptOnly,
    Text,
    UnpairedPreference,
    passages,
)

Said: TypeAlias = "tuple[Passage, array[int]]"
CALL: Final = "call"
BEGINNING: Final = 48
_LONG: Final = 2**32 - 1
_OPEN_END: Final = re.compile(r"[^\W_]\s*\Z")
_SCRIPTS: Final = (
    ("Cyrillic", re.compile("[\u0400-\u052f]")), ("Arabic", re.compile("[\u0600-\u06ff\u0750-\u077f]")),
    ("Hebrew", re.compile("[\u0590-\u05ff]")), ("Greek", re.compile("[\u0370-\u03ff]")),
    ("Indic", re.compile("[\u0900-\u0dff]")), ("Thai", re.compile("[\u0e00-\u0e7f]")),
    ("Hangul", re.compile("[\uac00-\ud7af\u1100-\u11ff]")), ("Kana", re.compile("[\u3040-\u30ff]")),
    ("Han", re.compile("[\u4e00-\u9fff\u3400-\u4dbf]")),
)  # fmt: skip
_KANA: Final = [name for name, _ in _SCRIPTS].index("Kana")


class Facts:
    """Facts of rows in the order they were added: each column has one entry a row, a hash of 0 standing for none.

    `whole` is the hash of all that a row says, `plain` the same whatever case and blanks; `questions` and `answers`
    those of its two halves, such that two rows with one question and two answers cannot both be trained. Lengths are
    in characters. `scripts` holds 0 for too few letters, 1 for Latin, else a place in the table of scripts and 2.
    """

    def __init__(self, seed: int = 0) -> None:
        self.numbers = array("q")
        self.whole, self.plain = array("Q"), array("Q")
        self.questions, self.answers = array("Q"), array("Q")
        self.lengths, self.answer_lengths = array("I"), array("I")
        self.scripts, self.open_ends = bytearray(), bytearray()
        self.beginnings = bytearray()
        self.sketches = Sketches(seed)

    @property
    def seed(self) -> int:
        """The seed of the sketches."""
        return self.sketches.seed

    def __len__(self) -> int:
        return len(self.numbers)

    def add(self, row: CanonicalRow, parts: Sequence[Passage] | None = None, *, shown: bool = True) -> None:
        """Keep the facts of one row; `parts` are its `row_parts`. With `shown` its first words are kept too."""
        parts = list(row_parts(row)) if parts is None else parts
        words = [word_hashes(part.text) for part in parts]
        answered = "".join(part.text for part in parts if part.trained)
        self.sketches.add(len(self.numbers), sum(words, array("Q")))
        self.numbers.append(row.number)
        more = _beside_text(row)
        self.whole.append(_digest(repr([part[:3] for part in parts]).encode(errors="surrogatepass") + more))
        self.plain.append(_hash(zip(parts, words, strict=True), more))
        question, answer = _halves(row, list(zip(parts, words, strict=True)), more)
        self.questions.append(question)
        self.answers.append(answer)
        self.lengths.append(min(sum(len(part.text) for part in parts), _LONG))
        self.answer_lengths.append(min(len(answered), _LONG))
        self.scripts.append(_script(answered))
        self.open_ends.append(_OPEN_END.search(answered[-8:]) is not None)
        first = next((part.text for part in parts if not part.trained), answered) if shown else ""
        self.beginnings += _fixed_width(first)

    def extend(self, other: Facts, offset: int = 0) -> None:
        """Take the facts of rows that come behind these, their numbers raised by `offset`. `other` is used up."""
        self.sketches.extend(other.sketches, len(self))
        self.numbers.extend(number + offset for number in other.numbers)
        for name in ("whole", "plain", "questions", "answers", "lengths", "answer_lengths"):
            getattr(self, name).extend(getattr(other, name))
        self.scripts += other.scripts
        self.open_ends += other.open_ends
        self.beginnings += other.beginnings

    def beginning(self, place: int) -> str:
        """The first words of the row at a place, to know it by; empty where they are not shown."""
        kept = self.beginnings[place * BEGINNING : (place + 1) * BEGINNING]
        return kept.rstrip(b"\0").decode(errors="ignore")


def row_parts(row: CanonicalRow) -> Iterator[Passage]:
    """The passages of a row, and behind them its tool calls as JSON, each as a passage of the role `call`."""
    yield from passages(row)
    if isinstance(row, Conversation):
        for place, turn in enumerate(row.messages):
            if turn.tool_calls:
                said = json.dumps([vars(call) for call in turn.tool_calls], ensure_ascii=False, default=str)
                yield Passage(f"messages[{place}].tool_calls", CALL, said, turn.trained)


def script_name(script: int) -> str:
    """A script as people call it."""
    return _SCRIPTS[script - 2][0] if script > 1 else "Latin"


def _halves(row: CanonicalRow, said: Sequence[Said], more: bytes) -> tuple[int, int]:
    """Hashes of what a row asks and of what is to be trained as its answer; (0, 0) where nothing can contradict."""
    match row:
        case Conversation():
            asked = [pair for pair in said if not pair[0].trained]
            answer = [pair for pair in said if pair[0].trained]
            # Without a word that is asked there is no question.
            return (_hash(asked, more), _hash(answer)) if answer and any(words for _, words in asked) else (0, 0)
        case Preference():
            sides = [_turns_hash(row.chosen), _turns_hash(row.rejected)]
            asked_of = _turns_hash(row.prompt).to_bytes(8, "big")
            if sides[0] == sides[1]:
                return 0, 0
            return _digest(asked_of + b"".join(side.to_bytes(8, "big") for side in sorted(sides))), sides[0]
        case UnpairedPreference():
            return _turns_hash((*row.prompt, *row.completion)), 1 + row.label
        case PromptOnly() | Text():
            return 0, 0


def _turns_hash(turns: Sequence[Message]) -> int:
    return _digest(b"".join(turn.role.encode() + b"\0" + word_hashes(turn.content).tobytes() for turn in turns))


def _hash(said: Iterable[Said], more: bytes = b"") -> int:
    return _digest(b"".join(part.role.encode() + b"\0" + words.tobytes() for part, words in said) + more)


def _beside_text(row: CanonicalRow) -> bytes:
    """What distinguishes rows of the same texts: a label, or the tools that may be called."""
    if isinstance(row, UnpairedPreference):
        return b"good" if row.label else b"bad"
    return json.dumps(row.tools, sort_keys=True, default=str).encode() if isinstance(row, Conversation) else b""


def _digest(data: bytes) -> int:
    # 0 stands for no hash.
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big") or 1


def _fixed_width(text: str) -> bytes:
    flat = " ".join(text[: 2 * BEGINNING].split()).replace("\0", "")
    return flat.encode(errors="replace")[:BEGINNING].ljust(BEGINNING, b"\0")


def _script(text: str) -> int:
    """The script most letters of a text are in."""
    text = text[:400]
    if text.isascii():
        return 1 if sum(map(str.isalpha, text[:200])) >= 8 else 0
    letters = sum(map(str.isalpha, text))
    if letters < 8:
        return 0
    counts = [len(pattern.findall(text)) for _, pattern in _SCRIPTS]
    if counts[_KANA] > 0.1 * letters:
        # Japanese mixes two scripts: it is recognised by its own one.
        return _KANA + 2
    most = max(range(len(counts)), key=counts.__getitem__)
    return most + 2 if counts[most] > 0.3 * letters else 1
