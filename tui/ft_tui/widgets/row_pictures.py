"""What rows are made of, in bars: how many turns, who speaks, and from which file they come."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import HorizontalGroup

from ft_core.data.findings.tally import Tally
from ft_tui.widgets.share_bars import Share, ShareBars


class RowPictures(HorizontalGroup):
    """Up to three pictures side by side; those of which nothing is known take no room."""

    DEFAULT_CSS = """
    RowPictures ShareBars { margin: 0 2 1 0; }
    """

    def compose(self) -> ComposeResult:
        """A picture a question."""
        yield ShareBars(id="picture-turns")
        yield ShareBars(id="picture-roles")
        yield ShareBars(id="picture-sources")

    def show(self, tally: Tally, sources: Sequence[Share]) -> None:
        """Show these counts; turns only where a role speaks them."""
        turns = [Share(words, count) for words, count in tally.turn_groups()] if tally.roles else []
        self.query_one("#picture-turns", ShareBars).show_shares(turns, "rows by number of turns")
        roles = [Share(role, count) for role, count in tally.roles.most_common()]
        self.query_one("#picture-roles", ShareBars).show_shares(roles, "turns by role")
        self.query_one("#picture-sources", ShareBars).show_shares(sources, "training rows by file")
