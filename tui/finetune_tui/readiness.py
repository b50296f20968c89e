"""What is done once the first screen is drawn, in a thread, so that the first key finds it done.

The screens are imported, and the style sheets of their widgets parsed: on a key that would hold up the app for half a
second.
"""

from __future__ import annotations

import gc
import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Final

from textual.screen import Screen
from textual.widget import Widget

from finetune_tui.patches.styling import QuickStylesheet

_SCREENS: Final = ("wizard.screen", "dashboard.screen", "screens.help")
# So many more objects than were freed have the young ones looked through; Python's 700 are a few widgets.
_YOUNG_OBJECTS: Final = 10_000


def prepare(variables: dict[str, str]) -> QuickStylesheet:
    """Import what keys open, and parse its style sheets with these variables; touches nothing of an app."""
    for name in _SCREENS:
        import_module(f"finetune_tui.{name}")
    sheet = QuickStylesheet(variables=variables)
    for kind in _subclasses(Widget):
        for read_from, css, tie_breaker, scope in object.__new__(kind)._get_default_css():
            # Without a scope it would concern widgets of other classes, as soon as it is known.
            if scope:
                sheet.add_source(css, read_from, is_default_css=True, tie_breaker=tie_breaker, scope=scope)
    sheet.read_all(_files())
    sheet.parse()
    sheet.look_through()
    return sheet


def _subclasses(kind: type[Widget]) -> Iterator[type[Widget]]:
    yield kind
    for derived in kind.__subclasses__():
        yield from _subclasses(derived)


def _files() -> list[Path]:
    """The style sheets of the screens."""
    screens = (kind for kind in _subclasses(Screen) if issubclass(kind, Screen))
    own = (kind for kind in screens if kind.__module__.startswith("finetune_tui."))
    return [Path(inspect.getfile(kind)).parent / str(kind.CSS_PATH) for kind in own if kind.CSS_PATH]


def collect_less_often() -> None:
    """Have Python look for unused objects less often, and never among those that last as long as the program.

    It would hold up the app for a tenth of a second, in the middle of a key.
    """
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, *gc.get_threshold()[1:])
