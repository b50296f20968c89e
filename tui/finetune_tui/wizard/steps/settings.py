"""The fourth step: how it is trained. Every field of the recipe that no other step shows has its place here."""

from __future__ import annotations

from itertools import groupby
from typing import ClassVar

from textual.app import ComposeResult
from textual.containers import VerticalGroup
from textual.content import Content

from finetune_core.recipe.fields import FieldGuide
from finetune_core.recipe.schema import SECTIONS
from finetune_core.text import counted
from finetune_tui.widgets.field_form import FieldForm
from finetune_tui.widgets.fold import Fold
from finetune_tui.widgets.memory_bar import MemoryBar
from finetune_tui.widgets.words import Line
from finetune_tui.wizard.draft import epochs_text
from finetune_tui.wizard.session import SETTINGS, Session, guides_of
from finetune_tui.wizard.step import Step


class SectionFold(Fold):
    """The other fields of one section, folded; they are made when it is first opened."""

    def __init__(self, section: str, guides: tuple[FieldGuide, ...]) -> None:
        super().__init__(f"Advanced: {section}. {SECTIONS[section].__doc__ or ''}", f"fold-{section}")
        self.guides = guides
        self.form: FieldForm | None = None


class SettingsStep(Step):
    """The few fields that matter first; the others by section, folded."""

    NUMBER: ClassVar[int] = SETTINGS
    DEFAULT_CSS = """
    SettingsStep #settings-head { dock: top; background: $background; padding: 0 1; height: auto; }
    SettingsStep #computed { text-style: bold; }
    SettingsStep #first-fields { margin-top: 1; }
    SettingsStep .folded { padding: 0 0 0 1; }
    """

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._forms: list[FieldForm] = []
        self._folds: list[SectionFold] = []

    def parts(self) -> ComposeResult:
        """What the numbers come to, stays in view; then the fields."""
        with VerticalGroup(id="settings-head"):
            yield Line(id="computed")
            yield MemoryBar(id="settings-memory")
        first = FieldForm(guides_of(SETTINGS, "first"), self.session.draft.texts)
        first.id = "first-fields"
        self._forms = [first]
        self._folds = [SectionFold(section, guides) for section, guides in advanced_sections()]
        yield first
        yield from self._folds

    def show(self) -> None:
        """Bring the page up to date."""
        if self.built and self.is_shown:
            self._fill()

    def _fill(self) -> None:
        if not (self.is_attached and self.query("#computed")):
            # The wizard was left before the fields of a section were there; its parts go before it does.
            return
        session = self.session
        self.query_one("#computed", Line).say(computed_words(session))
        name, total, free = session.device_memory()
        unknown = "The memory is estimated as soon as the model's shapes are known."
        if session.counting:
            unknown = f"Memory: {session.counting}"
        self.query_one(MemoryBar).show_need(session.memory, name, total, free, unknown, brief=True)
        problems = session.problems()
        for fold in self._folds:
            if any(problems.get(guide.path) for guide in fold.guides):
                fold.collapsed = False
            if not fold.collapsed:
                self._make_fields(fold)
        viewer = session.viewer()
        for form in self._forms:
            form.show(session.draft.texts, viewer)

    def on_fold_turned(self, event: Fold.Turned) -> None:
        """Show or hide the fields of a section."""
        fold = event.fold
        if isinstance(fold, SectionFold):
            event.stop()
            if not fold.collapsed:
                self._make_fields(fold)
            if fold.form is not None:
                fold.form.display = not fold.collapsed

    def _make_fields(self, fold: SectionFold) -> None:
        if fold.form is None:
            fold.form = FieldForm(fold.guides, self.session.draft.texts)
            fold.form.add_class("folded")
            self._forms.append(fold.form)
            self.mount(fold.form, after=fold)
            self.call_after_refresh(self._fill)


def advanced_sections() -> list[tuple[str, tuple[FieldGuide, ...]]]:
    """The other fields of the recipe, by section."""
    by_section = groupby(guides_of(SETTINGS, "advanced"), lambda guide: guide.path.partition(".")[0])
    return [(section, tuple(guides)) for section, guides in by_section]


def computed_words(session: Session) -> Content:
    """Effective batch, steps and epochs as the fields stand now."""
    recipe, steps = session.resolved, session.steps
    training = recipe.training
    if session.counting:
        return Content(f"{session.counting} (steps follow from that)").stylize("dim")
    if training.micro_batch is None or training.accumulation is None:
        return Content("Steps are counted once model and data are known.").stylize("dim")
    gpus = max(len(session.gpus), 1)
    times = f" x {gpus} GPUs" if gpus > 1 else ""
    batch = training.micro_batch * training.accumulation * gpus
    words = f"Effective batch {batch} = {training.micro_batch} x {training.accumulation}{times}"
    about = "about " if session.basis and training.max_steps is None else ""
    if steps is None:
        return Content(f"{words}; steps are counted once the rows are.")
    return Content(
        f"{words}   {about}{counted(steps.total, 'step')}   {epochs_text(steps.epochs)} of {steps.per_epoch}   "
        f"{counted(steps.rows, 'row')}"
    )
