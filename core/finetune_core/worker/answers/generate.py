"""Answers of the model: batched generation that leaves the training exactly as it was."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, cast

import torch
from peft import PeftModel
from transformers import GenerationConfig, PreTrainedTokenizerBase

from finetune_core.data.rows import Conversation, Message, Text, TrainingRow
from finetune_core.worker.model.undisturbed import undisturbed
from finetune_core.worker.rows.tokenise import chat_turns
from finetune_core.worker.types import Model

_OPENING = 24  # words of a text that the model is asked to go on from

# Prompt and answer tokens held in the cache at once: on a GPU about 1 GB for a 1B model, 4 GB for an 8B one.
_BATCH_TOKENS = {"cuda": 32_768, "cpu": 16_384}


class Reply(NamedTuple):
    """An answer, and whether the model ended it; None where that was not noted."""

    text: str
    ended: bool | None


def untuned(model: torch.nn.Module) -> AbstractContextManager[Any]:
    """The base inside: the adapter is off. A fully tuned model has no base left, so nothing changes."""
    return model.disable_adapter() if isinstance(model, PeftModel) else nullcontext()


def untold(_done: int) -> None:
    """Progress nobody waits for."""


def question(row: TrainingRow) -> tuple[Message, ...]:
    """The row up to its last answer; of a text its beginning, to be gone on with."""
    if isinstance(row, Text):
        return (Message("user", _parted(row.text)[0]),)
    return row.messages[: _answer_at(row)]


def reference(row: TrainingRow) -> str | None:
    """The row's last answer (a call as JSON), or how a text goes on; None when there is none."""
    if isinstance(row, Text):
        return _parted(row.text)[1].strip() or None
    place = _answer_at(row)
    if place == len(row.messages):
        return None
    answer = row.messages[place]
    calls = [json.dumps({"name": call.name, "arguments": call.arguments}) for call in answer.tool_calls]
    return "\n".join([*([answer.content] if answer.content else []), *calls])


