"""The five steps of the wizard, one of them in view; those that were not opened yet are made while nobody types."""

from __future__ import annotations

from typing import Final

from textual.widgets import ContentSwitcher

from finetune_tui.wizard.step import Step

AHEAD_PAUSE: Final = 0.1


class Pages(ContentSwitcher):
    """Makes the parts of the other steps one after the other, so that no key waits for more than one of them."""

    def __init__(self, steps: tuple[Step, ...], first: int) -> None:
        super().__init__(*steps, initial=steps[first].id, id="pages")
        self._steps = steps

    def on_mount(self) -> None:
        """Begin when the first step is drawn."""
        self.call_after_refresh(self._soon)

    def _soon(self) -> None:
        self.set_timer(AHEAD_PAUSE, self._build_ahead)

    async def _build_ahead(self) -> None:
        at = next(place for place, step in enumerate(self._steps) if step.id == self.current)
        step = next((one for one in (*self._steps[at:], *self._steps[:at]) if not one.built), None)
        if step is None or not self.is_attached:
            return
        if self.screen.is_current and not getattr(self.app, "typeahead", False):
            await step.build_ahead()
        self._soon()
