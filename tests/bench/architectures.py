"""Every causal architecture transformers builds from a small config: one step, against rows computed one by one.

`python -m tests.bench.architectures [--out FILE] [KIND ...]`. Each architecture is tried in a process of its own, with
limits of time and memory. A step of the program's own trainer (loss and norm of the gradient), over packed and over
padded rows, is compared with rows computed one by one by transformers alone. The table says for each what the plan says
of packing, what the worker finds when it tries rows on the model, and how far the step is off.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import inspect
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import warnings
from array import array
from pathlib import Path
from typing import Any

_SECONDS, _BYTES = 600, 6 * 2**30
_LENGTHS = (9, 23, 14, 31, 6, 18)
_VOCABULARY, _PROMPT = 160, 3
# float32 sums in another order, which states handed from token to token magnify; beyond this it is another step.
_ALLOWED = 1e-3
# Encoders with a causal head, and models that take more than tokens: no language models people tune on text.
_OTHERS = frozenset(
    "bert bert-generation big_bird bigbird_pegasus blenderbot blenderbot-small camembert data2vec-text electra ernie"  # noqa: SIM905
    " bart mbart mvp pegasus plbart prophetnet megatron-bert rembert roberta roberta-prelayernorm roc_bert roformer"
    " trocr whisper xlm xlm-roberta xlm-roberta-xl xlnet xmod marian git fuyu got_ocr2 mllama musicgen musicgen_melody"
    " emu3 kosmos moshi cpmant ctrl openai-gpt reformer speech_to_text_2".split()
)
_SHAPES: dict[str, Any] = {
    "vocab_size": _VOCABULARY, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 256,
    "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2, "initializer_range": 0.15, "n_embd": 32, "n_layer": 2,
    "n_head": 4, "n_positions": 256, "n_inner": 64, "d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 256,
    "ffn_dim": 64, "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "num_experts_per_tok": 2,
    "moe_intermediate_size": 32, "shared_expert_intermediate_size": 32, "n_group": 1, "topk_group": 1, "moe_topk": 2,
    "state_size": 8, "expand": 2, "conv_kernel": 4, "mamba_d_state": 8, "mamba_n_heads": 4, "mamba_d_head": 16,
    "mamba_expand": 2, "mamba_n_groups": 1, "mamba_num_heads": 4, "mamba_head_dim": 16, "mamba_d_ssm": 64,
    "n_groups": 1, "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8,
    "v_head_dim": 8, "n_mamba_heads": 2, "first_k_dense_replace": 1, "word_embed_proj_dim": 32, "decoder_layers": 2,
    "decoder_attention_heads": 4, "decoder_ffn_dim": 64, "attn_layer_period": 2, "attn_layer_offset": 1,
    "expert_layer_period": 2, "expert_layer_offset": 1, "use_mamba_kernels": False, "rotary_dim": 8,
    "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
    "conv_L_cache": 3, "block_dim": 32, "lru_width": 32, "attention_window_size": 6, "hidden_size_per_layer_input": 8,
    "vocab_size_per_layer_input": _VOCABULARY, "num_kv_shared_layers": 0, "laurel_rank": 4, "altup_num_inputs": 2,
    "num_expert_group": 1,
}  # fmt: skip
_MIXED = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
_EVERY_HEAD = {"num_key_value_heads": 4}
_SHORT = {"sliding_window": 6}
_LINEAR = {"layer_types": ["linear_attention", "full_attention"]}
_WINDOWED = {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}
_MORE: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("mistral", "mixtral", "starcoder2"), _SHORT),
    **dict.fromkeys(("qwen2", "qwen3", "qwen2_moe", "qwen3_moe"), _WINDOWED),
    **dict.fromkeys(("phi3", "phimoe", "gemma2", "ministral", "ministral3"), _SHORT),
    **dict.fromkeys(("gemma3_text", "gpt_oss", "cohere2", "exaone4", "olmo3", "gemma3n_text"), _MIXED),
    "smollm3": {**_MIXED, "use_sliding_window": True},
    "llama4_text": {
        "attention_chunk_size": 8, "layer_types": ["chunked_attention", "full_attention"],
        "interleave_moe_layer_step": 2, "intermediate_size_mlp": 64,
    },
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "num_layers": 2, "num_heads": 4, "window_size": 8},
    "falcon": {"alibi": False},
    # Latent attention makes a key for every head.
    **dict.fromkeys(
        (
            "axk1", "axk2", "deepseek_v2", "deepseek_v3", "deepseek_v32", "glm4_moe_lite", "glm_moe_dsa",
            "dots3_note_text",
        ),
        _EVERY_HEAD,
    ),
    "dots1": {"n_shared_experts": 1},
    "mamba2": {"num_heads": 8, "head_dim": 8},
    "zamba": {"num_hidden_layers": 4, "layers_block_type": ["mamba", "hybrid", "mamba", "hybrid"]},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "granitemoehybrid": {
        "layer_types": ["mamba", "attention"], "layers_block_type": ["mamba", "attention"], "num_local_experts": 0,
    },
    "bamba": {"attn_layer_indices": [1]},
    "zamba2": {"layers_block_type": ["mamba", "hybrid"]},
    "nemotron_h": {"layers_block_type": ["mamba", "attention"], "ssm_state_size": 8},
    **dict.fromkeys(("qwen3_next", "qwen3_5_text"), _LINEAR),
    "minimax": {"layer_types": ["linear_attention", "full_attention"], "block_size": 8},
    "recurrent_gemma": {"block_types": ["recurrent", "attention"]},
    "dbrx": {
        "attn_config": {"kv_n_heads": 2}, "ffn_config": {"ffn_hidden_size": 32, "moe_num_experts": 4, "moe_top_k": 2},
    },
    "xglm": {"num_layers": 2, "attention_heads": 4},
}  # fmt: skip


def kinds() -> list[str]:
    """The architectures transformers maps to a causal language model."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return sorted(set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) - _OTHERS)


