"""The quick style sheet styles as Textual's own does."""

from __future__ import annotations

from textual.css.stylesheet import Stylesheet
from textual.dom import DOMNode
from textual.widget import Widget

from finetune_tui import readiness
from finetune_tui.app import FtApp
from finetune_tui.patches.styling import QuickStylesheet
from tests.tui.wizard_driver import WizardApp, ready

Rules = dict[str, object]


def rules_of(node: DOMNode) -> dict[str, Rules]:
    """The rules of a node, and of its component classes by their names."""
    parts = {name: dict(node._component_styles[name].base.get_rules()) for name in node._get_component_classes()}
    return {"": dict(node.styles.base.get_rules()), **parts}


def differing(app: FtApp) -> list[str]:
    """What would be styled otherwise by Textual's own style sheet."""
    assert isinstance(app.stylesheet, QuickStylesheet)
    own = Stylesheet(variables=app.get_css_variables())
    own.source = dict(app.stylesheet.source)
    own.parse()
    found = []
    for node in app.screen.walk_children(Widget, with_self=True):
        before = rules_of(node)
        own.apply(node)
        if rules_of(node) != before:
            found.append(f"{node!r}: {before} but {rules_of(node)}")
    return found


async def test_every_widget_has_the_rules_that_textual_finds_for_it() -> None:
    app = WizardApp("wizard")
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        for keys in ("3 tab", "4 tab tab", "5 ctrl+p", "escape question_mark"):
            await pilot.press(*keys.split())
            await pilot.pause()
            assert not differing(app)


async def test_other_colours_are_those_of_the_theme_chosen_last() -> None:
    app = FtApp()
    async with app.run_test() as pilot:
        for theme in ("nord", "dracula", "nord"):
            app.theme = theme
            await pilot.pause()
            assert not differing(app)
            assert app.screen.styles.background.hex == app.get_css_variables()["background"].upper()


async def test_what_was_prepared_in_a_thread_changes_no_rule() -> None:
    app = FtApp()
    async with app.run_test(size=(120, 40)) as pilot:
        app.stylesheet.take(readiness.prepare(app.get_css_variables()))
        app.stylesheet.update(app)
        await pilot.pause()
        count = len(app.stylesheet.source)
        app.open_wizard()
        await pilot.pause()
        assert not differing(app)
        assert len(app.stylesheet.source) == count
