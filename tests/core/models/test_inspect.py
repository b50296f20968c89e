from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetune_core.errors import Problem
from finetune_core.models.inspect import ModelFacts, inspect_folder
from tests.core.models.folders import LLAMA, TENSORS, model_folder, safetensors


def inspect(path: Path) -> ModelFacts:
    return inspect_folder(path, source=str(path), kind="folder")


def problem_of(path: Path) -> Problem:
    found = inspect(path).problem
    assert found is not None
    assert found.remedy
    return found


def test_a_whole_folder_is_read_without_a_problem(tmp_path: Path) -> None:
    facts = inspect(model_folder(tmp_path))
    assert facts.problem is None
    assert (facts.architecture, facts.model_type) == ("LlamaForCausalLM", "llama")
    assert (facts.hidden, facts.intermediate, facts.layers, facts.vocabulary) == (64, 128, 2, 256)
    assert (facts.heads, facts.kv_heads, facts.head_dim, facts.context) == (4, 2, 16, 512)
    assert facts.parameters == 256 * 64 * 2 + 128 * 64
    assert (facts.dtype, facts.tied, facts.has_chat_template, facts.quantized) == ("bfloat16", False, True, None)
    assert facts.size_bytes == (tmp_path / "model.safetensors").stat().st_size


def test_a_head_that_is_not_stored_is_tied_to_the_embeddings(tmp_path: Path) -> None:
    tensors = {name: facts for name, facts in TENSORS.items() if name != "lm_head.weight"}
    assert inspect(model_folder(tmp_path, tensors=tensors)).tied


@pytest.mark.parametrize(
    ("config", "tied"),
    [({}, False), ({"tie_word_embeddings": True}, True), ({"model_type": "gemma2"}, True)],
)
def test_weights_that_are_still_to_come_are_described_by_the_config(
    tmp_path: Path, config: dict[str, Any], tied: bool
) -> None:
    (model_folder(tmp_path, config=config) / "model.safetensors").unlink()
    facts = inspect_folder(tmp_path, source="some/model", kind="hub")
    assert (facts.problem, facts.hidden, facts.parameters, facts.size_bytes, facts.tied) == (None, 64, None, None, tied)


@pytest.mark.parametrize(
    ("metadata", "parameters", "size"),
    [
        ({"total_size": 3000, "total_parameters": 1500}, 1500, 3000),
        ({"total_size": True, "total_parameters": 1e40}, None, None),
        ("3000", None, None),
    ],
)
def test_an_index_tells_of_weights_that_are_still_to_come(
    tmp_path: Path, metadata: object, parameters: int | None, size: int | None
) -> None:
    (model_folder(tmp_path) / "model.safetensors").unlink()
    index = {"metadata": metadata, "weight_map": {"model.embed_tokens.weight": "model-1.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    facts = inspect_folder(tmp_path, source="some/model", kind="hub")
    assert (facts.problem, facts.parameters, facts.size_bytes, facts.tied) == (None, parameters, size, True)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index | {"weight_map": {"a": "../b"}}))
    assert "no weight file" in str(inspect_folder(tmp_path, source="some/model", kind="hub").problem)


def test_the_text_part_of_a_multimodal_model_gives_the_shapes(tmp_path: Path) -> None:
    text = {**LLAMA, "hidden_size": 2560, "model_type": "gemma3_text", "dtype": "bfloat16"}
    config = {"architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "text_config": text}
    model_folder(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    facts = inspect(tmp_path)
    assert facts.problem is None
    assert (facts.hidden, facts.layers, facts.model_type, facts.dtype) == (2560, 2, "gemma3", "bfloat16")


def test_older_names_of_shapes_are_understood(tmp_path: Path) -> None:
    config = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_embd": 96, "n_layer": 3, "n_head": 6}
    model_folder(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**config, "n_positions": 1024, "vocab_size": 50257}))
    facts = inspect(tmp_path)
    assert (facts.hidden, facts.layers, facts.heads, facts.kv_heads) == (96, 3, 6, 6)
    assert (facts.intermediate, facts.head_dim, facts.context) == (384, 16, 1024)


@pytest.mark.parametrize(
    ("config", "dropout"),
    [
        ({}, 0.0),
        ({"attention_dropout": 0.1}, 0.1),
        ({"attention_dropout": 0}, 0.0),
        ({"model_type": "gpt2", "attn_pdrop": 0.2, "resid_pdrop": 0.5}, 0.2),
        ({"model_type": "gpt2"}, 0.1),
        ({"model_type": "gpt2", "attn_pdrop": 0.0}, 0.0),
        ({"attention_dropout": "0.1"}, 0.0),
    ],
)
def test_the_share_of_attention_that_is_dropped_in_training_is_known(
    tmp_path: Path, config: dict[str, Any], dropout: float
) -> None:
    assert inspect(model_folder(tmp_path, config=config)).attention_dropout == dropout


