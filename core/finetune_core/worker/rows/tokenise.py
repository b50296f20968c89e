"""The one place that turns a conversation into token ids and the mask of what is trained.

The preview and the training use the same code, so what a person sees marked is what the loss is taken on.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Literal, cast

from transformers.utils.chat_template_utils import render_jinja_template

from finetune_core.data.rows import Conversation, Message, Text, TrainingRow, turn_value
from finetune_core.errors import FtError, problem
from finetune_core.limits import RENDER_BYTES
from finetune_core.text import one_line
from finetune_core.worker.rows.chat_template import training_template
from finetune_core.worker.time_limit import memory_limit

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Span = tuple[int, int]
Turn = dict[str, Any]
Rendered = tuple[list[str], list[list[Span]]]


@dataclass(frozen=True, slots=True)
class Encoded:
    """A row as the model gets it.

    `trained[i]` says whether the loss is taken on `input_ids[i]`; `offsets[i]` is the part of `text` it stands for
    (begin, end; characters).
    """

    input_ids: list[int]
    trained: list[bool]
    text: str = ""
    offsets: list[Span] = field(default_factory=list)

    def pieces(self, longest: int | None) -> Iterator[Encoded]:
        """The row in pieces of at most `longest` tokens, none lost; without text and offsets."""
        step = longest or max(len(self.input_ids), 1)
        for start in range(0, len(self.input_ids), step):
            yield Encoded(self.input_ids[start : start + step], self.trained[start : start + step])


@dataclass(frozen=True, slots=True)
class _Chat:
    """A conversation as chat templates take it."""

    turns: list[Turn]
    tools: list[dict[str, object]]

    def upto(self, count: int) -> _Chat:
        """The first `count` turns of it."""
        return _Chat(self.turns[:count], self.tools)

    @property
    def answers(self) -> list[int]:
        """Which turns are the assistant's."""
        return [i for i, turn in enumerate(self.turns) if turn["role"] == "assistant"]

    @property
    def size(self) -> int:
        """About how many characters it holds."""
        return len(repr(self.turns)) + len(repr(self.tools))


@dataclass(frozen=True, slots=True)
class UnlikePrompt:
    """An answer that will not be asked with what stands before it in the row.

    Its turn, and how: the prompt `opened` the answer in another way (with a thought, say); the template has
    `rewritten` what came before; only tokens at the seam are `joined` into others; or the training form of the
    template has `formed` earlier turns in another way than the template itself.
    """

    turn: int
    how: Literal["opened", "rewritten", "joined", "formed"]
    words: str


