from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual.app import App, ComposeResult
from textual.pilot import Pilot

from finetune_core.data.files.open import Row
from finetune_core.data.tokens.client import Preview, TokenSpan
from finetune_core.hardware.look import Gpu, GpuProcess
from finetune_core.plan.memory.estimate import MemoryEstimate
from finetune_tui.dialogs.file_browser import FileBrowser, read_folder
from finetune_tui.widgets.cells import Line, line_width
from finetune_tui.widgets.choice_row import ChoiceRow
from finetune_tui.widgets.gpu_table import gpu_lines
from finetune_tui.widgets.histogram import histogram_lines
from finetune_tui.widgets.memory_bar import bar_lines
from finetune_tui.widgets.path_input import PathInput, complete
from finetune_tui.widgets.row_view import TEXT_SHOWN, preview_content, row_line, row_text, tokens_content
from finetune_tui.widgets.share_bars import Share, share_lines
from finetune_tui.widgets.steps_list import StepsList, StepState
from finetune_tui.widgets.words import Words
from tests.tui.sizes import plain
from tests.tui.wizard_driver import types, until

GIB = 2**30
HOSTILE = "[red]\x1b[2Jx[/] \u202e [INST] [/INST]"


def text(lines: list[Line]) -> str:
    return "\n".join("".join(part for part, _ in line) for line in lines)


def need(weights: float) -> MemoryEstimate:
    parts = {"weights": int(weights * GIB), "adapter": GIB, "activations": 2 * GIB, "reserve": GIB}
    return MemoryEstimate(parts, sum(parts.values()))


@pytest.mark.parametrize("width", [30, 58, 78, 92])
def test_the_memory_bar_never_leaves_its_width_and_names_every_part(width: int) -> None:
    lines = bar_lines(need(15), "GPU 0", 24 * GIB, 23 * GIB, width)
    assert max(line_width(line) for line in lines) <= width + 1
    for name in ("weights", "adapter", "activations", "reserve"):
        assert name in text(lines)


def test_the_memory_bar_says_in_words_whether_it_fits() -> None:
    assert "fits" in text(bar_lines(need(15), "GPU 0", 24 * GIB, 23 * GIB, 120))
    assert "others use it" in text(bar_lines(need(15), "GPU 0", 24 * GIB, 10 * GIB, 120))
    too_much = text(bar_lines(need(30), "GPU 0", 24 * GIB, 23 * GIB, 120))
    assert "does not fit: 10.0 GiB too much" in too_much
    assert "|" in too_much.splitlines()[0]


def test_the_parts_of_the_memory_bar_are_told_apart_without_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    bar = text(bar_lines(need(15), "GPU 0", 24 * GIB, 23 * GIB, 78)).splitlines()[0]
    assert set(bar) == set("█▓▞░·")
    monkeypatch.setenv("FT_TUI_ASCII", "1")
    assert text(bar_lines(need(15), "GPU 0", 24 * GIB, 23 * GIB, 78)).isascii()


def test_the_histogram_shows_its_scale_and_where_rows_are_cut() -> None:
    lines = histogram_lines([10] * 50 + [20] * 100 + [300], 128, 60)
    shown = text(lines)
    assert max(line_width(line) for line in lines[:-1]) <= 60
    assert "100" in shown
    assert "300 tokens" in shown
    assert "max length 128" in shown


def test_the_histogram_of_one_row_and_of_equal_rows_can_be_drawn() -> None:
    assert "7 tokens" in text(histogram_lines([7], None, 40))
    assert "7 tokens" in text(histogram_lines([7] * 1000, 7, 40))


def gpu(*processes: GpuProcess, **changes: Any) -> Gpu:
    values: dict[str, Any] = {
        "index": 0, "uuid": "GPU-1", "name": "NVIDIA H100", "memory_total": 80 * GIB, "memory_used": 20 * GIB,
        "memory_free": 60 * GIB, "compute_capability": (9, 0), "bf16": True, "utilisation": 3, "temperature": 41,
        "power_watts": 96.4, "power_limit_watts": 700.0,
    }  # fmt: skip
    return Gpu(processes=processes, **(values | changes))


def test_a_gpu_is_shown_with_all_one_has_to_know_of_it() -> None:
    shown = text(gpu_lines(gpu(GpuProcess(7, "anna", "python", GIB)), chosen=True, focused=False, width=78))
    for wanted in ("[x] GPU 0", "NVIDIA H100", "9.0", "bf16 yes", "20.0 GiB of 80.0 GiB", "3 % busy", "41 °C", "700 W"):
        assert wanted in shown
    assert "pid 7  anna  python  1.0 GiB" in shown


