"""Valid documents of every kind that is read, small enough to be changed a million times."""

from __future__ import annotations

import csv
import gzip
import io
import json
from contextlib import suppress
from functools import cache
from typing import Any

from finetune_core.recipe.schema import Recipe
from finetune_core.recipe.yaml_io import dump
from finetune_core.runs.control import REQUESTS

_IDENTITY = {"boot_id": "b", "pid": 4194305, "start_time": 7}


def _json(*documents: object) -> tuple[bytes, ...]:
    return tuple(json.dumps(document).encode() for document in documents)


def _event(seq: int, kind: str, **fields: object) -> dict[str, Any]:
    return {"v": 1, "seq": seq, "t": 1.78e9 + seq, "mono": 10.0 * seq, "kind": kind, **fields}


def _step(seq: int, step: int) -> dict[str, Any]:
    memory = {"allocated": None, "reserved": 2**30, "peak": None, "rss": 2**30}
    gpu = {"index": 0, "uuid": "GPU-0", "memory_used": 2**34, "memory_total": 24 * 2**30, "utilisation": 98,
           "temperature": 71, "power_watts": 312.4}  # fmt: skip
    return _event(seq, "step", step=step, epoch=0.1 * step, loss=2.0 / step, learning_rate=1e-4, grad_norm="NaN",
                  tokens=1530 * step, tokens_per_s=10_200.0, seconds=0.15, memory=memory, gpus=[gpu])  # fmt: skip


EVENTS = (
    _event(1, "state", state="preparing", phase="loading model", done=None, total=None, unit=None),
    _event(2, "plan", total_steps=9, rows=40, memory_total=24 * 2**30, price_per_hour=2.5, tokens=30_000),
    _event(3, "probe", memory=2**30, seconds=1.5),
    _event(4, "state", state="training", phase="", done=1, total=9, unit="steps"),
    _step(5, 1),
    _step(6, 2),
    _event(7, "sample", step=2, path="samples/step-000002-held_out.json", count=1, source="held_out"),
    _event(8, "eval", step=2, loss=0.9, rows=4, seconds=0.2),
    _event(9, "alarm", alarm="loss", words="the loss is NaN", step=2),
    _event(10, "control", id="0-stop-1", request="stop", done=True),
    _event(11, "state", state="preparing", phase="", step=1),
    _event(12, "checkpoint", step=2, path="checkpoints/step-000002", bytes=9, seconds=0.1),
    _event(13, "verdict", path="eval/verdict.json", rows=4, better=True, base={"a": 0.0}, tuned={"a": 1.0}, words="ok"),
    _event(14, "result", path="result", bytes=9, result_kind="adapter", base="demo"),
    _event(15, "end", state="failed", cause="out of memory", remedy="a smaller batch", last_lines=["x"]),
)
JOURNAL = (b"".join(line + b"\n" for line in _json(*EVENTS)), b"".join(line + b"\n" for line in _json(*EVENTS[:6])))
LINES = _json(*EVENTS)
STATUS = _json(
    {"v": 1, "run": "r", "model": "demo", "data": "demo", "state": "training", "phase": "", "step": 3, "total": 9,
     "epoch": 0.3, "loss": 1.5, "started": 1.78e9, "updated": 1.78e9, "ended": None, "cause": None, "remedy": None,
     "supervisor": _IDENTITY, "trainer": {**_IDENTITY, "boot_id": "other"}},
    {"v": 1, "state": "failed", "step": 3, "loss": "NaN", "cause": "killed", "ended": 1.78e9},
)  # fmt: skip
CONTROL = _json(
    *({"request": request, "args": {}} for request in REQUESTS), {"request": "sample", "args": {"prompt": "Who?"}}
)
SAMPLES = _json({"step": 2, "source": "held_out", "items": [
    {"prompt": "a", "reference": None, "base": "b", "current": "c"}, {"prompt": "a", "reference": "r"}]})  # fmt: skip
_SMALL_RECIPE = (
    b"version: 1\nmodel:\n  source: demo\ndata:\n  source: rows.jsonl\n  mapping: {prompt: a}\ntraining:\n"
    b"  learning_rate: 2e-4\n  seed: 7\nreasons:\n  training.seed: chance\n"
)
RECIPES = (
    dump(Recipe()).encode(),
    dump(Recipe(), comments=False).encode(),
    _SMALL_RECIPE,
    b"model: {source: demo}\ndata: {mix: {a.jsonl: 2}}\n",
)
MANIFEST_FILES = {"weights.safetensors": b"w" * 40, "trainer.json": b"{}"}
CONFIGS = _json(
    {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "intermediate_size": 128,
     "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 256,
     "max_position_embeddings": 512, "tie_word_embeddings": False, "dtype": "bfloat16",
     "rope_scaling": {"factor": 2.0}},
    {"architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "text_config": {
        "model_type": "gemma3_text", "hidden_size": 64, "intermediate_size": [128, 256], "num_hidden_layers": 2,
        "num_attention_heads": 4}, "vision_config": {"hidden_size": 8},
     "quantization_config": {"quant_method": "gptq", "bits": 4,
                             "config_groups": {"group_0": {"weights": {"num_bits": 4}}}}},
    {"architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "hidden_size": 64, "num_hidden_layers": 2,
     "num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "num_attention_heads": 4,
     "auto_map": {"AutoConfig": "x.Y"}},
)  # fmt: skip
HEADERS = _json(
    {"__metadata__": {"format": "pt"}, "model.embed_tokens.weight": {
        "dtype": "BF16", "shape": [256, 64], "data_offsets": [0, 32768]},
     "lm_head.weight": {"dtype": "F32", "shape": [4, 4], "data_offsets": [32768, 32832]}},
    {"model.layers.0.mlp.up_proj.weight": {"dtype": "U8", "shape": [64, 1], "data_offsets": [0, 64]},
     "model.layers.0.mlp.up_proj.weight.quant_state.bitsandbytes__nf4": {
        "dtype": "U8", "shape": [8], "data_offsets": [64, 72]}},
)  # fmt: skip
INDEXES = _json({"metadata": {"total_size": 9}, "weight_map": {"a": "model.safetensors", "b": "model.safetensors"}})

