"""Figures of architectures that no formula knows: traced once, then the closed form holds for them."""

from __future__ import annotations

import json
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from finetune_core.errors import FtError
from finetune_core.models.catalogue import from_catalogue
from finetune_core.models.config import shapes
from finetune_core.models.facts import ModelFacts
from finetune_core.models.inspect import TIED_BY_DEFAULT, inspect_folder
from finetune_core.models.layer_costs import figures_from, keep_figures, kept_figures
from finetune_core.plan.look_up import look_up
from finetune_core.plan.memory.estimate import estimate, exact
from finetune_core.plan.memory.traced import figures_of
from finetune_core.recipe.schema import Recipe
from tests.core.plan.cases import recipe
from tests.core.worker.golden_traces import traced_figures, traced_peak

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

# Layers of two kinds (the recurrent ones keep far more), layers without keys of their own, experts beside an MLP.
CONFIGS: dict[str, dict[str, Any]] = {
    "qwen3_5_text": {
        "hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 8, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 128, "vocab_size": 32000, "linear_num_key_heads": 4,
        "linear_num_value_heads": 4, "linear_key_head_dim": 64, "linear_value_head_dim": 64,
    },
    "gemma4_text": {
        "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 4,
        "num_key_value_heads": 1, "head_dim": 64, "global_head_dim": 128, "vocab_size": 32000,
        "vocab_size_per_layer_input": 32000, "hidden_size_per_layer_input": 64, "num_kv_shared_layers": 6,
        "use_double_wide_mlp": True,
    },
    "glm4": {
        "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 6, "num_attention_heads": 8,
        "num_key_value_heads": 2, "head_dim": 64, "vocab_size": 32000,
    },
}  # fmt: skip
# Traced in every run of the suite, however well its figures are known.
ALWAYS = frozenset({"glm4"})
GRID: list[dict[str, object]] = [
    {"training.activation_checkpointing": False, "data.max_length": 1024},
    {"training.activation_checkpointing": True, "data.max_length": 2048, "quantization.method": "nf4"},
    {"training.activation_checkpointing": False, "data.max_length": 2048, "adapter.kind": "none"},
    {"training.activation_checkpointing": False, "data.max_length": 1024, "adapter.rank": 64},
]


def config_of(kind: str) -> Any:
    from transformers import AutoConfig

    return AutoConfig.for_model(kind, **{"max_position_embeddings": 8192, "pad_token_id": 0, **CONFIGS[kind]})


