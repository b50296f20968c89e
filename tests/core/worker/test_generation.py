"""Answers do not depend on what they are asked together with, and asking leaves the training as it was."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path
from typing import Any

import pytest

from finetune_core.data.rows import Conversation, Message


@pytest.fixture(scope="module")
def asked(model: Path) -> tuple[Any, Any]:
    """A model and its generator."""
    import torch
    from transformers import AutoModelForCausalLM

    from finetune_core.worker.answers.generate import Generator
    from finetune_core.worker.rows.tokenizer import load_tokenizer

    torch.set_num_threads(1)
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    return loaded, Generator(loaded, load_tokenizer(model), set(), contextlib.nullcontext)


def prompts(generator: Any) -> list[list[int]]:
    texts = ["sky", "what colour is the very long question about coal", "leaf 2", "snow snow snow"]
    return [generator.prompt([Message("user", text)], plain=False) for text in texts]


def test_answers_in_a_batch_equal_answers_alone(asked: tuple[Any, Any]) -> None:
    _, generator = asked
    together = generator.answer(prompts(generator), max_new_tokens=8)
    alone = [generator.answer([prompt], max_new_tokens=8)[0] for prompt in prompts(generator)]
    assert together == alone
    assert len(set(together)) > 1


def test_mode_cache_setting_and_every_random_state_are_as_before(asked: tuple[Any, Any]) -> None:
    import numpy as np
    import torch

    model, generator = asked
    model.train()
    model.config.use_cache = False
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    generator.answer(prompts(generator), max_new_tokens=4, temperature=1.5)
    assert model.training
    assert model.config.use_cache is False
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == states
    assert all(parameter.grad is None for parameter in model.parameters())


def test_temperature_varies_the_answers_and_none_does_not(asked: tuple[Any, Any]) -> None:
    import torch

    _, generator = asked
    prompt = prompts(generator)[:1]
    likeliest = {generator.answer(prompt, max_new_tokens=8)[0] for _ in range(2)}
    varied = set()
    for seed in range(3):
        torch.manual_seed(seed)
        varied.add(generator.answer(prompt, max_new_tokens=8, temperature=2.0)[0])
    assert len(likeliest) == 1
    assert len(varied) > 1


def test_an_answer_ends_at_the_token_that_ends_a_trained_turn(model: Path, asked: tuple[Any, Any]) -> None:
    from finetune_core.worker.answers.generate import Generator
    from finetune_core.worker.rows.tokenizer import load_tokenizer

    loaded, generator = asked
    tokenizer = load_tokenizer(model)
    prompt = prompts(generator)[:1]
    words = tokenizer(generator.answer(prompt, max_new_tokens=8)[0])["input_ids"]
    assert len(words) > 2
    told = Generator(loaded, tokenizer, {words[1]}, contextlib.nullcontext)
    assert told.reply(prompt, max_new_tokens=8)[0] == (tokenizer.decode(words[:2]).strip(), True)
    assert told.reply(prompt, max_new_tokens=1)[0].ended is False, "it had no room to end"


def test_whether_an_answer_fits_is_counted_with_the_token_that_ends_it(model: Path, asked: tuple[Any, Any]) -> None:
    from finetune_core.worker.rows.tokenizer import load_tokenizer

    _, generator = asked
    tokens = len(load_tokenizer(model)("coal is black")["input_ids"])
    assert generator.fits("coal is black", tokens + 1)
    assert not generator.fits("coal is black", tokens)
    assert not generator.fits("coal is black " * 200, 100_000), "the context has no room for it"


def test_a_prompt_longer_than_the_context_keeps_its_end_and_room_for_an_answer(asked: tuple[Any, Any]) -> None:
    _, generator = asked
    endless = generator.prompt([Message("user", "coal " * 500)], plain=False)
    assert len(endless) > 256
    assert isinstance(generator.answer([endless], max_new_tokens=8)[0], str)


def test_too_big_a_batch_is_halved_until_it_fits(asked: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    _, generator = asked
    whole = generator.answer(prompts(generator), max_new_tokens=4)
    sizes = []
    real = generator._batch

    def small_gpu(batch: list[list[int]], max_new_tokens: int, temperature: float) -> Any:
        sizes.append(len(batch))
        if len(batch) > 1:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return real(batch, max_new_tokens, temperature)

    monkeypatch.setattr(generator, "_batch", small_gpu)
    assert generator.answer(prompts(generator), max_new_tokens=4) == whole
    assert sizes == [4, 2, 1, 1, 1, 1]


def test_a_row_asks_with_everything_before_its_last_answer() -> None:
    from finetune_core.worker.answers.generate import question, reference, shown

    turns = ("system", "be brief"), ("user", "one"), ("assistant", "1"), ("user", "two"), ("assistant", "2")
    row = Conversation(1, tuple(Message(role, text) for role, text in turns))
    assert [message.content for message in question(row)] == ["be brief", "one", "1", "two"]
    assert reference(row) == "2"
    assert shown(question(row)) == "system: be brief\nuser: one\nassistant: 1\nuser: two"
    assert shown(question(row)[1:2]) == "one"