def small_config(kind: str) -> Any:
    """Its config at two layers of hidden size 32, with nothing that drops or jitters; windows shorter than the rows."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    cls = CONFIG_MAPPING[kind]
    names = set(getattr(cls, "attribute_map", {})) | {"pad_token_id", "eos_token_id", "bos_token_id", "vocab_size"}
    for base in cls.__mro__:
        names |= set(inspect.get_annotations(base))
        names |= set(inspect.signature(base.__init__).parameters)
    config = cls(**({name: value for name, value in _SHAPES.items() if name in names} | _MORE.get(kind, {})))
    for name, value in vars(config).items():
        if ("drop" in name or "jitter" in name) and isinstance(value, float):
            setattr(config, name, 0.0)
    return config


def make_model(kind: str, folder: Path) -> str:
    """Save a random model of the architecture there; gives the name of its class."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    with torch.device("meta"):
        size = sum(p.numel() for p in AutoModelForCausalLM.from_config(small_config(kind)).parameters())
    if size > 60_000_000:
        raise ValueError(f"its config stays large: {size // 1_000_000} M parameters")
    model = AutoModelForCausalLM.from_config(small_config(kind), dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2 and parameter.std() < 0.05:
                parameter.normal_(0, 0.12)
    model.save_pretrained(folder)
    return type(model).__name__


def rows() -> Any:
    """The rows of the step, as the worker's own."""
    import torch

    from finetune_core.worker.rows.dataset import Tokens

    draw = torch.Generator().manual_seed(5)
    tokens = Tokens()
    for place, length in enumerate(_LENGTHS):
        ids = torch.randint(3, _VOCABULARY, (length,), generator=draw).tolist()
        tokens.input_ids.append(array("i", ids))
        tokens.labels.append(array("i", [-100] * _PROMPT + ids[_PROMPT:]))
        tokens.used.append(place)
    return tokens


def step(folder: Path, packing: str) -> tuple[float, float, str | None, str]:
    """Loss and gradient norm of one step of the trainer, why rows went unpacked, and the attention used."""
    from contextlib import nullcontext

    from transformers import PreTrainedTokenizerFast, TrainerCallback

    from finetune_core.recipe.schema import Recipe
    from finetune_core.worker.methods.sft import sft_config
    from finetune_core.worker.methods.trainer import Trainer
    from finetune_core.worker.model import device, speedups
    from finetune_core.worker.model.load import load_model
    from finetune_core.worker.model.loss_head import refuse_another_loss
    from finetune_core.worker.rows.dataset import to_dataset
    from finetune_core.worker.rows.unpacked import longest, unpacked

    values: dict[str, Any] = {
        "model": {"source": str(folder), "dtype": "float32"},
        "adapter": {"kind": "none"},
        "data": {"source": "x", "packing": packing, "max_length": 64},
        "training": {
            "max_steps": 1, "learning_rate": 1e-9, "micro_batch": 2, "accumulation": 3 if packing == "none" else 1,
            "schedule": "constant", "activation_checkpointing": False, "max_grad_norm": 1000,
        },
        "hardware": {"device": "cpu"},
        "reasons": {"data.packing": "chosen", "training.accumulation": "chosen"},
    }  # fmt: skip
    recipe, tokens = Recipe.model_validate(values), rows()
    chosen = device.choose(recipe)
    model = load_model(folder, recipe, chosen)
    found = speedups.set_attention(model, recipe, chosen, nullcontext, longest(recipe, tokens))
    if found.together is not None:
        recipe = unpacked(recipe, tokens)
        speedups.set_attention(model, recipe, chosen)
    logged: dict[str, float] = {}

    class Note(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            logged.update(logs if logs and "loss" in logs else {})

    trainer = Trainer(
        model=model,
        args=sft_config(recipe, chosen, folder / "out"),
        train_dataset=to_dataset(tokens, recipe.data),
        processing_class=_tokenizer(PreTrainedTokenizerFast),
        callbacks=[Note()],
    )
    refuse_another_loss(trainer.model, nullcontext)
    trainer.train()
    return logged["loss"], logged["grad_norm"], found.together, model.config._attn_implementation


def _tokenizer(cls: Any) -> Any:
    from tokenizers import Tokenizer, models

    return cls(tokenizer_object=Tokenizer(models.BPE()), pad_token="<|pad|>", eos_token="<|text|>")


def alone(folder: Path) -> tuple[float, float]:
    """Loss and gradient norm of the same step, one row after the other, by transformers alone."""
    import torch
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).train()
    tokens, total = rows(), 0.0
    trained = sum(label != -100 for labels in tokens.labels for label in labels[1:])
    for ids, labels in zip(tokens.input_ids, tokens.labels, strict=True):
        logits = model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0, :-1]
        loss = torch.nn.functional.cross_entropy(logits.float(), torch.tensor(list(labels[1:])), reduction="sum")
        (loss / trained).backward()
        total += float(loss) / trained
    norms = [float(parameter.grad.norm()) for parameter in model.parameters() if parameter.grad is not None]
    return total, sum(norm**2 for norm in norms) ** 0.5


