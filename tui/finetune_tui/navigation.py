"""What a screen asks of the app: another screen in its place, or an error shown over it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from textual.dom import DOMNode

    from finetune_core.errors import FtError
    from finetune_core.recipe.schema import Recipe
    from finetune_core.runs.directory import RunDir


class Navigator(Protocol):
    """The app as its screens see it; a screen that imported the app would close a circle."""

    def go_home(self) -> None:
        """Go back to the list of runs."""

    def open_dashboard(self, run: RunDir) -> None:
        """Show one run."""

    def open_wizard(self, recipe: Recipe | None = None) -> None:
        """Set up a run, from the draft or from a recipe."""

    def show_error(self, error: FtError) -> None:
        """Show every problem of an error over the screen."""


def navigator(node: DOMNode) -> Navigator:
    """The app that `node` belongs to."""
    return cast("Navigator", node.app)
