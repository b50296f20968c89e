"""What rows are made of, in bars: how many turns, who speaks, and from which file they come."""

from __future__ import annotations

from collections.abc import Sequence

from textual.containers import HorizontalGroup

from finetune_core.data.checks.findings.tally import Tally
from finetune_tui.widgets.share_bars import Share, ShareBars


class RowPictures(HorizontalGroup):
    """Up to three pictures side by side; those of which nothing is known take no room."""

    DEFAULT_CSS = """
    RowPictures ShareBars { margin: 0 2 1 0; }
    """

    def show(self, tally: Tally, sources: Sequence[Share]) -> None:
        """Show these counts; turns only where a role speaks them."""
        turns = [Share(words, count) for words, count in tally.turn_groups()] if tally.roles else []
        roles = [Share(role, count) for role, count in tally.roles.most_common()]
        pictures = (
            ("turns", turns, "rows by number of turns"),
            ("roles", roles, "turns by role"),
            ("sources", list(sources), "training rows by file"),
        )
        if not self.children and any(shares for _, shares, _ in pictures):
            self.mount_all(ShareBars(id=f"picture-{name}") for name, _, _ in pictures)
        for bars, (_, shares, title) in zip(self.query(ShareBars), pictures, strict=False):
            bars.show_shares(shares, title)