class Encoder:
    """Turns conversations into tokens by the tokenizer's chat template, and raw text as it stands.

    With `train_on="assistant"` the answers are trained, each with the token that ends it; with `"all"` everything.
    Which characters are an answer follows from the template's own {% generation %} marks; else from those of the
    training form that TRL ships for it; else from rendering the conversation with and without the answer.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, train_on: Literal["assistant", "all"] = "assistant") -> None:
        self._tokenizer = tokenizer
        self._all = train_on == "all"
        self._known_forms: set[tuple[str, ...]] = set()
        if not tokenizer.is_fast:
            raise problem(
                "this model's tokenizer cannot say which text a token stands for",
                where=_name(tokenizer),
                why="it has no fast form (tokenizer.json)",
                remedy="choose a model whose folder holds a tokenizer.json",
            )

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer, with the chat template that rows are written by."""
        return self._tokenizer

    @property
    def name(self) -> str:
        """The tokenizer's folder, for messages."""
        return _name(self._tokenizer)

    def encode(self, row: TrainingRow) -> Encoded:
        """Token ids and mask of one row; nothing is cut off.

        FtError when the model has no chat template, or the template refuses, loses or rewrites turns.
        """
        if isinstance(row, Text):
            return self._raw(row)
        return self._plain(row) if row.completion_only else self._chat(row)

    def unlike_prompts(self, conversation: Conversation, encoded: Encoded) -> Iterator[UnlikePrompt]:
        """Answers whose prompt, as programs will write it, is not what stands before them in the row.

        `encoded` is the row as `encode` gave it. FtError where the template refuses to write a prompt.
        """
        if conversation.completion_only:
            ids = self._tokens(conversation.messages[0].content)[0]
            asked = [self._tokenizer.bos_token_id, *ids] if self._bos else ids
            if encoded.input_ids[: len(asked)] != asked:
                yield UnlikePrompt(1, "joined", self._first_unlike(asked, encoded))
            return
        chat = _Chat(chat_turns(conversation.messages), list(conversation.tools))
        for place, turn in enumerate(conversation.messages):
            if turn.role == "assistant" and turn.trained:
                found = self._unlike(chat, place, encoded)
                if found is not None:
                    yield found

    def _unlike(self, chat: _Chat, place: int, encoded: Encoded) -> UnlikePrompt | None:
        prompt, _ = self._render(chat.upto(place), prompt=True)
        asked = self._tokens(prompt)[0]
        if encoded.input_ids[: len(asked)] == asked:
            return self._unlike_own(chat, place, encoded)
        same = _common(prompt, encoded.text)
        if same == len(prompt):
            return UnlikePrompt(place, "joined", self._first_unlike(asked, encoded))
        before, _ = self._render(chat.upto(place))
        # Behind the turns before it, a prompt opens the answer: that is the template's own.
        how: Literal["opened", "rewritten"] = "opened" if same >= _common(prompt, before) else "rewritten"
        return UnlikePrompt(place, how, f"asked with {prompt[same:][:40]!r}, trained as {encoded.text[same:][:40]!r}")

    def _unlike_own(self, chat: _Chat, place: int, encoded: Encoded) -> UnlikePrompt | None:
        """As `_unlike`, where rows are written by the training form of the template that programs ask by."""
        if self._own == self._template:
            return None
        prompt, _ = self._render(chat.upto(place), prompt=True, template=self._own)
        same = _common(prompt, encoded.text)
        if same == len(prompt):
            return None
        words = f"asked with {prompt[same:][:40]!r}, trained as {encoded.text[same:][:40]!r}"
        return UnlikePrompt(place, "formed", words)

    def _first_unlike(self, asked: list[int], encoded: Encoded) -> str:
        pairs = zip(asked, encoded.input_ids, strict=False)
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        found = [self._tokenizer.decode(ids[same : same + 3]) for ids in (asked, encoded.input_ids)]
        return f"asked with {found[0]!r}, trained as {found[1]!r}"

    # Raw text, all of it trained.

    def _raw(self, row: Text) -> Encoded:
        ids, offsets = self._tokens(row.text)
        text, mask = row.text, [True] * len(ids)
        if self._bos:
            text, ids, mask = self._bos + text, [self._tokenizer.bos_token_id, *ids], [True, *mask]
            offsets = [(0, len(self._bos)), *_shifted(offsets, len(self._bos))]
        return self._ended(ids, mask, text, offsets)

    # Prompt and completion, without a template.

    def _plain(self, conversation: Conversation) -> Encoded:
        prompt, completion = (message.content for message in conversation.messages)
        ids, offsets = self._tokens(prompt + completion)
        if any(begin < len(prompt) < end for begin, end in offsets):
            ids, offsets = self._apart(prompt, completion)
        text, mask = prompt + completion, [self._all or begin >= len(prompt) for begin, _ in offsets]
        if self._bos:
            text, ids, mask = self._bos + text, [self._tokenizer.bos_token_id, *ids], [self._all, *mask]
            offsets = [(0, len(self._bos)), *_shifted(offsets, len(self._bos))]
        return self._ended(ids, mask, text, offsets)

    def _apart(self, prompt: str, completion: str) -> tuple[list[int], list[Span]]:
        """Tokens of the prompt, then of the completion: as the model meets them when it answers."""
        ids, offsets = self._tokens(prompt)
        more_ids, more_offsets = self._tokens(completion)
        return ids + more_ids, offsets + _shifted(more_offsets, len(prompt))

    @cached_property
    def _bos(self) -> str:
        """The token the tokenizer itself puts before a text, or nothing."""
        first = self._tokenizer("a")["input_ids"][:1]
        bos = self._tokenizer.bos_token_id
        return str(self._tokenizer.bos_token) if bos is not None and first == [bos] else ""

    # Conversations, through the chat template.

    def _chat(self, conversation: Conversation) -> Encoded:
        chat = _Chat(chat_turns(conversation.messages), list(conversation.tools))
        self._check_form(chat)
        text, marks = self._render(chat)
        ids, offsets = self._tokens(text)
        if self._all:
            return self._ended(ids, [True] * len(ids), text, offsets)
        spans = self._marked(chat, text, marks) if self._has_marks else self._compared(chat, text)
        mask = [False] * len(ids)
        for span in self._wanted(spans, conversation):
            first, last = self._token_range(ids, offsets, text, span)
            mask[first:last] = [True] * (last - first)
        if not conversation.messages[-1].trained:
            return Encoded(ids, mask, text, offsets)
        return self._ended(ids, mask, text, offsets)

    def _wanted(self, spans: list[Span], conversation: Conversation) -> list[Span]:
        """The spans of the turns that are to be trained."""
        answers = [message for message in conversation.messages if message.role == "assistant"]
        if len(spans) == len(answers):
            return [span for span, message in zip(spans, answers, strict=True) if message.trained]
        if spans and all(message.trained for message in answers):
            return spans
        raise self._refused(
            "the chat template does not set the answers apart",
            f"it marks {len(spans)} parts in a row with {len(answers)} answers",
            "learn from everything (data.train_on: all), or choose a model with another template",
        )

    def _marked(self, chat: _Chat, text: str, marks: list[Span]) -> list[Span]:
        """The template's own marks, without the part of the turn that the prompt for an answer already holds."""
        if not self._marks_hold_header or len(marks) != len(chat.answers):
            return marks
        return [self._without_header(chat, i, text, span) for i, span in zip(chat.answers, marks, strict=True)]

    def _without_header(self, chat: _Chat, index: int, text: str, span: Span) -> Span:
        prompt, _ = self._render(chat.upto(index), prompt=True)
        begin = _common(prompt, text)
        if begin < len(prompt):
            # The prompt opens more than the answer has (a thinking part, say): only what both share is the header.
            begin = min(begin, text.find(chat.turns[index]["content"].strip(), span[0]))
        return (begin, span[1]) if span[0] < begin <= span[1] else span

    def _compared(self, chat: _Chat, text: str) -> list[Span]:
        """Where each answer stands in `text`, found by rendering the turns before it, and up to it."""
        return [self._compare(chat, i, text) for i in chat.answers]

    def _compare(self, chat: _Chat, index: int, text: str) -> Span:
        content = chat.turns[index]["content"].strip()
        prompt, _ = self._render(chat.upto(index), prompt=True)
        begin = _common(prompt, text)
        if begin < len(prompt):
            before, _ = self._render(chat.upto(index))
            found = text.find(content, len(before))
            if not text.startswith(before) or found < 0:
                raise self._rewrites(index)
            begin = min(begin, found)
        upto = text if index == len(chat.turns) - 1 else self._render(chat.upto(index + 1))[0]
        if text.startswith(upto):
            return begin, len(upto)
        found = text.find(content, begin)
        if found < 0 or found + len(content) > _common(upto, text):
            raise self._rewrites(index)
        return begin, found + len(content)

    def _token_range(self, ids: list[int], offsets: list[Span], text: str, span: Span) -> Span:
        """The tokens of an answer (first, behind the last), up to and with the token that ends the turn."""
        first = bisect_right(offsets, span[0], key=lambda offset: offset[1])
        last = bisect_left(offsets, span[1], lo=first, key=lambda offset: offset[0])
        inner = last
        while inner > first and _is_blank(text, offsets[inner - 1]):
            inner -= 1
        if inner > first and ids[inner - 1] in self._stops:
            return first, inner
        outer = last
        while outer < len(ids) and _is_blank(text, offsets[outer]):
            outer += 1
        behind = outer
        while behind < len(ids) and ids[behind] in self._stops:
            behind += 1
        return first, behind if behind > outer else last

    def _ended(self, ids: list[int], mask: list[bool], text: str, offsets: list[Span]) -> Encoded:
        """The row, with an end token behind it (trained) where the template writes none."""
        last = len(ids)
        while last and _is_blank(text, offsets[last - 1]):
            last -= 1
        if any(ids[i] in self._stops for i in range(max(last - 1, 0), len(ids))):
            return Encoded(ids, mask, text, offsets)
        end, name = self._tokenizer.eos_token_id, str(self._tokenizer.eos_token)
        if end is None:
            raise self._refused(
                "the model could not learn where an answer ends",
                "neither the tokenizer nor the chat template has an end token",
                "choose a model whose tokenizer names an eos_token",
            )
        return Encoded([*ids, end], [*mask, True], text + name, [*offsets, (len(text), len(text) + len(name))])

    # What the template is like, found out once.

    @cached_property
    def _template(self) -> str:
        """The template rows are rendered with: the model's own, or TRL's training form of it."""
        return self._own if _has_marks(self._own) else training_template(self._own) or self._own

    @cached_property
    def _own(self) -> str:
        """The template that programs will ask by."""
        try:
            return self._tokenizer.get_chat_template()
        except ValueError as error:
            raise self._refused(
                "the model has no chat template, and the rows are conversations",
                "a base model was never taught a form for turns" if not self._tokenizer.chat_template else str(error),
                "choose the -Instruct or -chat form of the model, or write rows as prompt and completion",
            ) from error

    @cached_property
    def _has_marks(self) -> bool:
        return _has_marks(self._template)

    @cached_property
    def _marks_hold_header(self) -> bool:
        """Whether the template marks, as part of the answer, what the prompt for an answer already holds."""
        text, marks = self._render(_PROBE)
        return bool(marks) and self._without_header(_PROBE, 1, text, marks[0]) != marks[0]

    @cached_property
    def _stops(self) -> frozenset[int]:
        """Tokens that end a turn: the end token, and the special ones the template writes behind the last answer."""
        stops = {self._tokenizer.eos_token_id} - {None}
        if self._tokenizer.chat_template:
            text, _ = self._render(_PROBE)
            ids, offsets = self._tokens(text)
            answer = _PROBE.turns[-1]["content"]
            behind = text.rfind(answer) + len(answer)
            special = self._tokenizer.added_tokens_decoder
            stops |= {i for i, (begin, _) in zip(ids, offsets, strict=True) if begin >= behind and i in special}
        return frozenset(stops)

    def _check_form(self, chat: _Chat) -> None:
        """See once for each form of conversation (roles, calls, tools) that the template writes every part of it."""
        form = (*(_form(turn) for turn in chat.turns), *(["tools"] if chat.tools else []))
        if form in self._known_forms:
            return
        probe = _Chat([_probe_turn(turn, i) for i, turn in enumerate(chat.turns)], chat.tools[:0])
        parts = {f"{turn['role']} (turn {i + 1})": f"turn{i}text" for i, turn in enumerate(probe.turns)}
        if chat.tools:
            tool = {"name": "probetool", "description": "", "parameters": {"type": "object", "properties": {}}}
            probe.tools.append({"type": "function", "function": tool})
            parts["the tools"] = "probetool"
        text, _ = self._render(probe)
        lost = [name for name, written in parts.items() if written not in text]
        if lost:
            raise self._refused(
                "the chat template leaves turns out",
                f"it does not write: {', '.join(lost[:5])}",
                "choose a model with another template, or take these turns out of the rows",
            )
        self._known_forms.add(form)

    # Small tools.

    def _render(self, chat: _Chat, *, prompt: bool = False, template: str = "") -> tuple[str, list[Span]]:
        """The conversation as text, and the parts the template marks as the assistant's.

        A template is somebody's program: whatever it raises becomes an FtError.
        """
        allowed = chat.size * _GROWTH + _OVERHEAD
        options: dict[str, Any] = {**self._tokenizer.special_tokens_map, "chat_template": template or self._template}
        options |= {"return_assistant_tokens_mask": self._has_marks and not template, "add_generation_prompt": prompt}
        options["tools"] = chat.tools or None
        try:
            with memory_limit(RENDER_BYTES):
                texts, marks = cast("Rendered", render_jinja_template(conversations=[chat.turns], **options))
        except Exception as error:
            raise self._refused(
                "the chat template refuses the row",
                one_line(f"{type(error).__name__}: {error}", 200),
                "change the row as the message says (often: no system turn, or turns that alternate)",
            ) from error
        if len(texts[0]) > allowed:
            raise self._refused(
                "the chat template writes far more than the row holds",
                f"{len(texts[0])} characters, where at most {allowed} were expected",
                "do not use this model: its template is damaged or hostile",
            )
        return texts[0], marks[0] if marks else []

    def _tokens(self, text: str) -> tuple[list[int], list[Span]]:
        """Token ids of a text as it stands (no token is put before or behind it), and their places in it."""
        encoding = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        offsets = encoding["offset_mapping"]
        return encoding["input_ids"], _joined(offsets) if self._leaves_gaps else offsets

    @cached_property
    def _leaves_gaps(self) -> bool:
        """Whether the tokenizer leaves the blank before a word out of the token's place (GPT-2's and Llama 3's do)."""
        found = self._tokenizer("a b", add_special_tokens=False, return_offsets_mapping=True)
        offsets: list[Span] = found["offset_mapping"]
        return _joined(offsets) != offsets

    def _rewrites(self, index: int) -> FtError:
        return self._refused(
            "the chat template rewrites earlier turns",
            f"turn {index + 1} looks different once more turns follow it, so what would be trained is not certain",
            "use rows with a single answer, learn from everything (data.train_on: all), or add {% generation %} marks "
            "to the model's chat template",
        )

    def _refused(self, what: str, why: str, remedy: str) -> FtError:
        return problem(what, where=_name(self._tokenizer), why=why, remedy=remedy)