def test_the_experts_a_token_meets_give_the_width_of_a_mixture(tmp_path: Path) -> None:
    config = {"model_type": "qwen3_moe", "num_experts_per_tok": 8, "moe_intermediate_size": 768, "num_experts": 128}
    assert inspect(model_folder(tmp_path, config=config)).intermediate == 8 * 768


def test_sharded_weights_are_summed(tmp_path: Path) -> None:
    model_folder(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    safetensors(tmp_path / "model-00001-of-00002.safetensors", {"a": ("F32", [10, 10])})
    safetensors(tmp_path / "model-00002-of-00002.safetensors", {"b": ("F32", [5])})
    names = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    facts = inspect(tmp_path)
    assert (facts.problem, facts.parameters, facts.dtype) == (None, 105, "float32")


@pytest.mark.parametrize(
    ("tensors", "quantization"),
    [
        (
            {
                "m.weight": ("U8", [512, 1]),
                "m.weight.absmax": ("U8", [16]),
                "m.weight.nested_absmax": ("F32", [1]),
                "m.weight.quant_map": ("F32", [16]),
                "m.weight.quant_state.bitsandbytes__nf4": ("U8", [90]),
            },
            {"quant_method": "bitsandbytes"},
        ),
        ({"m.weight": ("I8", [32, 32]), "m.SCB": ("F32", [32])}, {"quant_method": "bitsandbytes"}),
        (
            {"m.qweight": ("I32", [4, 32]), "m.qzeros": ("I32", [1, 4]), "m.scales": ("F16", [1, 32])},
            {"quant_method": "gptq", "bits": 4},
        ),
        (
            {"m.weight_packed": ("I32", [32, 8]), "m.weight_scale": ("BF16", [32, 1]), "m.weight_shape": ("I32", [2])},
            {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": {"num_bits": 8}}}},
        ),
        ({"m_blocks": ("U8", [512]), "m_scales": ("U8", [32])}, {"quant_method": "mxfp4"}),
    ],
)
def test_packed_weights_count_as_the_parameters_they_stand_for(
    tmp_path: Path, tensors: dict[str, tuple[str, list[int]]], quantization: dict[str, Any]
) -> None:
    facts = inspect(model_folder(tmp_path, tensors=tensors, config={"quantization_config": quantization}))
    assert facts.parameters == 32 * 32
    assert facts.quantized == quantization["quant_method"]


@pytest.mark.parametrize(
    ("front", "licence"),
    [
        ("license: apache-2.0\ntags: [a]", "apache-2.0"),
        ("tags:\n- a\nlicense: other\nlicense_name: llama3.1", "llama3.1"),
        ("license:\n- mit", "mit"),
        ("license: other", "other"),
        ("tags: [a]", None),
    ],
)
def test_the_licence_is_read_from_the_model_card(tmp_path: Path, front: str, licence: str | None) -> None:
    model_folder(tmp_path)
    (tmp_path / "README.md").write_text(f"---\n{front}\n---\n# Model\nlicense: not-this-one\n")
    assert inspect(tmp_path).licence == licence


@pytest.mark.parametrize("form", ["file", "string", "list", "none"])
def test_a_chat_template_is_found_in_each_form_it_comes_in(tmp_path: Path, form: str) -> None:
    model_folder(tmp_path, chat_template=form == "string")
    if form == "file":
        (tmp_path / "chat_template.jinja").write_text("{{ messages }}")
    if form == "list":
        several = {"chat_template": [{"name": "default", "template": "x"}]}
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(several))
    assert inspect(tmp_path).has_chat_template is (form != "none")


def test_pickles_are_refused_by_name(tmp_path: Path) -> None:
    model_folder(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    found = problem_of(tmp_path)
    assert "pickles only (pytorch_model.bin)" in found.what


def test_gguf_is_refused_with_the_way_out(tmp_path: Path) -> None:
    model_folder(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "model-q4.gguf")
    assert "GGUF" in problem_of(tmp_path).what


def test_an_adapter_names_the_model_it_belongs_to(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "Qwen/Qwen3-8B"}')
    found = problem_of(tmp_path)
    assert "adapter" in found.what
    assert "Qwen/Qwen3-8B" in found.remedy


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_missing_part_is_named(tmp_path: Path, missing: str) -> None:
    model_folder(tmp_path)
    (tmp_path / missing).unlink()
    words = {"config.json": "config.json", "tokenizer.json": "tokenizer", "model.safetensors": "weights"}
    assert words[missing] in problem_of(tmp_path).what


def test_missing_shards_are_counted_and_named(tmp_path: Path) -> None:
    model_folder(tmp_path)
    names = {"a": "model-1.safetensors", "b": "model.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    found = problem_of(tmp_path)
    assert "1 of 2 weight files are missing" in found.what
    assert "model-1.safetensors" in found.why


def test_weights_cut_at_any_byte_are_seen_to_be_cut(tmp_path: Path) -> None:
    path = model_folder(tmp_path) / "model.safetensors"
    whole = path.read_bytes()
    for length in [*range(400), len(whole) // 2, len(whole) - 1]:
        path.write_bytes(whole[:length])
        assert "model.safetensors cannot be used" in problem_of(tmp_path).what
    path.write_bytes(whole)
    assert inspect(tmp_path).problem is None


def test_an_index_cannot_reach_out_of_its_folder(tmp_path: Path) -> None:
    model_folder(tmp_path / "model")
    safetensors(tmp_path / "other.safetensors", TENSORS)
    names = {"weight_map": {"a": "../other.safetensors"}}
    (tmp_path / "model" / "model.safetensors.index.json").write_text(json.dumps(names))
    assert "no weight file of this folder" in problem_of(tmp_path / "model").why


def test_a_header_that_claims_to_be_huge_is_refused_without_reading_it(tmp_path: Path) -> None:
    model_folder(tmp_path)
    (tmp_path / "model.safetensors").write_bytes((2**62).to_bytes(8, "little") + b"{}")
    assert "cut off" in problem_of(tmp_path).why


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"model_type": "../evil"}, "no name of a model type"),
        ({"text_config": {"sub": [{"model_type": "a;b"}]}}, "no name of a model type"),
        ({"vision_config": {"trust_remote_code": True}}, "trust_remote_code"),
        ({"model_type": "mymodel", "auto_map": {"AutoConfig": "conf.MyConfig"}}, "does not know the type `mymodel`"),
        ({"model_type": "mymodel"}, "no such architecture"),
        ({"model_type": None}, "no name of a model type"),
        ({"architectures": ["BertForMaskedLM"], "model_type": "bert"}, "decoder-only"),
        ({"architectures": None, "model_type": "t5", "is_encoder_decoder": True}, "decoder-only"),
    ],
)
def test_a_config_that_must_not_be_loaded_is_refused(tmp_path: Path, config: dict[str, Any], words: str) -> None:
    assert words in problem_of(model_folder(tmp_path, config=config)).why


