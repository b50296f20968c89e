"""All rows of a set looked at, one after another and against each other; memory holds hashes, never the rows."""

from __future__ import annotations

import hashlib
import json
import re
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

from ft_core.data.findings.kinds import KINDS, Kind
from ft_core.data.findings.personal import hide
from ft_core.data.findings.texts import row_hits
from ft_core.data.rows import CanonicalRow, Conversation, Preference, UnpairedPreference, passages
from ft_core.data.split import question_key
from ft_core.errors import Problem
from ft_core.text import one_line

if TYPE_CHECKING:
    from rensa import RMinHash, RMinHashLSH

EXAMPLES: Final = 20
_SHOWN = 400
NEAR: Final = 0.8
NEAR_ROWS: Final = 200_000
FEW_ROWS: Final = 200
_PERMUTATIONS, _BANDS = 128, 16
_WORDS: Final = 3
# Shorter rows share most of their words by chance.
_LEAST_SHINGLES: Final = 32
_MINORITY, _ENOUGH_ROWS = 0.05, 50
_OUTLIER_TIMES, _OUTLIER_FROM = 8, 4000
_SPLIT: Final = re.compile(r"\w+|[^\w\s]")
_SCRIPTS: Final = (
    ("Cyrillic", re.compile("[\u0400-\u052f]")), ("Arabic", re.compile("[\u0600-\u06ff\u0750-\u077f]")),
    ("Hebrew", re.compile("[\u0590-\u05ff]")), ("Greek", re.compile("[\u0370-\u03ff]")),
    ("Indic", re.compile("[\u0900-\u0dff]")), ("Thai", re.compile("[\u0e00-\u0e7f]")),
    ("Hangul", re.compile("[\uac00-\ud7af\u1100-\u11ff]")), ("Kana", re.compile("[\u3040-\u30ff]")),
    ("Han", re.compile("[\u4e00-\u9fff\u3400-\u4dbf]")),
)  # fmt: skip


def kind_of(problem: Problem) -> str:
    """The kind of finding that a row's problem is."""
    return problem.kind if problem.kind in KINDS else "unreadable-row"


@dataclass(frozen=True)
class Example:
    """A row with a finding: its number, the field, and what is shown of it."""

    row: int
    field: str
    excerpt: str


