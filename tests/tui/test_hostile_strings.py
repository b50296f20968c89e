"""A bounded part of `tests/bench/hostile_strings.py`, and that what reads the terminal sees what it has to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from finetune_core.text import clean
from finetune_tui.guard import printable
from tests.tui import hostile_tour
from tests.tui.hostile import HOSTILE
from tests.tui.hostile_tour import FAILED, TOURS, Tour, go, place, run
from tests.tui.strict_terminal import faults

HARMLESS = {name for name, text in HOSTILE.items() if not faults(text.encode(errors="surrogatepass"), app=False)}
SOME = (
    ("runs",),
    ("status", FAILED),
    ("logs", FAILED),
    ("attach", "--plain", FAILED),
    ("recipe", "check", f"./recipe {hostile_tour.file_name(HOSTILE['paste buffer'])}.yaml"),
    ("data", "show", "turns.jsonl", "--count", "40"),
    ("data", "check", "columns.jsonl"),
)


@pytest.fixture(scope="module", autouse=True)
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with place(tmp_path_factory.mktemp("hostile")):
        yield


@pytest.fixture
def home(hostile: None) -> None:
    """All stand in the one hostile place."""


@pytest.mark.parametrize(
    "tour", [tour for tour in TOURS if tour.name in ("home", "failed run")], ids=lambda one: one.name
)
def test_no_screen_lets_data_act_on_the_terminal_or_the_app(tour: Tour) -> None:
    assert go(tour) == []


@pytest.mark.parametrize("command", SOME, ids=lambda words: " ".join(words[:2]))
def test_no_command_lets_data_act_on_the_terminal(command: tuple[str, ...]) -> None:
    assert run(command) == []


def test_the_strings_would_act_were_they_not_cleaned() -> None:
    acting = HOSTILE.keys() - HARMLESS
    assert {"paste buffer", "title", "C1", "order", "surrogates", "other lines", "bell", "zeros"} <= acting
    # These act on the app, or are only long or wide.
    assert {"action", "closing markup", "open markup", "long", "marks"} <= HARMLESS
    for name in acting:
        assert faults(HOSTILE[name].encode(errors="surrogatepass"), app=True), name
        assert faults(clean(HOSTILE[name]).encode(), app=False) == [], name
        assert faults(printable(HOSTILE[name]).encode(), app=True) == [], name


def test_what_the_app_sends_by_itself_is_known() -> None:
    own = "\x1b[?1049h\x1b[?25l\x1b[1;38;2;1;2;3mx\x1b[0m\x1b[3;7H\x1b[?2026$p\x1b[>25u\x1b]22;default\x07\r\n日本 👩‍🚀"
    assert faults(own.encode(), app=True) == []
    assert faults(own.encode(), app=False)


def test_one_sequence_among_the_words_of_a_command_is_found() -> None:
    wrapper = ("sh", "-c", 'printf "a\\033]52;c;AA==\\007b"; exec "$@"', "sh")
    assert "52;c;AA" in run(("runs",), wrapper)[0]


def test_an_app_that_is_left_by_the_way_is_found() -> None:
    assert "left at 'q'" in go(Tour("left", (), ("see Quit", "q"), "Quit"))[0]