def test_what_a_driver_does_not_tell_is_unknown_and_never_zero() -> None:
    silent = gpu(
        GpuProcess(1, None, HOSTILE, None),
        utilisation=None, temperature=None, power_watts=None, compute_capability=None, bf16=False,
    )  # fmt: skip
    shown = text(gpu_lines(silent, chosen=False, focused=False, width=78))
    assert "capability unknown" in shown
    assert "use unknown" in shown
    assert "memory unknown" in shown
    assert "\x1b" not in shown


def test_a_path_is_completed_with_folders_and_files_of_the_right_kind(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("{}")
    (tmp_path / "rows.txt").write_text("")
    (tmp_path / "runs").mkdir()
    (tmp_path / ".hidden.json").write_text("{}")
    (tmp_path / "rx\x1b.json").write_text("{}")
    assert complete(f"{tmp_path}/ro", (".jsonl",)) == f"{tmp_path}/rows.jsonl"
    assert complete(f"{tmp_path}/ru", (".jsonl",)) == f"{tmp_path}/runs/"
    assert complete(f"{tmp_path}/rx", (".json",)) is None
    assert complete(f"{tmp_path}/rows.jsonl", (".jsonl",)) is None
    assert complete(f"{tmp_path}/missing/x", (".jsonl",)) is None
    assert complete("", (".jsonl",)) is None


def test_a_folder_is_listed_folders_first_without_other_files(tmp_path: Path) -> None:
    (tmp_path / "b.json").write_text("12345")
    (tmp_path / "a.csv").write_text("")
    (tmp_path / "z").mkdir()
    entries, note = read_folder(tmp_path, (".json",))
    assert [(entry.name, entry.size) for entry in entries] == [("z", None), ("b.json", 5)]
    assert note == ""
    assert "cannot be read" in read_folder(tmp_path / "none", ())[1]


def test_a_hostile_row_is_shown_as_text() -> None:
    row = Row(3, 3, {"text": HOSTILE, "messages": [{"role": "user", "content": HOSTILE * 900}]}, None)
    for shown in (row_text(row), row_line(row)):
        assert "\x1b" not in shown
        assert "\u202e" not in shown
    assert len(row_text(row)) < TEXT_SHOWN + 100
    assert row_line(row).startswith("3 [red]")


def test_tokens_are_listed_with_their_numbers_and_the_trained_ones_between_marks() -> None:
    pieces = (TokenSpan("Hi\n", trained=False, ids=(7,)), TokenSpan("\x1byo", trained=True, ids=(8, 9)))
    preview = Preview(1, "Hi\n\x1byo", pieces, 3, 2, 0, pieces=pieces)
    first, second = tokens_content(preview).plain.splitlines()
    assert first == '       7   "Hi\\n"'
    assert second.startswith('     8 9  ▌"')
    assert "\x1b" not in second


def test_a_row_of_short_texts_is_still_told_from_others_on_its_line() -> None:
    row = Row(3, 3, {"q": "a", "a": "b"}, None, "rows.jsonl")
    assert row_line(row) == '3 {"q": "a", "a": "b"}'


def test_trained_text_stands_between_marks_and_is_underlined() -> None:
    spans = (
        TokenSpan("user: hi ", False, (1, 2)),
        TokenSpan("hello[/]", True, (3,)),
        TokenSpan("cut", True, (4,), kept=False),
    )
    content = preview_content(Preview(1, "", spans, 4, 1, 1))
    assert content.plain == "user: hi ▌hello[/]▐▌cut▐"
    looks = {content.plain[span.start : span.end]: str(span.style) for span in content.spans}
    assert "underline" in looks["hello[/]"]
    assert "strike" in looks["cut"]


class Bench(App[None]):
    """A few widgets of the wizard alone."""

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__()
        self.folder = folder
        self.chosen: list[str] = []
        self.picked: list[int] = []
        self.path: str | None = "nothing yet"

    def compose(self) -> ComposeResult:
        yield StepsList()
        yield ChoiceRow((("none", "none"), ("nf4", "nf4")), "none")
        yield Words(HOSTILE)
        yield PathInput(placeholder="path", suffixes=(".json",), id="path")

    def on_choice_row_chosen(self, event: ChoiceRow.Chosen) -> None:
        self.chosen.append(event.value)

    def on_steps_list_picked(self, event: StepsList.Picked) -> None:
        self.picked.append(event.step)

    def browse(self) -> None:
        assert self.folder is not None
        self.push_screen(FileBrowser("Choose", self.folder, (".json",)), self.took)

    def took(self, path: str | None) -> None:
        self.path = path


async def test_a_choice_is_taken_by_keys_and_by_mouse() -> None:
    app = Bench()
    async with app.run_test() as pilot:
        app.query_one(ChoiceRow).focus()
        await pilot.press("right")
        assert "(•) nf4" in plain(app)
        await pilot.click(ChoiceRow, offset=(2, 0))
        assert app.chosen == ["nf4", "none"]
        await pilot.press("left")
        assert app.chosen == ["nf4", "none", "nf4"]


async def test_a_step_tells_its_state_in_a_sign_and_is_opened_by_a_click() -> None:
    app = Bench()
    async with app.run_test(size=(80, 10)) as pilot:
        steps = app.query_one(StepsList)
        steps.show(
            [
                StepState("One", "1", "", current=True, visited=True, problems=0),
                StepState("Two", "2", "", current=False, visited=True, problems=2),
                StepState("Three", "3", "", current=False, visited=True, problems=0),
                StepState("Four", "4", "", current=False, visited=False, problems=0),
            ]
        )
        await pilot.pause()
        first = plain(app).splitlines()[0]
        for sign in ("1 ▸ One", "2 !2 Two", "3 ✓ Three", "4 · Four"):
            assert sign in first
        await pilot.click(StepsList, offset=(first.index("Three") + 1, 0))
        assert app.picked == [2]


async def test_hostile_words_are_shown_as_they_stand() -> None:
    async with Bench().run_test() as pilot:
        assert "[INST] [/INST]" in plain(pilot.app)
        assert "\x1b" not in plain(pilot.app)


async def test_tab_takes_the_completion_and_otherwise_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.json").write_text("{}")
    app = Bench()
    async with app.run_test() as pilot:
        path = app.query_one(PathInput)
        path.focus()
        await types(pilot, "ro")
        await until(pilot, lambda: path._suggestion, "a completion")
        await pilot.press("tab")
        assert path.value == "rows.json"
        await pilot.press("tab")
        assert app.focused is not path


async def browsing(pilot: Pilot[None]) -> FileBrowser:
    assert isinstance(pilot.app, Bench)
    pilot.app.browse()
    await until(pilot, lambda: isinstance(pilot.app.screen, FileBrowser))
    assert isinstance(pilot.app.screen, FileBrowser)
    return pilot.app.screen


async def test_a_file_is_chosen_by_walking_through_folders(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "rows[b].json").write_text("{}")
    app = Bench(tmp_path)
    async with app.run_test(size=(60, 18)) as pilot:
        await browsing(pilot)
        await until(pilot, lambda: "deep/" in plain(app))
        await pilot.press("enter")
        await until(pilot, lambda: "rows[b].json" in plain(app))
        await pilot.press("enter")
        await until(pilot, lambda: app.path == str(tmp_path / "deep" / "rows[b].json"))


async def test_the_browser_filters_by_name_and_enter_takes_what_is_left(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(30):
        (folder / f"rows{number:02d}.json").write_text("{}")
    app = Bench(folder)
    async with app.run_test(size=(60, 18)) as pilot:
        await browsing(pilot)
        await until(pilot, lambda: "rows00.json" in plain(app))
        await pilot.press("slash", "2", "7")
        await until(pilot, lambda: "rows27.json" in plain(app) and "rows00.json" not in plain(app))
        await pilot.press("x")
        await until(pilot, lambda: "Nothing here has this in its name" in plain(app))
        await pilot.press("backspace")
        await until(pilot, lambda: "rows27.json" in plain(app) and "Nothing here" not in plain(app))
        await pilot.press("enter")
        await until(pilot, lambda: app.path == str(folder / "rows27.json"))


async def test_the_browser_goes_up_and_leaves_without_a_choice(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    app = Bench(folder)
    async with app.run_test(size=(60, 18)) as pilot:
        await browsing(pilot)
        await pilot.press("backspace")
        await until(pilot, lambda: "many/" in plain(app))
        await pilot.press("escape")
        await until(pilot, lambda: app.path is None)


def test_parts_of_a_whole_are_told_by_number_share_and_bar_at_every_width() -> None:
    shares = (
        Share("mine.jsonl", 996),
        Share("[b]a very long name of a file of general rows.jsonl", 3),
        Share("none", 0),
    )
    for width in (90, 40, 24, 10, 1):
        lines = ["".join(text for text, _ in line) for line in share_lines(shares, "sources", width)]
        assert len(lines) == 4
        if width == 90:
            assert lines[1].split()[1:4] == ["996", "99", "%"]
            assert "<1 %" in lines[2]
            assert "0 %" in lines[3]
    assert share_lines((), "sources", 90) == share_lines((Share("none", 0),), "sources", 90) == []
