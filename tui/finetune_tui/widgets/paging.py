"""Lists inside a page whose page keys turn the page, not the list: arrows, Home and End move in the list."""

from __future__ import annotations

from textual.actions import SkipAction


class PageKeysPass:
    """A mixin, named before the list's own class: PgUp and PgDn go on to what holds the list."""

    def action_page_up(self) -> None:
        """Let the page above act."""
        raise SkipAction

    def action_page_down(self) -> None:
        """Let the page above act."""
        raise SkipAction