_PROBE = _Chat([{"role": "user", "content": "probe one"}, {"role": "assistant", "content": "probe two"}], [])
_GROWTH = 8
_OVERHEAD = 1_000_000


def _name(tokenizer: PreTrainedTokenizerBase) -> str:
    return one_line(str(tokenizer.name_or_path or "the model's tokenizer"), 200)


def chat_turns(messages: Sequence[Message]) -> list[Turn]:
    """Messages as chat templates take them: what a turn does not have is not named in it."""
    return [turn_value(message) for message in messages]


def _form(turn: Turn) -> str:
    return f"{turn['role']}+calls" if "tool_calls" in turn else str(turn["role"])


def _probe_turn(turn: Turn, place: int) -> Turn:
    """A turn of the same form whose only words are its place; a call carries them as the function's name."""
    words = f"turn{place}text"
    if "tool_calls" not in turn:
        return {"role": turn["role"], "content": words, **({"name": "probetool"} if turn["role"] == "tool" else {})}
    call = {"type": "function", "function": {"name": words, "arguments": {}}}
    return {"role": turn["role"], "content": "", "tool_calls": [call]}


def _has_marks(template: str) -> bool:
    return re.search(r"\{%-?\s*generation\s*-?%\}", template) is not None


def _is_blank(text: str, offset: Span) -> bool:
    return not text[offset[0] : offset[1]].strip()


def _common(one: str, other: str) -> int:
    """How many characters two texts have in common at their start."""
    if other.startswith(one):
        return len(one)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _shifted(offsets: list[Span], by: int) -> list[Span]:
    return [(begin + by, end + by) for begin, end in offsets]


def _joined(offsets: list[Span]) -> list[Span]:
    """The places of tokens without gaps: what lies between two belongs to the second, whose blank it is."""
    ends = [0, *(end for _, end in offsets)]
    return [(min(begin, before), end) for (begin, end), before in zip(offsets, ends, strict=False)]
