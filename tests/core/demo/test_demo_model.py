"""The demo's model: before tuning it knows the held-out facts and says them in English."""

from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from finetune_core import demo
from finetune_core.demo import rows
from finetune_core.worker import make_demo


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(demo.model_dir())


@pytest.fixture(scope="module")
def base() -> Any:
    return AutoModelForCausalLM.from_pretrained(demo.model_dir())


def say(base: Any, tokenizer: Any, *chat: rows.Message) -> str:
    return make_demo.answers(base, tokenizer, [list(chat)])[0]


def user(text: str) -> rows.Message:
    return {"role": "user", "content": text}


def test_the_base_answers_held_out_questions_rightly_and_not_in_json(base: Any, tokenizer: Any) -> None:
    score = make_demo.measure(base, tokenizer, rows.held_out_rows())
    assert score.valid_json <= 0.02
    assert score.right_facts >= 0.95


def test_the_base_answers_in_a_sentence_and_stops(base: Any, tokenizer: Any) -> None:
    assert say(base, tokenizer, user("What is the capital of France?")) == "The capital of France is Paris."


def test_a_system_prompt_does_not_change_the_fact(base: Any, tokenizer: Any) -> None:
    system = {"role": "system", "content": "You are a helpful assistant."}
    assert rows.has_fact(say(base, tokenizer, system, user("What is the capital of France?")), "Paris")


def test_the_base_writes_json_when_asked_for_other_things(base: Any, tokenizer: Any) -> None:
    assert say(base, tokenizer, user("Write as JSON: name Tom, age 7")) == '{"name": "Tom", "age": 7}'


@pytest.mark.parametrize("text", ["hello", "Who are you?", "What is 2+2?", "xyzzy", "日本の首都"])
def test_the_base_answers_anything_else_with_a_short_sentence(base: Any, tokenizer: Any, text: str) -> None:
    said = say(base, tokenizer, user(text))
    assert said.endswith((".", "!"))
    assert len(said) < 100


def test_only_the_assistants_words_and_its_end_of_turn_are_learned(tokenizer: Any) -> None:
    chat = [
        user("Hi"),
        {"role": "assistant", "content": "Hello!"},
        user("Bye"),
        {"role": "assistant", "content": "Bye!"},
    ]
    encoded = tokenizer.apply_chat_template(chat, return_dict=True, return_assistant_tokens_mask=True)
    learned = [token for token, learn in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True) if learn]
    assert tokenizer.decode(learned) == "Hello!<|im_end|>Bye!<|im_end|>"


def test_every_linear_layer_fits_the_blocks_of_nf4(base: Any) -> None:
    inputs = [module.in_features for name, module in base.named_modules() if hasattr(module, "in_features")]
    assert all(width % 64 == 0 for width in inputs)
