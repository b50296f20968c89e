"""A text field of one row whose letters move nothing else on the screen."""

from __future__ import annotations

from textual.geometry import Size
from textual.reactive import Reactive
from textual.widgets import Input


class LineInput(Input):
    """Textual's field, which asks for no layout of the whole screen when its text becomes longer than it is wide."""

    # Its width is given from outside.
    virtual_size = Reactive(Size(0, 0), layout=False)
