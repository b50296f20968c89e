"""The keys that act now, on the last line: one widget, drawn again only when they are others.

Textual's own Footer builds a widget for every key anew whenever the focus moves, which takes longer than moving it.
"""

from __future__ import annotations

from dataclasses import dataclass

from textual import events
from textual.content import Content
from textual.reactive import reactive
from textual.screen import Screen
from textual.style import Style
from textual.widget import Widget

_KEY = "bold $footer-key-foreground on $footer-key-background"
_WORDS = "$footer-description-foreground on $footer-description-background"


@dataclass(frozen=True)
class ShownKey:
    """A key as it stands in the bar; `tooltip` says more under the mouse."""

    key: str
    name: str
    words: str
    tooltip: str

    def content(self, *, compact: bool) -> Content:
        """The key and what it does; a click on it is that key."""
        name, words = (self.name, f" {self.words}") if compact else (f" {self.name} ", f"{self.words} ")
        meta = Style.from_meta({"pressed": self.key, "tooltip": self.tooltip})
        return Content.assemble((name, _KEY), (words, _WORDS)).stylize(meta)


class KeyBar(Widget, can_focus=False):
    """The keys that the screen's bindings want shown, and with `palette` that of the palette at the right."""

    ALLOW_SELECT = False
    DEFAULT_CSS = """
    KeyBar { dock: bottom; height: 1; width: 1fr; color: $footer-foreground; background: $footer-background; }
    """

    compact: reactive[bool] = reactive(False)

    def __init__(self, *, palette: bool = False, compact: bool = False) -> None:
        super().__init__()
        self.set_reactive(KeyBar.compact, compact)
        self._palette = palette
        self._shown: tuple[ShownKey, ...] = ()
        self._at_right: ShownKey | None = None

    def on_mount(self) -> None:
        """Follow what the keys do."""
        self.screen.bindings_updated_signal.subscribe(self, self._changed)

    def _changed(self, screen: Screen[object]) -> None:
        if self.is_attached and screen is self.screen and screen.app.app_focus:
            self._take(screen)

    def _take(self, screen: Screen[object]) -> None:
        active = screen.active_bindings
        shown: dict[str, ShownKey] = {}
        for _, binding, _, tooltip in active.values():
            if binding.show:
                name = self.app.get_key_display(binding)
                shown.setdefault(binding.action, ShownKey(binding.key, name, binding.description, tooltip))
        right = active.get(self.app.COMMAND_PALETTE_BINDING) if self._palette else None
        at_right = None
        if right is not None:
            name = self.app.get_key_display(right.binding)
            at_right = ShownKey(right.binding.key, name, right.binding.description, right.binding.tooltip)
        new = (tuple(shown.values()), at_right)
        if new != (self._shown, self._at_right):
            self._shown, self._at_right = new
            self.refresh()

    def render(self) -> Content:
        """Every key that has room."""
        if self._at_right is None:
            return self._joined(self.size.width)
        end = "" if self.compact else " "
        right = Content.assemble(("▏", "$foreground 20%"), self._at_right.content(compact=True), end)
        room = max(self.size.width - right.cell_length, 0)
        return Content.assemble(self._joined(room).truncate(room, pad=True), right)

    def _joined(self, room: int) -> Content:
        """The keys side by side, as many as there is room for."""
        gap = Content(" " if self.compact else "")
        left = Content("")
        for shown in self._shown:
            key = shown.content(compact=self.compact)
            more = Content.assemble(left, gap, key) if left else key
            if more.cell_length > room:
                break
            left = more
        return left

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """A click on a key is that key."""
        key = event.style.meta.get("pressed")
        if isinstance(key, str):
            event.stop()
            self.app.simulate_key(key)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """What the key under the mouse does."""
        words = event.style.meta.get("tooltip")
        self.tooltip = Content(words) if isinstance(words, str) and words else None
