from __future__ import annotations

import re
from pathlib import Path

import pytest
from textual.color import Color

from finetune_core.errors import FtError
from finetune_tui import theming
from finetune_tui.app import FtApp

GOOD = (Path(theming.themes_folder()) / "dark.yaml").read_text()


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    return file


def test_four_themes_ship_and_the_default_comes_first() -> None:
    names = [theme.name for theme in theming.shipped_themes()]
    assert names[0] == "dark"
    assert set(names) == {"dark", "light", "high-contrast", "colour-blind"}


@pytest.mark.parametrize("theme", theming.shipped_themes(), ids=lambda theme: theme.name)
def test_text_stands_out_from_every_background_of_a_theme(theme: theming.Theme) -> None:
    wanted = 7.0 if theme.name == "high-contrast" else 4.5
    words = {"foreground": theme.foreground, "error": theme.error, "success": theme.success, "warning": theme.warning}
    for ground in (theme.background, theme.surface):
        for name, colour in words.items():
            assert contrast(colour, ground) >= wanted, (name, colour, ground)


def contrast(one: str | None, other: str | None) -> float:
    """WCAG 2.1 contrast ratio of two colours."""
    assert one is not None
    assert other is not None
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    parts = [channel / 255 for channel in Color.parse(colour).rgb]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_everything_wrong_with_a_theme_is_told_at_once(tmp_path: Path) -> None:
    text = re.sub(r"^primary: .*$", "primary: blueish", GOOD, flags=re.MULTILINE)
    text = re.sub(r"^dark: .*$", "dark: maybe", text, flags=re.MULTILINE)
    text = re.sub(r"^error: .*\n", "", text, flags=re.MULTILINE) + "colour: 1\n"
    with pytest.raises(FtError) as told:
        theming.load_theme(write(tmp_path, text))
    what = " ".join(problem.what for problem in told.value.problems)
    assert len(told.value.problems) == 4
    assert all(name in what for name in ("`primary`", "`dark`", "`error`", "`colour`"))
    assert {problem.where for problem in told.value.problems} == {"mine.yaml"}


@pytest.mark.parametrize("text", ["- a\n- b\n", "name: [", "just words", "", "\x00"])
def test_a_file_that_is_no_theme_is_refused_with_its_name(tmp_path: Path, text: str) -> None:
    with pytest.raises(FtError) as told:
        theming.load_theme(write(tmp_path, text))
    assert "mine.yaml" in told.value.problems[0].where


def test_a_missing_theme_file_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(FtError) as told:
        theming.load_theme(tmp_path / "none.yaml")
    assert told.value.problems[0].remedy


async def test_the_app_starts_in_the_default_theme_and_keeps_a_choice() -> None:
    app = FtApp()
    async with app.run_test() as pilot:
        assert app.theme == "dark"
        app.theme = "colour-blind"
        await pilot.pause()
    assert theming.read_choice() == "colour-blind"
    assert FtApp().theme == "colour-blind"


@pytest.mark.parametrize("name", ["light", "high-contrast", "colour-blind", "ansi-dark", "ansi-light"])
async def test_every_theme_can_be_shown(name: str) -> None:
    theming.write_choice(name)
    app = FtApp()
    async with app.run_test() as pilot:
        await pilot.pause()
        assert app.theme == name


@pytest.mark.parametrize("text", ["theme: gone-theme\n", "theme: [", ""])
def test_settings_that_cannot_be_used_fall_back_to_the_default(home: Path, text: str) -> None:
    home.mkdir()
    (home / "settings.yaml").write_text(text)
    assert FtApp().theme == "dark"


async def test_no_color_shows_a_theme_without_colours_and_changes_no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    theming.write_choice("light")
    monkeypatch.setenv("NO_COLOR", "1")
    app = FtApp()
    async with app.run_test() as pilot:
        await pilot.pause()
        assert app.theme == theming.NO_COLOUR
    assert theming.read_choice() == "light"
