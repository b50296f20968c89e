"""The app: screens, themes, and an orderly end. What happens in a run is no business of this file."""

from __future__ import annotations

import asyncio
import sys
import threading
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from textual import events
from textual._context import active_message_pump
from textual.app import App, SystemCommand
from textual.binding import BindingType
from textual.css.query import NoMatches
from textual.geometry import Size
from textual.screen import Screen
from textual.theme import ThemeProvider
from textual.widget import Widget

from finetune_tui import guard, terminal, theming
from finetune_tui.actions import actions, bindings
from finetune_tui.dialogs import dialog
from finetune_tui.dialogs.dialog import Palette
from finetune_tui.palette import Actions, Entry, action_entries, why_not
from finetune_tui.patches import drawing, layouts, steady, wrapping
from finetune_tui.patches.styling import QuickStylesheet
from finetune_tui.place import Place
from finetune_tui.place import keep as keep_place
from finetune_tui.screens.home import HomeScreen
from finetune_tui.screens.too_small import TooSmallScreen
from finetune_tui.typeahead import Typeahead

if TYPE_CHECKING:
    from finetune_core.errors import FtError
    from finetune_core.recipe.schema import Recipe
    from finetune_core.runs.directory import RunDir

Opening = Literal["home", "wizard", "dashboard", "review"]
_UNKNOWN = Place("wizard", "")
_HERE = Path(__file__).parent
_LOOK_SECONDS = 1.0
# The arguments of `run_action` for what can be done while the terminal is too small.
_WHILE_COVERED = (("quit",), ("app.quit",))