_TURNS = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Größe?"},
          {"role": "assistant", "content": "12 µm",
           "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}]  # fmt: skip
_ROWS: tuple[tuple[dict[str, Any], ...], ...] = (
    ({"messages": _TURNS, "tools": [{"type": "function", "function": {"name": "f"}}]}, {"messages": _TURNS[1:2] * 2}),
    ({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}], "system": "s", "id": 7},),
    ({"instruction": "a", "input": "b", "output": "c", "history": [["q", "a"]]}, {"instruction": "d", "output": "e"}),
    ({"prompt": "a", "completion": "b"}, {"prompt": _TURNS[:2], "completion": _TURNS[2:]}),
    ({"prompt": "a", "chosen": "b", "rejected": "c"}, {"chosen": _TURNS[1:], "rejected": _TURNS[1:2]}),
    ({"prompt": "a", "completion": "b", "label": True}, {"prompt": "Human: a\n\nAssistant: b"}),
    ({"text": "a text\n\nof two parts"}, {"text": "x" * 300}, {"input_ids": [1, 2]}),
)  # fmt: skip
JSONL = tuple(b"".join(line + b"\n" for line in _json(*rows, *rows)) for rows in _ROWS)
JSON = tuple(json.dumps([*rows, *rows], indent=indent).encode() for rows in _ROWS for indent in (None, 1))


def _table(delimiter: str) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerows([["instruction", "output"], ["a", "b"], ['say "x"', "two\nlines"], ["c,d;e|f", "g\th"], ["i", ""]])
    return text.getvalue().encode()


CSV = (_table(","), _table(";"), b"\xef\xbb\xbf" + _table(","), b",prompt,completion\n0,a,b\n1,c,d\n")
TSV = (_table("\t"), b'prompt\tcompletion\na "b\tc\nd\te\n')
TEXTS = (b"one paragraph\nof two lines\n\nanother\r\n\r\nthe last", b"a line\na line\n" * 3, b"# Title\n\n- x\n")


@cache
def packed(kind: str) -> tuple[bytes, ...]:
    """Rows in archives."""
    texts = (*JSONL[:2], JSON[0], CSV[0], TEXTS[0])
    return tuple(map(pack(kind), texts))


def pack(kind: str) -> Any:
    """What packs bytes."""
    if kind == "gzip":
        return lambda text: gzip.compress(text, 1, mtime=0)
    import pyarrow as pa

    return lambda text: pa.compress(text, codec="zstd", asbytes=True)


_MODEST = 10**6


def is_modest(archive: bytes, kind: str) -> bool:
    """Whether an archive unpacks to no more than 1 MB, as far as it can be unpacked."""
    import pyarrow as pa

    size = 0
    with suppress(OSError, ValueError), pa.CompressedInputStream(pa.BufferReader(archive), kind) as stream:
        while size <= _MODEST and (block := stream.read(2**20)):
            size += len(block)
    return size <= _MODEST


@cache
def tables(kind: str) -> tuple[bytes, ...]:
    """Rows in columns: texts, nested turns, numbers, times, lists, dictionaries."""
    import pyarrow as pa
    from pyarrow import ipc, parquet

    turns = [[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]] * 3
    made = [
        pa.table({"prompt": ["a", None, "ü"], "completion": ["b", "c", "d" * 99]}),
        pa.table({"messages": turns, "n": [1, 2, 3], "x": [0.5, float("nan"), None], "raw": [b"\xff", b"a", None]}),
        pa.table({"text": pa.array(["a", "b", "a"]).dictionary_encode(),
                  "at": pa.array([0, 1, 2], pa.timestamp("ns", "UTC")), "ok": [True, None, False],
                  "d": pa.array([1, 2, 3], pa.decimal128(9, 2)),
                  "m": pa.array([[("k", 1)]] * 3, pa.map_("str", "int8"))}),
    ]  # fmt: skip
    found = []
    for place, table in enumerate(made):
        for option in (0, 1):
            sink = pa.BufferOutputStream()
            if kind == "parquet":
                parquet.write_table(table, sink, compression="zstd" if option else "none", row_group_size=2 + place)
            else:
                with (ipc.new_stream if option else ipc.new_file)(sink, table.schema) as writer:
                    writer.write_table(table, max_chunksize=2)
            found.append(sink.getvalue().to_pybytes())
    return tuple(found)