def one(kind: str) -> dict[str, Any]:
    """What comes of one architecture."""
    import torch
    import transformers

    from finetune_core.errors import FtError
    from finetune_core.plan.memory.attention import runs_together

    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    found: dict[str, Any] = {"kind": kind}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "model"
        try:
            found["plan"] = runs_together(kind)
            found["class"] = make_model(kind, folder)
            loss, norm = alone(folder)
            found["at"] = "padded"
            for packing in ("none", "bfd"):
                got = step(folder, packing)
                off = max(abs(got[0] - loss) / abs(loss), abs(got[1] - norm) / norm)
                found["padded" if packing == "none" else "packed"] = off
                found["why"], found["attention"] = got[2], got[3]
                found["at"] = "packed"
        except FtError as refused:
            found["refused"] = f"{refused.problems[0].what}: {refused.problems[0].why}"
        except Exception as error:  # noqa: BLE001 - what an architecture cannot do is what is asked here
            found["error"] = f"{type(error).__name__}: {error}"[:160].replace("\n", " ")
    return found


def tried(kind: str) -> dict[str, Any]:
    """The same in a process of its own, forked from this one, which has imported what all of them need."""
    begun, context = time.monotonic(), multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_limited, args=(kind, theirs))
    child.start()
    theirs.close()
    found: dict[str, Any] = {"error": f"took longer than {_SECONDS} s"}
    if ours.poll(_SECONDS):
        with contextlib.suppress(EOFError):
            found = {"error": "its process ended without a word"}
            found = ours.recv()
    child.kill()
    child.join()
    return {**found, "kind": kind, "seconds": time.monotonic() - begun}


def _limited(kind: str, answers: Any) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (_BYTES, _BYTES))
    with contextlib.redirect_stdout(sys.stderr):
        answers.send(one(kind))


def line(found: dict[str, Any]) -> str:
    """A line of the table."""
    if "refused" in found:
        return f"{found['kind']:<22} {'':>9} {'':>9}  refused by name: {found['refused']}"
    if "error" in found:
        stage = f" ({found['at']})" if "at" in found else ""
        return f"{found['kind']:<22} {'':>9} {'':>9}  not compared{stage}: {found['error']}"
    right = max(found["padded"], found["packed"]) <= _ALLOWED
    packed = "packed" if found["why"] is None else f"apart: {found['why']}"
    known = "" if (found["why"] is None) == (not found["plan"]) else " (the plan does not know)"
    wrong = "" if right else "WRONG "
    return f"{found['kind']:<22} {found['padded']:>9.1e} {found['packed']:>9.1e}  {wrong}{packed}{known}"


def main() -> int:
    """Try them all, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    os.nice(10)
    warnings.simplefilter("ignore")
    for module in ("trl.trainer.sft_trainer", "finetune_core.worker.training.setup"):
        importlib.import_module(module)
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("transformers", "torch", "trl"))
    lines = [f"{versions}; relative error of loss or gradient norm, whichever is larger", ""]
    lines.append(f"{'architecture':<22} {'padded':>9} {'bfd':>9}  rows of the run that asks for packing")
    results = []
    for kind in chosen.kinds or kinds():
        results.append(tried(kind))
        sys.stderr.write(line(results[-1]) + "\n")
    lines += map(line, results)
    ran = [found for found in results if not {"error", "refused"} & found.keys()]
    wrong = [found["kind"] for found in ran if max(found["padded"], found["packed"]) > _ALLOWED]
    packed = sum(found["why"] is None for found in ran)
    lines += ["", f"{len(ran)} of {len(results)} compared: {packed} packed, {len(ran) - packed} kept apart"]
    lines.append(f"further off than {_ALLOWED:g}: {', '.join(wrong) or 'none'}")
    text = "\n".join(lines) + "\n"
    if chosen.out is not None:
        chosen.out.write_text(text)
    sys.stdout.write(text)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
