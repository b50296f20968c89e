"""A tiny random model with a tokenizer made on the spot, and runs of the real trainer in this process."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from finetune_core.recipe.schema import Recipe
from finetune_core.runs.directory import RunDir
from finetune_core.runs.journal import Event, Tail
from finetune_core.runs.upkeep.lifecycle import create

CHATML = (
    "{% for message in messages %}"
    "{{ '<|start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + '<|end|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|end|>' }}{% endif %}{{ '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant\n' }}{% endif %}"
)
COLOURS = ("red", "green", "blue", "black", "white", "brown")
THINGS = ("apple", "leaf", "sky", "coal", "snow", "soil", "rose", "pine")


def rows(count: int = 48) -> list[dict[str, Any]]:
    """Questions about colours, answered as JSON."""
    found = []
    for number in range(count):
        thing, colour = THINGS[number % len(THINGS)], COLOURS[number % len(COLOURS)]
        more = " please" * (number % 5)
        found.append(
            {
                "messages": [
                    {"role": "user", "content": f"what colour is {thing} {number}{more}"},
                    {"role": "assistant", "content": json.dumps({"answer": colour})},
                ],
                "fact": colour,
            }
        )
    return found


def write_rows(path: Path, values: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return path


def make_tokenizer(folder: Path) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    special = ["<|pad|>", "<|start|>", "<|end|>", "<|text|>"]
    texts = [message["content"] for row in rows() for message in row["messages"]]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet)
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<|pad|>", eos_token="<|text|>", additional_special_tokens=special[1:3]
    )
    tokenizer.chat_template = CHATML
    tokenizer.save_pretrained(str(folder))
    return tokenizer


def make_model(folder: Path, *, seed: int = 0) -> Path:
    """A random Llama of two layers in float32."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = make_tokenizer(folder)
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(str(folder))
    return folder


def make_recipe(model: Path, data: Path, **changes: Any) -> Recipe:
    """A resolved recipe of 12 quick steps; `changes` are whole sections or `section__field` values."""
    values: dict[str, dict[str, Any]] = {
        "model": {"source": str(model), "dtype": "float32"},
        "data": {"source": str(data), "held_out_share": 0.25, "max_length": 64, "packing": "none"},
        "training": {
            "epochs": 3.0,
            "learning_rate": 5e-3,
            "micro_batch": 3,
            "accumulation": 3,
            "seed": 7,
            "activation_checkpointing": False,
        },
        "samples": {"count": 2, "every_steps": 5, "max_new_tokens": 6},
        "evaluation": {"every_steps": 6, "questions": 4, "max_new_tokens": 6, "fact_field": "fact"},
        "saving": {"every_steps": 4, "keep": 2},
        "hardware": {"device": "cpu"},
        "adapter": {"rank": 4, "alpha": 8},
    }
    for name, value in changes.items():
        section, _, field = name.partition("__")
        values.setdefault(section, {})[field] = value
    return Recipe.model_validate(values)


def make_run(home: Path, recipe: Recipe) -> RunDir:
    """A run directory under `home`, not started."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FT_TUI_HOME", str(home))
        return create(recipe, {})


@contextmanager
def _as_before() -> Iterator[None]:
    kinds = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    handlers = {kind: signal.getsignal(kind) for kind in kinds}
    mask = os.umask(0o077)
    environment = dict(os.environ)
    # The trainer leaves the number of threads alone then: two that wait for each other are slower than one.
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        os.umask(mask)
        os.environ.clear()
        os.environ.update(environment)
        for kind, handler in handlers.items():
            signal.signal(kind, handler)


def train(run: RunDir, *, resume: bool = False) -> int:
    """The trainer itself, in this process: imports are paid once."""
    from finetune_core.worker.train import main

    with _as_before():
        return main([str(run.path), *(["--resume"] if resume else [])])


def events(run: RunDir, kind: str | None = None) -> list[Event]:
    return [event for event in Tail(run.events_file).read() if kind in {None, event["kind"]}]


def losses(run: RunDir) -> dict[int, float]:
    """The loss of every step; of a step done twice, the later."""
    return {event["step"]: event["loss"] for event in events(run, "step")}


def ended(run: RunDir) -> Event:
    found = events(run, "end")
    assert found, run.log_file.read_text() if run.log_file.exists() else "no end event"
    return found[-1]