@dataclass
class Finding:
    """One kind of finding: every row it is in, and the first of them as examples. Of the whole set: no rows."""

    kind: Kind
    rows: array[int] = field(default_factory=lambda: array("q"))
    examples: list[Example] = field(default_factory=list)
    words: str = ""
    counted: int = 0

    @property
    def count(self) -> int:
        """How many rows; 1 for what is said of the whole set."""
        return len(self.rows) or self.counted or 1

    @property
    def of_rows(self) -> bool:
        """Whether it is in certain rows, and not said of the whole set."""
        return bool(self.rows or self.counted)

    def add(self, row: int, place: str, excerpt: str) -> None:
        """One more row; a row counts once."""
        if self.rows and self.rows[-1] == row:
            return
        self.rows.append(row)
        if len(self.examples) < EXAMPLES:
            self.examples.append(Example(row, place, one_line(hide(excerpt[:_SHOWN]), 160)))

    @property
    def fix(self) -> str:
        """What can be done, in words."""
        if not self.kind.fixes:
            return f"only reported: {self.kind.why}"
        return f"data.fixes: {{{self.kind.name}: {' | '.join(self.kind.fixes)}}}"

    def to_json(self) -> dict[str, object]:
        """For programs: severity, kind, count, examples, fix, and why it matters."""
        return {
            "severity": self.kind.severity,
            "kind": self.kind.name,
            "count": self.count,
            "examples": [vars(example) for example in self.examples],
            "fix": self.fix,
            "words": self.words or self.kind.words,
            "why": self.kind.why,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """A finding without its list of rows, from its JSON form. KeyError or TypeError for anything else."""
        kind, examples = KINDS[value["kind"]], [Example(**example) for example in value["examples"]]
        words = "" if value["words"] == kind.words else value["words"]
        return cls(kind, examples=examples, words=words, counted=int(value["count"]) if examples else 0)


class Checker:
    """Takes rows one by one with `add`; `findings` then tells what was found, the gravest first."""

    def __init__(self) -> None:
        self._found: dict[str, Finding] = {}
        self._seen: dict[bytes, int] = {}
        self._answers: dict[bytes, tuple[int, bytes]] = {}
        self._near = NearRows()
        self._lengths = array("q")
        self._numbers = array("q")
        self._scripts = bytearray()
        self._longer = Counter[bool]()
        self._labels = Counter[bool]()
        self.groups: dict[int, int] = {}

    def add(self, row: CanonicalRow) -> None:
        """Look at one good row."""
        for hit in row_hits(row):
            self._finding(hit.kind).add(row.number, hit.field, hit.excerpt)
        texts = [part.text for part in passages(row)]
        self._compare(row, texts)
        answer = "".join(part.text for part in passages(row) if part.learnt)
        self._numbers.append(row.number)
        self._lengths.append(sum(map(len, texts)))
        self._scripts.append(_script(answer))
        if isinstance(row, Preference):
            sizes = [sum(len(turn.content) for turn in side) for side in (row.chosen, row.rejected)]
            if sizes[0] != sizes[1]:
                self._longer[sizes[0] > sizes[1]] += 1
        elif isinstance(row, UnpairedPreference):
            self._labels[row.label] += 1

    def add_problem(self, number: int, problem: Problem) -> None:
        """Note a row that could not be read or converted."""
        self._finding(kind_of(problem)).add(number, problem.field, f"{problem.what}: {problem.why}")

    def findings(self) -> list[Finding]:
        """Everything found so far."""
        found = {**self._found, **{one.kind.name: one for one in self._of_the_set()}}
        order = {"error": 0, "warning": 1, "note": 2}
        return sorted(found.values(), key=lambda one: (order[one.kind.severity], -one.count, one.kind.name))

    def leakage(self, held_out: Iterator[CanonicalRow]) -> list[Finding]:
        """Held-out rows that were added here too, or nearly; row numbers are those of the held-out rows."""
        exact, near = Finding(KINDS["leakage-exact"]), Finding(KINDS["leakage-near"])
        for row in held_out:
            texts = [part.text for part in passages(row)]
            same = self._seen.get(_digest(texts))
            close = same if same is not None else self._near.find(texts)
            if close is not None:
                (exact if same is not None else near).add(row.number, "", f"row {close} to learn from: {texts[0]}")
        return [found for found in (exact, near) if found.rows]

    def _finding(self, name: str) -> Finding:
        return self._found.setdefault(name, Finding(KINDS[name]))

    def _compare(self, row: CanonicalRow, texts: list[str]) -> None:
        """Against all rows before: the same, nearly the same, the same question with another answer."""
        first = self._seen.setdefault(_digest(texts), row.number)
        if first != row.number:
            self.groups[row.number] = self.groups.setdefault(first, first)
            self._finding("exact-duplicate").add(row.number, "", f"as row {first}: {texts[0]}")
            return
        close = self._near.find(texts, number=row.number)
        if close is not None:
            self.groups[row.number] = self.groups.setdefault(close, close)
            self._finding("near-duplicate").add(row.number, "", f"nearly row {close}: {texts[0]}")
        if isinstance(row, Conversation) and question_key(row):
            self._compare_answers(row)

    def _compare_answers(self, row: Conversation) -> None:
        answer = _digest([part.text.strip() for part in passages(row) if part.learnt])
        first, other = self._answers.setdefault(_digest([question_key(row)]), (row.number, answer))
        if other != answer:
            last = row.messages[-1].content
            self._finding("contradiction").add(row.number, "", f"row {first} answers otherwise; here: {last}")

    def _of_the_set(self) -> Iterator[Finding]:
        rows = len(self._numbers)
        if 0 < rows < FEW_ROWS:
            yield Finding(KINDS["few-rows"], words=f"{rows} rows: {KINDS['few-rows'].words}")
        yield from self._odd_rows()
        pairs = self._longer.total()
        if pairs >= _ENOUGH_ROWS and self._longer[True] >= 0.8 * pairs:
            share = 100 * self._longer[True] // pairs
            yield Finding(KINDS["length-bias"], words=f"of {share} % of the pairs the better answer is the longer one")
        good, bad = self._labels[True], self._labels[False]
        if good + bad and max(good, bad) > 4 * min(good, bad):
            yield Finding(KINDS["label-imbalance"], words=f"{good} good and {bad} bad answers")

    def _odd_rows(self) -> Iterator[Finding]:
        """Rows unlike most others: far longer, or in another script."""
        if len(self._numbers) < _ENOUGH_ROWS:
            return
        limit = max(_OUTLIER_TIMES * sorted(self._lengths)[int(0.95 * len(self._lengths))], _OUTLIER_FROM)
        long, mixed = Finding(KINDS["length-outlier"]), Finding(KINDS["language-mix"])
        scripts = Counter(script for script in self._scripts if script)
        rare = {script for script, count in scripts.items() if count <= _MINORITY * scripts.total()}
        for number, length, script in zip(self._numbers, self._lengths, self._scripts, strict=True):
            if length > limit:
                long.add(number, "", f"{length:,} characters")
            if script in rare:
                mixed.add(number, "", _script_name(script))
        yield from (found for found in (long, mixed) if found.rows)


class NearRows:
    """Rows found again by how many of their word triples they share (MinHash, locality-sensitive hashing)."""

    def __init__(self) -> None:
        self._index: RMinHashLSH | None = None
        self._hashes: dict[int, RMinHash] = {}
        self.groups: dict[int, int] = {}

    def add(self, row: CanonicalRow) -> None:
        """Put a row into the group of the row it nearly equals, if there is one."""
        close = self.find([part.text for part in passages(row)], number=row.number)
        if close is not None:
            self.groups[row.number] = self.groups.setdefault(close, close)

    def find(self, texts: list[str], *, number: int | None = None) -> int | None:
        """The first row that shares at least `NEAR` of its word triples with these texts; None when there is none.

        With a `number` the texts are remembered under it, as long as there is room.
        """
        mine = _min_hash(texts)
        if mine is None:
            return None
        if self._index is None:
            from rensa import RMinHashLSH

            self._index = RMinHashLSH(threshold=NEAR, num_perm=_PERMUTATIONS, num_bands=_BANDS)
        close = [other for other in self._index.query(mine) if self._hashes[other].jaccard(mine) >= NEAR]
        if number is not None and len(self._hashes) < NEAR_ROWS:
            self._hashes[number] = mine
            self._index.insert(number, mine)
        return min(close, default=None)


def _min_hash(texts: list[str]) -> RMinHash | None:
    words = _SPLIT.findall(" ".join(texts).casefold())
    shingles = {" ".join(words[place : place + _WORDS]) for place in range(len(words) - _WORDS + 1)}
    if len(shingles) < _LEAST_SHINGLES:
        return None
    from rensa import RMinHash

    made = RMinHash(num_perm=_PERMUTATIONS, seed=1)
    made.update(list(shingles))
    return made


def _digest(texts: list[str]) -> bytes:
    return hashlib.blake2b(json.dumps(texts).encode(), digest_size=12).digest()


def _script(text: str) -> int:
    """The script most letters of a text are in: 0 for too few letters, 1 for Latin, else 2 and up."""
    text = text[:400]
    if text.isascii():
        return 1 if sum(map(str.isalpha, text[:200])) >= 8 else 0
    counts = [len(pattern.findall(text)) for _, pattern in _SCRIPTS]
    letters = sum(map(str.isalpha, text))
    if letters < 8:
        return 0
    # Japanese mixes two scripts.
    most = max(range(len(counts)), key=counts.__getitem__)
    return most + 2 if counts[most] > 0.3 * letters else 1


def _script_name(script: int) -> str:
    return f"written in {_SCRIPTS[script - 2][0] if script > 1 else 'Latin'} letters"