def _parted(text: str) -> tuple[str, str]:
    """A text's first words, and as many of those that follow; a short one is halved."""
    words = re.findall(r"\s*\S+", text[: _OPENING * 40])
    count = min(_OPENING, max(len(words) // 2, 1))
    return "".join(words[:count]), "".join(words[count : 2 * count])


def _answer_at(row: Conversation) -> int:
    places = [place for place, message in enumerate(row.messages) if message.role == "assistant"]
    return places[-1] if places else len(row.messages)


def shown(messages: Sequence[Message]) -> str:
    """A prompt as people read it: the words of a single turn, else every turn after its role."""
    if len(messages) == 1:
        return messages[0].content
    return "\n".join(f"{message.role}: {message.content}" for message in messages)


class Generator:
    """Asks the model; `stops` are the tokens that end an answer besides the model's and the tokenizer's own."""

    def __init__(
        self,
        model: Model,
        tokenizer: PreTrainedTokenizerBase,
        stops: set[int],
        autocast: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._autocast = autocast
        self._stops = sorted(stops | self._known_stops())
        self._context: int | None = getattr(model.config.get_text_config(), "max_position_embeddings", None)

    def _known_stops(self) -> set[int]:
        named = self._model.generation_config.eos_token_id
        known = set(named if isinstance(named, list) else [named])
        return {token for token in known | {self._tokenizer.eos_token_id} if isinstance(token, int)}

    def prompt(self, messages: Sequence[Message], *, plain: bool, tools: Sequence[dict[str, object]] = ()) -> list[int]:
        """Token ids of a prompt, ready to be answered: through the chat template, or as plain text."""
        if plain or not self._tokenizer.chat_template:
            text = "".join(message.content for message in messages)
            ids = list(self._tokenizer(text)["input_ids"])
            # Some tokenizers end every text; an answer would then follow an end.
            return ids[:-1] if ids[-1:] == [self._tokenizer.eos_token_id] else ids
        chat = self._tokenizer.apply_chat_template(
            chat_turns(messages), tools=list(tools) or None, add_generation_prompt=True, return_dict=False
        )
        return [int(token) for token in cast("list[int]", chat)]

    def answer(self, prompts: Sequence[list[int]], **settings: Any) -> list[str]:  # noqa: ANN401 - those of `reply`
        """The words of `reply`."""
        return [reply.text for reply in self.reply(prompts, **settings)]

    def reply(
        self,
        prompts: Sequence[list[int]],
        *,
        max_new_tokens: int,
        temperature: float = 0.0,
        progress: Callable[[int], None] = untold,
    ) -> list[Reply]:
        """One answer a prompt, in the order of the prompts; likeliest tokens when `temperature` is 0.

        `progress(done)` is called after each batch and may raise to stop. Prompts of like length go together; a
        batch too big for the memory is halved until it fits.
        """
        answers = [Reply("", None)] * len(prompts)
        order = sorted(range(len(prompts)), key=lambda place: -len(prompts[place]))
        done, size = 0, len(prompts)
        with undisturbed(self._model):
            while done < len(order):
                size = min(size, self._fitting(len(prompts[order[done]]) + max_new_tokens))
                places = order[done : done + size]
                try:
                    replies = self._batch([prompts[place] for place in places], max_new_tokens, temperature)
                except torch.cuda.OutOfMemoryError:
                    if size == 1:
                        raise
                    torch.cuda.empty_cache()
                    size = (size + 1) // 2
                    continue
                for place, reply in zip(places, replies, strict=True):
                    answers[place] = reply
                done += len(places)
                progress(done)
        return answers

    def _fitting(self, tokens: int) -> int:
        return max(1, _BATCH_TOKENS[self._model.device.type] // tokens)

    def _batch(self, prompts: list[list[int]], max_new_tokens: int, temperature: float) -> list[Reply]:
        fresh, room = max_new_tokens, None
        if self._context is not None:
            fresh = min(fresh, max(1, self._context // 2))
            room = self._context - fresh
        kept = [prompt[-room:] if room else prompt for prompt in prompts]
        width = max(map(len, kept))
        pad = self._tokenizer.pad_token_id
        ids = torch.tensor([[pad] * (width - len(prompt)) + prompt for prompt in kept], device=self._model.device)
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in kept], device=ids.device)
        with self._autocast():
            out = self._model.generate(
                input_ids=ids,
                attention_mask=mask,
                generation_config=self._settings(fresh, temperature),
            )
        written = out[:, width:]
        texts = self._tokenizer.batch_decode(written, skip_special_tokens=True)
        ended = torch.isin(written, torch.tensor(self._stops, device=written.device, dtype=written.dtype)).any(dim=1)
        return [Reply(text.strip(), end) for text, end in zip(texts, ended.tolist(), strict=True)]

    def fits(self, text: str, max_new_tokens: int) -> bool:
        """Whether an answer of these words, with the token that ends it, has room in so many tokens."""
        room = max_new_tokens if self._context is None else min(max_new_tokens, max(1, self._context // 2))
        return len(self._tokenizer(text, add_special_tokens=False)["input_ids"]) < room

    def _settings(self, max_new_tokens: int, temperature: float) -> GenerationConfig:
        """Every setting named: what is left out would be filled in from the model's own habits."""
        return GenerationConfig(  # type: ignore[no-untyped-call]
            max_new_tokens=max_new_tokens,
            do_sample=temperature > 0,
            temperature=temperature or 1.0,
            top_k=0 if temperature > 0 else 50,
            top_p=1.0,
            num_beams=1,
            repetition_penalty=1.0,
            no_repeat_ngram_size=0,
            use_cache=True,
            # A model that names a static cache would be compiled for minutes on a GPU.
            disable_compile=True,
            eos_token_id=self._stops,
            pad_token_id=self._tokenizer.pad_token_id,
            bos_token_id=self._tokenizer.bos_token_id,
        )
