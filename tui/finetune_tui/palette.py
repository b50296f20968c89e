"""What the command palette lists: every action of the screen with its key, grey with the reason where it cannot act."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from rich.text import Text
from textual.app import App
from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.screen import Screen
from textual.types import IgnoreReturnCallbackType

from finetune_tui.actions import Action, actions, key_text

_NOT_NOW: Final = "Not possible now"
_PASSED_OVER: Final = frozenset({"command_palette"})


class Entry(NamedTuple):
    """One line of the palette.

    `why_not` is empty for what can be done now; what is not `listed` is found by typing alone.
    """

    label: str
    key: str
    help: str
    run: IgnoreReturnCallbackType
    why_not: str = ""
    listed: bool = True

    @property
    def title(self) -> Text:
        """Name and key; grey where it cannot act."""
        return Text.assemble(self.label, f"  {self.key}" if self.key else "", style="dim" if self.why_not else "")

    @property
    def words(self) -> str:
        """What it does, or why not now; the palette would read brackets as markup."""
        return (self.why_not or self.help).replace("[", "\\[")


def action_entries(app: App[Any], screen: Screen[Any], scope: str) -> list[Entry]:
    """The actions of the screen, then those of the app: what can be done now before what cannot."""
    found = [
        _entry(app, app if action.scope == "app" else screen, action)
        for action in (*actions(scope), *actions("app"))
        if action.name not in _PASSED_OVER
    ]
    return sorted(found, key=lambda entry: bool(entry.why_not))


def _entry(app: App[Any], target: App[Any] | Screen[Any], action: Action) -> Entry:
    run = runner(app, target, action)
    return Entry(label_now(target, action), key_text(action), action.help, run, why_not(target, action))


def runner(app: App[Any], target: App[Any] | Screen[Any], action: Action) -> IgnoreReturnCallbackType:
    """What a line of the palette does; nothing when its screen was left, or is new, while the palette was open."""

    async def run() -> None:
        if target is not app and not (target in app.screen_stack and target.is_mounted):
            return
        if why := why_not(target, action):
            app.notify(why, severity="warning", markup=False)
        else:
            await app.run_action(action.name, target)

    return run


def why_not(target: App[Any] | Screen[Any], action: Action) -> str:
    """Why an action cannot be done now, in words; empty where it can."""
    name = action.name.partition("(")[0]
    reason = getattr(target, "why_not", None)
    known = reason(name) if reason is not None else None
    if known or target.check_action(name, ()):
        return known or ""
    return f"{_NOT_NOW}: only {action.where}." if action.where else f"{_NOT_NOW}."


def label_now(target: App[Any] | Screen[Any], action: Action) -> str:
    """What an action is called now: as in the footer, where the label follows what the key does."""
    bound = (binding for _, binding in target._bindings if binding.action == action.name)
    return next((binding.description for binding in bound), action.label)


class Actions(Provider):
    """The palette's lines."""

    def _entries(self) -> list[Entry]:
        entries = getattr(self.app, "palette_entries", None)
        return list(entries(self.screen)) if entries is not None else []

    async def discover(self) -> Hits:
        """Everything that is listed before anything is typed."""
        for entry in self._entries():
            if entry.listed:
                yield DiscoveryHit(entry.title, entry.run, text=entry.label, help=entry.words)

    async def search(self, query: str) -> Hits:
        """What fits the letters typed so far; what cannot be done now comes last."""
        matcher = self.matcher(query)
        for entry in self._entries():
            if (score := matcher.match(entry.label)) > 0:
                yield Hit(score / (1000 if entry.why_not else 1), entry.title, entry.run, entry.label, entry.words)