@pytest.mark.parametrize("kind", CONFIGS)
def test_with_traced_figures_the_closed_form_is_within_5_percent_of_the_trace(kind: str) -> None:
    config, anew = config_of(kind), kind in ALWAYS
    facts = ModelFacts(
        source=kind,
        kind="hub",
        model_type=kind,
        tied=config.tie_word_embeddings,
        figures=traced_figures(config, anew=anew),
        **shapes(config.to_dict()),
    )
    assert exact(facts)
    errors = []
    # The loop of a recurrent layer is unrolled over the rows: minutes for long ones.
    shorter = 4 if kind == "qwen3_5_text" else 1
    for given in GRID:
        values = {**given, "data.max_length": int(str(given["data.max_length"])) // shorter}
        asked = recipe({"model.dtype": "bfloat16", "training.micro_batch": 1, "data.packing": "none", **values})
        guess = estimate(facts, asked, "cuda")
        assert guess is not None
        errors.append(guess.peak / traced_peak(config, asked, "cuda", anew=anew) - 1)
    assert max(map(abs, errors)) < 0.05, errors
    assert statistics.median(map(abs, errors)) < 0.03, errors


def test_the_catalogue_s_figures_are_those_of_its_shapes() -> None:
    offered = from_catalogue("Qwen/Qwen3.5-0.8B")
    assert offered is not None
    values = {
        "hidden_size": offered.hidden, "intermediate_size": offered.intermediate, "num_hidden_layers": offered.layers,
        "num_attention_heads": offered.heads, "num_key_value_heads": offered.kv_heads, "head_dim": offered.head_dim,
        "vocab_size": offered.vocabulary, "linear_num_value_heads": 16, "tie_word_embeddings": True,
    }  # fmt: skip
    from transformers import AutoConfig

    assert traced_figures(AutoConfig.for_model("qwen3_5_text", **values)) == offered.figures


def test_a_model_tuned_from_one_of_the_catalogue_has_its_figures(tmp_path: Path, model: Path) -> None:
    offered = from_catalogue("google/gemma-4-E4B-it")
    assert offered is not None
    text = {
        "model_type": "gemma4_text", "hidden_size": 2560, "num_hidden_layers": 42, "num_attention_heads": 8,
        "num_key_value_heads": 2, "head_dim": 256, "vocab_size": 262144, "intermediate_size": 10240,
    }  # fmt: skip
    folder = copy_of(model, tmp_path, {"model_type": "gemma4", "text_config": text})
    assert inspect_folder(folder, source="mine", kind="folder").figures == offered.figures


def test_figures_are_traced_once_for_a_folder_and_kept(
    tmp_path: Path, model: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModelForCausalLM

    folder = copy_of(model, tmp_path, {})
    AutoModelForCausalLM.from_config(config_of("glm4")).save_pretrained(str(folder))
    before = inspect_folder(folder, source=str(folder), kind="folder")
    assert (before.figures, exact(before)) == (None, False)
    told: list[str] = []
    look_up(recipe({"model.source": str(folder)}), told.append)
    assert "glm4" in told[0]
    after = inspect_folder(folder, source=str(folder), kind="folder")
    assert exact(after)
    assert after.figures is not None
    assert after.figures.parameters == after.parameters
    guess = estimate(after, Recipe(), "cuda")
    assert guess is not None
    assert guess.method == "closed form, traced layers"
    monkeypatch.setattr("finetune_core.plan.memory.traced.subprocess.run", None)
    look_up(recipe({"model.source": str(folder)}), told.append)
    assert len(told) == 1, "nothing is traced again"
    assert figures_of(inspect_folder(model, source=str(model), kind="folder")) is None, "a Llama needs none"


def test_what_cannot_be_traced_leaves_the_estimate_as_it_was(tmp_path: Path, model: Path, home: Path) -> None:
    folder = copy_of(model, tmp_path, {"model_type": "t5gemma", "hidden_size": 64})
    facts = replace(inspect_folder(folder, source=str(folder), kind="folder"), problem=None)
    with pytest.raises(FtError):
        figures_of(facts)
    look_up(recipe({"model.source": str(folder)}))
    assert kept_figures(folder) is None


@pytest.mark.parametrize("written", ["", "[]", "{}", '{"parameters": "many"}', '{"parameters": -1}'])
def test_damaged_figures_are_none(written: str, tmp_path: Path, home: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    offered = from_catalogue("Qwen/Qwen3.5-4B")
    assert offered is not None
    assert offered.figures is not None
    keep_figures(tmp_path, offered.figures)
    assert kept_figures(tmp_path) == offered.figures
    next((home / "cache").rglob("figures/*.json")).write_text(written)
    assert kept_figures(tmp_path) is None
    assert figures_from({}) is None


def copy_of(model: Path, tmp_path: Path, values: dict[str, Any]) -> Path:
    """The files of a model with another config."""
    folder = tmp_path / "copy"
    folder.mkdir()
    for file in model.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "config.json").write_text(json.dumps(values))
    return folder


def test_what_ties_its_head_to_the_embeddings_unless_told_otherwise_is_known_without_transformers() -> None:
    from transformers import CONFIG_MAPPING

    tied = {kind: getattr(CONFIG_MAPPING[kind], "tie_word_embeddings", None) for kind in TIED_BY_DEFAULT}
    assert [kind for kind, default in tied.items() if default is not True] == []
