"""How to use what a run has made: the lines of Python that load it."""

from __future__ import annotations

from pathlib import Path

from ft_core import demo
from ft_core.recipe.schema import DEMO


def loading_lines(path: str | Path, kind: str, base: str) -> tuple[str, ...]:
    """Python that loads a result: `kind` is `adapter` (on top of `base`) or `model`. Every text is quoted by Python."""
    source = str(demo.model_dir()) if base == DEMO else base
    if kind == "model":
        return (
            "from transformers import AutoModelForCausalLM, AutoTokenizer",
            f"model = AutoModelForCausalLM.from_pretrained({str(path)!r})",
            f"tokenizer = AutoTokenizer.from_pretrained({str(path)!r})",
        )
    return (
        "from transformers import AutoModelForCausalLM; from peft import PeftModel",
        f"base = AutoModelForCausalLM.from_pretrained({source!r})",
        f"model = PeftModel.from_pretrained(base, {str(path)!r})",
    )
