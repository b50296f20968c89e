"""The demo: a small real model and a data set that show in seconds, without a GPU, what fine-tuning does.

The model answers questions about public facts in English sentences. The data set teaches it one behaviour, to answer as
strict JSON; the held-out questions ask for facts the data set never mentions, so they show that behaviour is taught and
facts stay. Everything here is made by `python -m finetune_core.worker.make_demo` from `facts.py` and a seed.
"""

from pathlib import Path

_HERE = Path(__file__).parent


def model_dir() -> Path:
    """Folder of the base model: config, weights, tokenizer and chat template."""
    return _HERE / "model"


def train_file() -> Path:
    """The tuning rows, JSON lines in OpenAI `messages` form."""
    return _HERE / "train.jsonl"


def held_out_file() -> Path:
    """The held-out questions, the same form plus `fact`, the text that a right answer contains."""
    return _HERE / "held_out.jsonl"


def recipe_values(*, full: bool = False) -> dict[str, object]:
    """Settings by recipe field, measured to reach >= 98 % valid JSON and >= 95 % right facts, on an NF4 base too.

    `full` gives those for training every weight: a third of the learning rate, because at 1e-3 facts are overwritten.
    """
    return {
        "model.source": "demo",
        "adapter.kind": "none" if full else "lora",
        "adapter.rank": 16,
        "adapter.alpha": 32.0,
        "data.source": "demo",
        "data.held_out": "demo",
        "data.max_length": 256,
        "data.packing": "none",
        "training.epochs": 3.0,
        "training.learning_rate": 3e-4 if full else 1e-3,
        "training.micro_batch": 8,
        "training.accumulation": 1,
        "samples.max_new_tokens": 64,
        "evaluation.max_new_tokens": 64,
        "evaluation.fact_field": "fact",
    }
