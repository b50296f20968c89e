"""Themes: YAML files in `themes/`, and the user's choice among them.

A theme file gives `name`, `dark` (true or false) and colours as `#rrggbb`; `variables` may set any variable of
Textual's design system. Colours never show a state alone: every state has a glyph or a word too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from textual.theme import BUILTIN_THEMES, Theme

from finetune_core.errors import FtError, Problem, problem
from finetune_core.files import write_atomic
from finetune_core.paths import home

if TYPE_CHECKING:
    from textual.app import App

DEFAULT: Final = "dark"
NO_COLOUR: Final = "no-colour"
_COLOURS: Final = tuple(
    "primary secondary accent foreground background surface panel success warning error".split()  # noqa: SIM905
)
_REQUIRED: Final = ("name", "dark", *_COLOURS)
_KNOWN: Final = (*_REQUIRED, "text-alpha", "variables")
_HEX: Final = re.compile(r"#[0-9a-fA-F]{6}")
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,31}")
_RULES: Final[dict[str, tuple[Callable[[Any], bool], str]]] = {
    "name": (lambda value: bool(_NAME.fullmatch(str(value))), "use small letters, digits and hyphens"),
    "dark": (lambda value: isinstance(value, bool), "write true or false"),
    "text-alpha": (lambda value: isinstance(value, int | float) and 0 <= value <= 1, "write a number from 0 to 1"),
    "variables": (lambda value: isinstance(value, dict), "indent lines of the form `name: value` under it"),
    **dict.fromkeys(_COLOURS, (lambda value: bool(_HEX.fullmatch(str(value))), 'write it as "#rrggbb", in quotes')),
}
_SETTINGS: Final = "settings.yaml"
_LARGEST: Final = 64 * 1024


def themes_folder() -> Path:
    """Where the theme files lie: inside the installed package, or at the root of a checkout."""
    here = Path(__file__).resolve().parent
    candidates = (here / "themes", here.parent.parent / "themes")
    for folder in candidates:
        if folder.is_dir():
            return folder
    raise problem(
        "the themes are missing",
        where=str(candidates[0]),
        why="the folder `themes` came neither with the package nor with the checkout",
        remedy="install ft-tui again",
    )


def load_theme(path: Path) -> Theme:
    """Read one theme file. FtError names everything that is wrong in it."""
    values = _read_yaml(path)
    problems = [Problem(what, path.name, why, remedy) for what, why, remedy in _faults(values)]
    if problems:
        raise FtError(problems)
    variables = {str(name): str(value) for name, value in values.get("variables", {}).items()}
    return Theme(
        name=values["name"],
        dark=values["dark"],
        text_alpha=float(values.get("text-alpha", 0.95)),
        variables=variables,
        **{name: values[name] for name in _COLOURS},
    )


def _read_yaml(path: Path) -> dict[str, Any]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        with path.open(encoding="utf-8") as stream:
            values = YAML(typ="safe", pure=True).load(stream.read(_LARGEST))
    except (OSError, ValueError, YAMLError) as error:
        raise problem(
            "the file cannot be read", where=str(path), why=str(error), remedy="correct the file, or remove it"
        ) from error
    if not isinstance(values, dict):
        raise problem(
            "the file holds no settings",
            where=str(path),
            why="it must hold lines of the form `name: value`",
            remedy="correct the file, or remove it",
        )
    return values


def _faults(values: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Everything wrong with a theme, as (what, why, remedy)."""
    for name in _REQUIRED:
        if name not in values:
            yield f"`{name}` is missing", "every theme gives it", f"add a line `{name}:`"
    for name in values:
        if name not in _KNOWN:
            yield f"`{name}` is unknown", "there is no such setting", f"known are {', '.join(_KNOWN)}"
    for name, (fits, remedy) in _RULES.items():
        if name in values and not fits(values[name]):
            yield f"`{name}` does not fit", f"it is {values[name]!r}", remedy


def shipped_themes() -> list[Theme]:
    """Every theme that comes with the program, the default one first."""
    themes = [load_theme(path) for path in sorted(themes_folder().glob("*.yaml"))]
    return sorted(themes, key=lambda theme: (theme.name != DEFAULT, theme.name))


def no_colour_theme() -> Theme:
    """What NO_COLOR shows: the terminal's own two colours; what is chosen is reversed."""
    base = BUILTIN_THEMES["ansi-dark"]
    marks = {"block-cursor-text-style": "reverse", "block-cursor-blurred-text-style": "underline"}
    return replace(base, name=NO_COLOUR, variables={**base.variables, **marks})


def no_colour() -> bool:
    """Whether the user asked for no colours (https://no-color.org: set and not empty)."""
    return bool(os.environ.get("NO_COLOR"))


def register_themes(app: App[Any]) -> None:
    """Make the program's themes known to the app, beside those that Textual brings."""
    for theme in [no_colour_theme()] if no_colour() else shipped_themes():
        app.register_theme(theme)


def read_choice() -> str:
    """The theme the user chose, or the default; a settings file that cannot be read counts as no choice."""
    path = home() / _SETTINGS
    try:
        return str(_read_yaml(path).get("theme", DEFAULT)) if path.exists() else DEFAULT
    except FtError:
        return DEFAULT


def write_choice(name: str) -> None:
    """Remember the theme for the next start."""
    write_atomic(home() / _SETTINGS, f"# Written by ft-tui: the colours of the app.\ntheme: {name}\n", durable=False)