def test_code_beside_a_model_that_transformers_knows_is_ignored(tmp_path: Path) -> None:
    config = {"auto_map": {"AutoModelForCausalLM": "modeling.Mine"}}
    assert inspect(model_folder(tmp_path, config=config)).problem is None


@pytest.mark.parametrize("text", ["", "[]", "{", "\xff", "[" * 100_000, '{"a":' * 500 + "1" + "}" * 500])
def test_a_config_that_is_no_config_is_a_problem(tmp_path: Path, text: str) -> None:
    model_folder(tmp_path)
    (tmp_path / "config.json").write_text(text, encoding="latin-1")
    assert "config.json cannot be used" in problem_of(tmp_path).what


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    config=st.dictionaries(
        st.sampled_from([*LLAMA, "text_config", "quantization_config", "auto_map", "dtype"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(list(LLAMA)), inner, max_size=2)
            ),
            max_leaves=5,
        ),
    )
)
def test_no_config_whatever_raises(tmp_path: Path, config: dict[str, Any]) -> None:
    facts = inspect(model_folder(tmp_path, config=config))
    for size in (facts.hidden, facts.layers, facts.heads, facts.vocabulary, facts.head_dim):
        assert size is None or size >= 0
    assert facts.parameters is None or facts.parameters > 0


def test_hostile_names_in_a_config_are_cleaned(tmp_path: Path) -> None:
    facts = inspect(model_folder(tmp_path, config={"architectures": ["Evil\x1b[2JForCausalLM"]}))
    assert facts.architecture is not None
    assert "\x1b" not in facts.architecture


def test_counts_nested_within_each_other_are_unknown(tmp_path: Path) -> None:
    nested: Any = 64
    for _ in range(900):
        nested = [nested]
    facts = inspect(model_folder(tmp_path, config={"intermediate_size": nested}))
    assert facts.problem is not None
    assert "nested" in facts.problem.why


@pytest.mark.parametrize(
    "wrong",
    [
        {"dtype": ["BF16"]},
        {"dtype": {}},
        {"shape": [2**62] * 65},
        {"shape": [10**400, 1]},
        {"shape": [256, 65]},
        {"data_offsets": [32768, 0]},
    ],
    ids=str,
)
def test_a_tensor_that_cannot_be_what_its_header_says_is_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    path = model_folder(tmp_path) / "model.safetensors"
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["model.embed_tokens.weight"] |= wrong
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
    facts = inspect(tmp_path)
    assert facts.parameters is None
    assert facts.problem is not None
    assert "in no known form" in facts.problem.why


@pytest.mark.parametrize("kind", ["qwen2_5_vl", "llava", "idefics3", "qwen3_vl_moe"])
def test_a_vision_language_model_that_is_no_language_model_alone_is_out_of_scope(tmp_path: Path, kind: str) -> None:
    config = {"model_type": kind, "architectures": ["XForConditionalGeneration"], "vision_config": {}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    problem = inspect_folder(tmp_path, source="x", kind="folder").problem
    assert problem is not None
    assert "vision-language model" in problem.what
    assert "out of scope" in problem.what