class FtApp(App[int]):
    """The program on a full screen. Its exit value is the exit code of the process."""

    TITLE = "ft-tui"
    # The first screen is part of the app: Textual reads the style sheets of pushed screens only.
    CSS_PATH = [_HERE / "app.tcss", _HERE / "screens" / "home.tcss"]  # noqa: RUF012 - as Textual declares it
    BINDINGS: ClassVar[list[BindingType]] = bindings("app")
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide")]  # noqa: RUF012 - as Textual declares it
    VERTICAL_BREAKPOINTS = [(0, "-short"), (30, "-tall")]  # noqa: RUF012

    def __init__(
        self,
        open: Opening = "home",  # noqa: A002 - the word of the contract and of the command line
        *,
        run: RunDir | None = None,
        recipe: Recipe | None = None,
        rows: Path | None = None,
        back_at: Place | None = None,
    ) -> None:
        super().__init__(ansi_color=True if theming.no_colour() else None)
        guard.install()
        layouts.install()
        drawing.install()
        wrapping.install()
        steady.install()
        dialog.install()
        self.stylesheet: QuickStylesheet = QuickStylesheet(variables=self.get_css_variables())
        self.animation_level = "none"
        self._opening: Opening = open
        self._run = run
        self._recipe = recipe
        self._rows = rows
        self._back_at = back_at
        self._seen_at: Place | None = _UNKNOWN
        self._kept_at: Place | None = _UNKNOWN
        self._theme_is_choice = False
        self.typeahead = Typeahead(self)
        theming.register_themes(self)
        self.theme = self._start_theme()

    def _start_theme(self) -> str:
        if theming.no_colour():
            return theming.NO_COLOUR
        chosen = theming.read_choice()
        return chosen if chosen in self.available_themes else theming.DEFAULT

    def get_default_screen(self) -> Screen[Any]:
        """The list of runs lies under every other screen."""
        return HomeScreen()

    def on_mount(self) -> None:
        """Open what was asked for, and watch the terminal."""
        if self._opening == "wizard":
            self.open_wizard(self._recipe)
        elif self._opening == "dashboard" and self._run is not None:
            self.open_dashboard(self._run, self._back_at)
        elif self._opening == "review" and self._rows is not None:
            self.open_review(self._rows)
        self.theme_changed_signal.subscribe(self, lambda theme: self._keep_theme(theme.name))
        self.call_after_refresh(self._get_ready)
        if not self.is_headless:
            self._watch_terminal()

    def _get_ready(self) -> None:
        """Have what keys open imported and its styles parsed, in a thread that an end of the app does not wait for."""
        variables = self.get_css_variables()

        def prepare() -> None:
            from finetune_tui import readiness

            sheet = readiness.prepare(variables)
            if not self.is_headless:
                readiness.collect_less_often()
            with suppress(RuntimeError):  # the loop is closed where the app has ended meanwhile
                loop.call_soon_threadsafe(take, sheet)

        def take(sheet: QuickStylesheet) -> None:
            if not self._exit and self.get_css_variables() == variables:
                self.stylesheet.take(sheet)

        loop = asyncio.get_running_loop()
        threading.Thread(target=prepare, name="get ready", daemon=True).start()

    def _keep_theme(self, name: str) -> None:
        if name not in {theming.NO_COLOUR, theming.read_choice()}:
            theming.write_choice(name)

    # The terminal

    def _watch_terminal(self) -> None:
        terminal.on_termination(self._leave_from_signal)
        self.set_interval(_LOOK_SECONDS, self._leave_when_hung_up)
        self.set_interval(_LOOK_SECONDS, self.note_place)

    def _leave_from_signal(self, code: int) -> None:
        loop = self._loop
        if loop is not None:
            loop.call_soon_threadsafe(self.exit, code)

    def _leave_when_hung_up(self) -> None:
        if sys.__stdin__ is None or terminal.hung_up(sys.__stdin__.fileno()):
            terminal.die_soon(129)
            self.exit(129)

    def note_place(self) -> None:
        """Keep where one is, in a thread, once that has lasted from one call to the next."""
        here = self.place
        lasting, self._seen_at = here == self._seen_at, here
        if lasting and here != self._kept_at:
            self._kept_at = here
            self.run_worker(partial(keep_place, here), name="keep the place", thread=True)

    @property
    def place(self) -> Place | None:
        """Where one is; None at the list of runs and where nobody comes back to."""
        found = (getattr(screen, "place", None) for screen in reversed(self.screen_stack))
        return next((one for one in found if isinstance(one, Place)), None)

    def exit(self, result: int | None = None, return_code: int = 0, message: Any = None) -> None:  # noqa: ANN401 - as Textual's
        """Leave the program; the next start leads back here, unless one leaves from the list of runs."""
        keep_place(self.place)
        super().exit(result, return_code, message)

    async def on_event(self, event: events.Event) -> None:
        """Act on keys in the order typed; pass over what comes while the app ends: no screen takes it any more."""
        gone = self._exit or not self.screen_stack
        if gone and isinstance(event, events.InputEvent | events.Paste):
            return
        if isinstance(event, events.MouseDown) and self._is_on_what_is_gone(event):
            return
        if self.typeahead.admits(event):
            await super().on_event(event)

    async def on_key(self, event: events.Key) -> None:
        """Act on a key that no field took; a key of the screen that cannot act now says why."""
        event.prevent_default()
        if not await self._check_bindings(event.key) and self.screen.is_mounted and not self._is_covered:
            own = actions(getattr(self.screen, "SCOPE", None) or "")
            here = (action for action in own if event.key in action.key.split(","))
            why = next(filter(None, (why_not(self.screen, action) for action in here)), "")
            if why:
                self.notify(why, severity="warning", markup=False)

    def _is_on_what_is_gone(self, event: events.MouseDown) -> bool:
        """Whether a notice ended under the mouse: it is drawn until the next frame, and has no parent any more."""
        widget, _ = self.screen.get_widget_and_offset_at(event.x, event.y)
        return widget is not None and widget.parent is None

    async def run_action(self, *args: Any, **extra: Any) -> bool:  # noqa: ANN401 - as Textual declares them
        """Pass over a key for a screen that is not built yet: it could be left before its parts are there.

        Under the notice of a small terminal nothing but the end can be asked for: what opens would not be seen.
        """
        if not self.screen.is_mounted or (self._is_covered and args[:1] not in _WHILE_COVERED):
            return False
        return await super().run_action(*args, **extra)

    def _handle_exception(self, error: Exception) -> None:
        """Pass over what no user sees: of a screen that is left before its parts are there, or too small to be."""
        place = active_message_pump.get(None)
        around = place.ancestors_with_self if isinstance(place, Widget) else []
        left = self._exit or any(isinstance(part, Widget) and (part._pruning or part._closing) for part in around)
        if (left and isinstance(error, NoMatches)) or self._is_of_a_size_too_small(error):
            return
        super()._handle_exception(error)

    def _is_of_a_size_too_small(self, error: Exception) -> bool:
        """Whether a screen could not be laid out in a terminal too small for any; it is anew when that is larger.

        Textual lays out a screen that comes up for a moment while another is left or opened below the notice.
        """
        frames = traceback.walk_tb(error.__traceback__)
        small = not TooSmallScreen.fits(self.size)
        return small and any(frame.f_code.co_name == "_refresh_layout" for frame, _ in frames)

    def on_resize(self, event: events.Resize) -> None:
        """Put a notice over everything while the terminal is too small."""
        if not self.screen_stack:
            # The app is ending: nothing is left to cover.
            return
        if not TooSmallScreen.fits(event.size):
            self._cover(event.size)
        elif self._is_covered:
            self.pop_screen()

    @property
    def _is_covered(self) -> bool:
        return bool(self.screen_stack) and isinstance(self.screen, TooSmallScreen)

    def _cover(self, size: Size | None = None) -> None:
        if not TooSmallScreen.fits(size or self.size) and not self._is_covered:
            super().push_screen(TooSmallScreen())

    def push_screen(self, *args: Any, **extra: Any) -> Any:  # noqa: ANN401 - as Textual's
        """Put a screen above the others, and below the notice that the terminal is too small."""
        if self._is_covered:
            self.pop_screen()
        self._report_size(args[0])
        pushed = super().push_screen(*args, **extra)
        self._cover()
        return pushed

    def _report_size(self, screen: Screen[Any]) -> None:
        """Give a screen the classes of the terminal's size before it is built.

        Textual gives them when it has laid the screen out, and styles all of its parts anew then.
        """
        for cells, points in zip(self.size, (self.HORIZONTAL_BREAKPOINTS, self.VERTICAL_BREAKPOINTS), strict=True):
            screen.add_class(*screen._get_breakpoint_classes(cells, points), update=False)

    @property
    def _background_screens(self) -> list[Screen[Any]]:
        """What is seen behind the open screen: nothing below the notice, nor below a screen that lets nothing through.

        Below the notice it would be laid out for sizes at which nothing can be. And Textual draws the whole of the open
        screen anew whenever the one below has changed.
        """
        if not self.screen_stack or self._is_covered or self.screen.styles.background.a == 1:
            return []
        return super()._background_screens

    # Ways between the screens

    def _show(self, screen: Screen[Any]) -> None:
        """Put one screen above the list of runs, in place of whatever lies there."""
        if self._exit:
            # A key behind the one that ended the app: what it opens would never be built.
            return
        while len(self.screen_stack) > 2:
            self.pop_screen()
        if len(self.screen_stack) == 2:
            self._report_size(screen)
            self.switch_screen(screen)
            self._cover()
        else:
            self.push_screen(screen)

    def go_home(self) -> None:
        """Back to the list of runs."""
        while len(self.screen_stack) > 1:
            self.pop_screen()
        self._cover()

    def open_dashboard(self, run: RunDir, back_at: Place | None = None) -> None:
        """Show one run, live or finished; with a place, as it was left."""
        from finetune_tui.dashboard.screen import DashboardScreen

        if self.screen_stack and isinstance(home := self.screen_stack[0], HomeScreen):
            home.stand_on(run.name)
        self._show(DashboardScreen(run, back_at=back_at))

    def open_wizard(self, recipe: Recipe | None = None) -> None:
        """Set up a run, from the draft or from a recipe."""
        from finetune_tui.wizard.screen import WizardScreen

        self._show(WizardScreen(recipe))

    def open_review(self, rows: Path) -> None:
        """Look at the synthetic rows that wait in a file, one by one."""
        from finetune_tui.screens.review_rows import ReviewRowsScreen

        self._show(ReviewRowsScreen(rows))

    def show_error(self, error: FtError) -> None:
        """Show every problem of an error over the screen."""
        from finetune_tui.screens.help import PageScreen, problems_text

        self.push_screen(PageScreen("This cannot be done", problems_text(error)))

    def action_command_palette(self) -> None:
        """Show the palette of commands."""
        if not isinstance(self.screen, Palette):
            self.push_screen(Palette([Actions]))

    def search_themes(self) -> None:
        """Show the palette of themes."""
        self.push_screen(Palette([ThemeProvider], placeholder="Search for themes…"))

    def action_show_help(self) -> None:
        """Show what the keys of the current screen do."""
        from finetune_tui.screens.help import HelpScreen

        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen(self.current_scope))

    @property
    def current_scope(self) -> str:
        """The scope in the table of actions that the uppermost full screen belongs to."""
        scopes = (getattr(screen, "SCOPE", None) for screen in reversed(self.screen_stack))
        return next((scope for scope in scopes if isinstance(scope, str)), "home")

    def palette_entries(self, screen: Screen[Any]) -> Iterable[Entry]:
        """What the command palette lists: the actions of the screen and of the app, then the themes."""
        yield from action_entries(self, screen, self.current_scope)
        if self.current_scope != "home":
            yield Entry("Quit", "Ctrl+Q", "Leave the program; runs go on", self.action_quit)
        for theme in () if theming.no_colour() else sorted(self.available_themes):
            # Found by typing; a list of all of them has its own key.
            help_words = "Use these colours; the choice is kept"
            yield Entry(f"Theme: {theme}", "", help_words, self._chooser(theme), listed=False)

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """What can be done now of what the palette lists."""
        for entry in self.palette_entries(screen):
            if not entry.why_not:
                yield SystemCommand(entry.label, entry.help, entry.run, entry.listed)

    def _chooser(self, theme: str) -> Callable[[], None]:
        def choose() -> None:
            self.theme = theme

        return choose
