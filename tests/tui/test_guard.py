from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.app import App, ComposeResult
from textual.content import Content
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import (
    Button,
    Checkbox,
    DataTable,
    Input,
    Label,
    ListItem,
    ListView,
    Log,
    OptionList,
    RadioButton,
    RichLog,
    Select,
    Static,
    TextArea,
    Tree,
)

from finetune_tui import guard

ATTACKS = {
    "paste buffer": "\x1b]52;c;UFdORUQ=\x07",
    "window title": "\x1b]0;owned\x1b\\",
    "screen cleared": "\x1b[2J",
    "C1 control sequence": "\x9b2J",
    "device control string": "\x1bPq#0\x1b\\",
    "line rewritten": "safe\rowned",
    "backspaces": "ab\x08\x08cd",
    "text order": "abc\u202edef",
    "bell": "\x07",
}


@pytest.fixture(autouse=True)
def guarded() -> Iterator[None]:
    guard.install()
    yield
    guard.install()


def table(text: str) -> Widget:
    found: DataTable[Text] = DataTable()
    found.add_column(Text(text), key="a")
    found.add_row(Text(text))
    return found


def tree(text: str) -> Widget:
    found: Tree[None] = Tree(Text(text))
    found.root.add_leaf(Text(text))
    found.root.expand()
    return found


class Logged(RichLog):
    def __init__(self, text: str) -> None:
        super().__init__()
        self._first = text

    def on_mount(self) -> None:
        self.write(Text(self._first))


class RawLogged(Log):
    def __init__(self, text: str) -> None:
        super().__init__()
        self._first = text

    def on_mount(self) -> None:
        self.write_line(self._first)


def titled(text: str) -> Widget:
    found = Static("x")
    found.styles.border = ("round", "red")
    found.border_title = Content(text)
    found.border_subtitle = Content(text)
    return found


WIDGETS: dict[str, Callable[[str], Widget]] = {
    "static": lambda text: Static(text, markup=False),
    "text": lambda text: Static(Text(text, style="bold red")),
    "content": lambda text: Static(Content(text)),
    "label": lambda text: Label(text, markup=False),
    "button": lambda text: Button(Content(text)),
    "checkbox": lambda text: Checkbox(Content(text)),
    "radio": lambda text: RadioButton(Content(text)),
    "input": Input,
    "placeholder": lambda text: Input(placeholder=text),
    "area": TextArea,
    "log": RawLogged,
    "rich log": Logged,
    "options": lambda text: OptionList(Content(text)),
    "select": lambda text: Select([(Content(text), 1)], value=1),
    "list": lambda text: ListView(ListItem(Label(text, markup=False))),
    "table": table,
    "tree": tree,
    "border title": titled,
}


async def bytes_of(make: Callable[[str], Widget], text: str) -> str:
    """What goes to the terminal when the whole screen is drawn with this text in the widget."""

    class Shown(App[None]):
        def compose(self) -> ComposeResult:
            yield make(text)

    app = Shown()
    async with app.run_test(size=(60, 12)) as pilot:
        await pilot.pause()
        return app.screen._compositor.render_full_update().render_segments(app.console)


@pytest.mark.parametrize("make", WIDGETS.values(), ids=WIDGETS.keys())
async def test_no_widget_lets_text_act_on_the_terminal(make: Callable[[str], Widget]) -> None:
    sent = await bytes_of(make, " ".join(ATTACKS.values()))
    assert not [name for name, attack in ATTACKS.items() if attack in sent]
    assert not set("\x07\x08\x0b\x0c\x0e\x0f\x7f\x9b\x9d\u202e") & set(sent)
    assert "\x1b]" not in sent
    assert "\x1bP" not in sent


async def test_without_the_guard_the_same_text_does_act() -> None:
    guard.remove()
    sent = await bytes_of(WIDGETS["text"], ATTACKS["window title"])
    assert ATTACKS["window title"] in sent


async def test_what_a_person_may_write_passes_unchanged() -> None:
    text = "Größe 12 µm · 日本語 · العربية · 👩‍🚀 ⣿⡇ ─╮"
    assert text in await bytes_of(WIDGETS["static"], text)


def strip_with_link(link: str) -> str:
    console = Console(force_terminal=True, color_system="truecolor")
    return Strip([Segment("words", Style(link=link))]).render(console)


@pytest.mark.parametrize("link", ["javascript:alert(1)", "file:///etc/passwd", "https://a\x1b]52;c;AA==\x07"])
def test_a_link_in_data_is_dropped_unless_it_is_a_web_address(link: str) -> None:
    assert strip_with_link(link) == "words"


def test_a_web_link_stays_a_link() -> None:
    assert "https://example.org/a" in strip_with_link("https://example.org/a")


def test_tabs_and_newlines_cannot_move_the_cursor() -> None:
    assert guard.printable("a\tb\nc") == "a␉b␊c"
