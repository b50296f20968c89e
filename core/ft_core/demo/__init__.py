"""The demo: a small real model and a data set that show in seconds, without a GPU, what fine-tuning does.

The model answers questions about public facts in English sentences. The data set teaches it one behaviour, to answer as
strict JSON; the held-out questions ask for facts the data set never mentions, so they show that behaviour is taught and
facts stay. Everything here is made by `python -m ft_core.worker.make_demo` from `facts.py` and a seed.
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


def recipe_values(*, full: bool = False) -> dict[str, str | int | float]:
    """Settings measured to reach >= 98 % valid JSON and >= 95 % right facts, with LoRA on a 16-bit or an NF4 base.

    `full` gives those for training every weight: a third of the learning rate, because at 1e-3 the facts are overwritten.
    """
    return {
        "epochs": 3,
        "learning_rate": 3e-4 if full else 1e-3,
        "rank": 16,
        "alpha": 32,
        "micro_batch": 8,
        "accumulation": 1,
        "max_length": 256,
        "packing": "none",
        "train_on": "assistant",
    }
