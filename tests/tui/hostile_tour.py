"""Every screen opened by its keys, and every command run, in a real terminal among hostile strings; what they sent is
read by `strict_terminal`."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import pyte

from finetune_core.paths import home
from finetune_core.runs.directory import RunDir
from tests.tui.hostile import HOSTILE
from tests.tui.hostile_places import file_name, in_unicode, make_folder, make_runs
from tests.tui.pseudo_terminal import Terminal
from tests.tui.strict_terminal import faults

_QUIET = 0.2
_BUSY = 3.0
_ESCAPE = 0.4
_PATIENCE = 40.0
_ENDED_BADLY = re.compile(rb"Traceback \(most recent call last\)|MarkupError|MissingStyle")


@dataclass(frozen=True)
class Tour:
    """A way through the app: how it is started, and keys, after each of which it is looked at.

    A step `see WORDS` waits for them, `click WORDS` presses the mouse on them. `stays`: words that are on the screen in
    the end, when nothing in the data acted on the app.
    """

    name: str
    arguments: tuple[str, ...]
    steps: tuple[str, ...]
    stays: str
    size: tuple[int, int] = (120, 40)


DOWN, ESC, END, PALETTE = "\x1b[B", "\x1b", "\x1b[F", "\x10"
FAILED, DONE = "20260601-000000", "20260601-000001"
_EACH_ROW = ("]",) * (len(HOSTILE) - 1)
_FIRST = next(iter(HOSTILE))
_HOME, _RUN = "see Quit", "see Loss"
# `c` makes the wizard's recipe from the newest run, which is of the hostile folder.
_DATA_STEP = (_HOME, "c", "see Hardware", "3", "see rows from", f"see {_FIRST}")
TOURS = (
    Tour(
        "home",
        (),
        (_HOME, *[DOWN] * 9, "?", "see What the keys", ESC, "i", "see This machine", ESC, "d", "see Delete this run?",
         ESC, PALETTE, "see Search", ESC, END),
        "Quit",
    ),
    Tour("failed run", ("attach", FAILED), (_RUN, *"1234[[]]l", "l", "?", "see What the keys", ESC), "Leave"),
    Tour("finished run", ("attach", DONE), (_RUN, *"1234v[]lv", "?", "see What the keys", ESC), "Leave"),
    Tour("finished run, small", ("attach", DONE), (_RUN, *"1234vl"), "20260601", (60, 18)),
    Tour(
        "review",
        ("data", "review", "new.pending.jsonl"),
        ("see Accept", f"see {_FIRST}", *"n" * (len(HOSTILE) - 1), "e", "see Change the row", ESC),
        "Leave",
    ),
    Tour("wizard: rows", (), (*_DATA_STEP, f"click {_FIRST}", *_EACH_ROW, "v", "v"), "Data"),
    Tour(
        "wizard: dialogs",
        (),
        (*_DATA_STEP, f"click {_FIRST}", "c", "see What the rows are", ESC, "m", "see Hold out", ESC, "o", "see Cancel",
         *[DOWN] * 6, ESC),
        "Data",
    ),
    Tour(
        "wizard: code",
        (),
        (_HOME, "c", "see Hardware", "2", "see Params", "k", "see Code that comes", "see Trust", *[DOWN] * 3, END, ESC),
        "Model",
    ),
    Tour(
        "wizard: steps",
        (),
        (_HOME, "c", "see Hardware", "1", "2", "see Model", "4", "see rank", "5", "see Review"),
        "Review",
    ),
)  # fmt: skip


@contextmanager
def place(folder: Path) -> Iterator[list[RunDir]]:
    """A home and a folder to stand in, all hostile."""
    work = folder / "work"
    work.mkdir(parents=True)
    variables = {"FT_TUI_HOME": str(folder / "home"), "HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1",
                 "FT_TUI_WARM": "0", "LANG": "C.UTF-8"}  # fmt: skip
    with patch.dict(os.environ, variables), contextlib.chdir(work):
        make_folder(work)
        yield make_runs()


def settle(terminal: Terminal) -> None:
    """Read on until the program has said nothing for a moment."""
    end = time.monotonic() + _BUSY
    while terminal.read(_QUIET) and time.monotonic() < end and terminal.process.poll() is None:
        pass


def go(tour: Tour) -> list[str]:
    """Take a tour, with clicks on what is shown of a string that would leave the app; everything wrong."""
    found: list[str] = []
    # Each begins at the list of runs, not where the one before was left.
    (home() / "place.json").unlink(missing_ok=True)
    with Terminal(tour.arguments, columns=tour.size[0], lines=tour.size[1]) as terminal:
        for step in tour.steps:
            _take(terminal, step, tour.size)
            if _has_left(terminal):
                found.append(f"left at {step!r}, with {terminal.process.returncode}: {terminal.output[-300:]!r}")
                break
        shown = "\n".join(screen_of(terminal, tour.size))
        if not found and tour.stays not in shown:
            found.append(f"{tour.stays!r} is not on the screen in the end:\n{shown}")
        if not found:
            _click_actions(terminal, tour.size)
            if _has_left(terminal):
                found.append("left by a click on a string that names an action")
        sent = terminal.output
    if _ENDED_BADLY.search(sent):
        found.append(f"a traceback: {sent[-2000:]!r}")
    return found + faults(sent, app=True)


def _has_left(terminal: Terminal) -> bool:
    """Whether the app has ended, or is about to: it gives the screen back then."""
    if b"\x1b[?1049l" in terminal.output:
        terminal.end()
    return terminal.process.poll() is not None


def _take(terminal: Terminal, step: str, size: tuple[int, int]) -> None:
    kind, _, words = step.partition(" ")
    if kind == "see" and words:
        _place_of(terminal, words, size)
        return
    if kind == "click" and words:
        _click(terminal, *_place_of(terminal, words, size))
    else:
        terminal.send(step)
    if step == ESC:
        # Keys right behind it would be taken as one with it.
        terminal.read(_ESCAPE)
    settle(terminal)


def _place_of(terminal: Terminal, words: str, size: tuple[int, int]) -> tuple[int, int]:
    """Column and line, from 1, where these words are, once they are there."""
    end = time.monotonic() + _PATIENCE
    while True:
        settle(terminal)
        lines = screen_of(terminal, size)
        for number, line in enumerate(lines, 1):
            if words in line:
                return line.index(words) + 1, number
        assert time.monotonic() < end, f"{words!r} never came:\n" + "\n".join(lines)
        assert terminal.process.poll() is None, f"it left: {terminal.output[-500:]!r}"


def _click(terminal: Terminal, column: int, line: int) -> None:
    terminal.send(f"\x1b[<0;{column};{line}M\x1b[<0;{column};{line}m")


def screen_of(terminal: Terminal, size: tuple[int, int]) -> list[str]:
    """What a person sees, a line a row of the screen and a letter a cell."""
    screen = pyte.Screen(*size)
    # The emulator knows no private sequences with `>` and takes them for words.
    pyte.ByteStream(screen).feed(re.sub(rb"\x1b\[>\d+u|\x1b\[\?\d+\$p", b"", terminal.output))
    rows = [screen.buffer[number] for number in range(size[1])]
    return ["".join(row[column].data[:1] or " " for column in range(size[0])) for row in rows]


def _click_actions(terminal: Terminal, size: tuple[int, int]) -> None:
    """Press the mouse where a string that names an action is shown."""
    for number, line in enumerate(screen_of(terminal, size), 1):
        column = line.find("[@click")
        if column >= 0:
            for at in (column + 2, column + 18):
                _click(terminal, at, number)
            settle(terminal)
            return


# Commands

FILES = ("rows.jsonl", "turns.jsonl", "columns.jsonl", "broken.jsonl", "table.csv", "notes.txt")
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("runs",), ("runs", "--json"), ("doctor",), ("models",),
    *((*words, run) for run in (FAILED, DONE) for words in (
        ("status",), ("status", "--json"), ("logs",), ("logs", "--json"), ("attach", "--plain"), ("attach", "--json"),
        ("recipe", "show"), ("recipe", "show", "--resolve"), ("stop",), ("resume", "--plain"), ("sample", "hi"),
    )),
    *((*words, file) for file in FILES for words in (
        ("data", "check"), ("data", "check", "--json"), ("data", "show", "--count", "40"),
        ("data", "show", "--count", "40", "--as", "model"), ("data", "show", "--count", "40", "--json"),
    )),
    ("data", "clean", "rows.jsonl", "clean.jsonl"), ("data", "split", "turns.jsonl", "a.jsonl", "b.jsonl"),
    ("data", "review", "new.pending.jsonl", "--json"), ("data", "check", "rows.jsonl", "--model", "model"),
    ("data", "check", "."), ("trust",), ("trust", "model"), ("trust", "model", "--json"),
)  # fmt: skip


def commands_with(text: str) -> tuple[tuple[str, ...], ...]:
    """Commands that are given the string itself, or a file or recipe that has it."""
    name, words = file_name(text), in_unicode(text).replace("\0", "")
    file, recipe = f"./{name}.jsonl", f"./recipe {name}.yaml"
    return (
        (words,), (f"--{words}",), ("status", words), ("attach", "--plain", words), ("logs", "--", words),
        ("recipe", "show", recipe), ("recipe", "check", recipe), ("recipe", "check", recipe, "--json"),
        ("plan", recipe), ("train", recipe, "--plain"), ("train", f"./{words}"), ("sample", FAILED, words),
        ("recipe", "new", "new.yaml", "--force", "--set", f"data.source={words}", "--set", f"{words}=1"),
        ("data", "check", file), ("data", "show", file, "--row", "7"), ("data", "show", words),
        ("data", "check", "rows.jsonl", "--map", f"{words}={words}", "--fix", f"{words}=x"),
        ("data", "mix", "rows.jsonl", "mixed.jsonl", "--force", "--with", f"{file}=0.1"), ("models", "--gpu", words),
        ("trust", words), ("trust", "owner/name", "--revision", words), ("trust", words, "--withdraw"),
    )  # fmt: skip


def run(arguments: Sequence[str], wrapper: Sequence[str] = ()) -> list[str]:
    """Run a command to its end; everything wrong with what it sent."""
    with Terminal(arguments, columns=100, lines=30, wrapper=wrapper) as terminal:
        code = terminal.end(seconds=300)
        sent = terminal.output
    found = [f"a traceback: {sent[-2000:]!r}"] if _ENDED_BADLY.search(sent) else []
    if code not in (0, 1, 2, 3):
        found.append(f"it ended with {code}")
    return found + faults(sent, app=False)
