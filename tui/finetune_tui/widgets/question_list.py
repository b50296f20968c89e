"""What is to be decided about the rows: the answers, a line each; Enter takes one."""

from __future__ import annotations

from dataclasses import dataclass

from textual.containers import VerticalGroup
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from finetune_core.data.shapes.ambiguities import Answer, Question
from finetune_core.text import clean
from finetune_tui.widgets.paging import PageKeysPass
from finetune_tui.widgets.words import Words


class _Answers(PageKeysPass, OptionList):
    """The answers, the proposed one first."""

    def on_focus(self) -> None:
        """Stand on the proposed answer."""
        if self.highlighted is None and self.option_count:
            self.highlighted = 0


class QuestionList(VerticalGroup):
    """A question above its answers; hidden while there is none, and empty until there is a first one."""

    DEFAULT_CSS = """
    QuestionList { display: none; margin-top: 1; }
    QuestionList OptionList { height: auto; max-height: 6; border: none; padding: 0 0 0 2; background: $surface; }
    QuestionList OptionList:focus { border: none; }
    """

    @dataclass
    class Answered(Message):
        """The user has decided."""

        answer: Answer

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's word
        super().__init__(id=id)
        self._question: Question | None = None

    def show(self, question: Question | None) -> None:
        """Ask this, or nothing."""
        if question == self._question:
            return
        self._question = question
        self.display = question is not None
        if question is None:
            return
        if not self.children:
            self.mount(Words(id="question-words"), _Answers(markup=False, compact=True, id="question-answers"))
        words = Content.assemble(("To decide: ", "bold $text-warning"), clean(question.text))
        self.query_one("#question-words", Words).say(words)
        answers = self.query_one(_Answers)
        answers.clear_options()
        answers.add_options(
            Option(Content(clean(one.words) + ("" if place else "  (proposed)")), id=str(place))
            for place, one in enumerate(question.answers)
        )

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Enter, or a click."""
        event.stop()
        if self._question is not None:
            self.post_message(self.Answered(self._question.answers[event.option_index]))
