"""The worker against a plain TRL script: `python tests/bench/against_trl.py [--gpu] [--json FILE]`.

Three ways to train the same model on the same rows with the same seed, learning rate and effective batch, each in a
process of its own, in turns: a script with TRL's defaults, the same script with good settings (packed rows, no
checkpointing, 16 bits on a GPU), and this program's worker. Compared: real (unpadded) tokens a second over the steps
after the first few, the share of what the device's arithmetic allows, peak memory, and the losses of worker and tuned
script. On a CPU a random Llama of about 10M and one of 50M parameters; with --gpu such of 1B and 8B.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from finetune_core.plan.resolve import Resolved
    from finetune_core.recipe.schema import Recipe

STEPS, SKIPPED, ROUNDS = 10, 3, 3
LENGTH: Final = {"cpu": 256, "cuda": 2048}
SHAPES: Final[dict[str, dict[str, Any]]] = {
    "10M": {"hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 8, "num_attention_heads": 4,
            "num_key_value_heads": 2},
    "50M": {"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 14, "num_attention_heads": 8,
            "num_key_value_heads": 4},
    "1B": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32,
           "num_key_value_heads": 8},
    "8B": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
           "num_key_value_heads": 8},
}  # fmt: skip
SCRIPT: Final = """
import json, resource, sys, time
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, TrainerCallback
from trl import SFTConfig, SFTTrainer
from peft import LoraConfig

asked = json.loads(sys.argv[1])
rows = [json.loads(line) for line in open(asked["tokens"])]
data = Dataset.from_list(rows)

class Times(TrainerCallback):
    steps = []
    def on_step_end(self, args, state, control, **_):
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.steps.append(time.perf_counter())
    def on_log(self, args, state, control, logs=None, **_):
        if logs and "loss" in logs:
            losses.append(logs["loss"])
            tokens.append(logs["num_tokens"])

losses, tokens, times = [], [], Times()
more = asked["settings"]
dtype = more.pop("dtype", None)
model = AutoModelForCausalLM.from_pretrained(asked["model"], **({"dtype": getattr(torch, dtype)} if dtype else {}))
trainer = SFTTrainer(
    model=model,
    args=SFTConfig(output_dir=asked["out"], max_steps=asked["steps"], learning_rate=1e-3, logging_steps=1, seed=7,
                   lr_scheduler_type="constant", warmup_steps=0, report_to=[], save_strategy="no", disable_tqdm=True,
                   use_cpu=not torch.cuda.is_available(), max_length=asked["length"], **more),
    train_dataset=data,
    peft_config=LoraConfig(r=16, lora_alpha=16, target_modules="all-linear"),
    callbacks=[times],
)
trainer.train()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
if torch.cuda.is_available():
    peak = torch.cuda.max_memory_allocated()
print(json.dumps({"losses": losses, "tokens": tokens, "times": times.steps, "peak": peak}))
"""


def make_model(folder: Path, shape: dict[str, Any], *, gpu: bool) -> Path:
    """A random Llama of this shape, with a tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from tests.core.worker.tiny import make_tokenizer

    tokenizer = make_tokenizer(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        **shape, vocab_size=32000 if gpu else 4096, max_position_embeddings=8192, tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, bos_token_id=None,
    )  # fmt: skip
    if not gpu:
        LlamaForCausalLM(config).save_pretrained(str(folder))
        return folder
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("cuda"):
            model = LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(usual)
    model.save_pretrained(str(folder))
    del model
    torch.cuda.empty_cache()
    return folder


def make_rows(folder: Path, length: int) -> tuple[Path, Path]:
    """Rows of plain text of mixed lengths, most far below the longest; as text, and as tokens for the script."""
    from finetune_core.data.rows import Text
    from finetune_core.worker.rows.tokenise import Encoder
    from finetune_core.worker.rows.tokenizer import load_tokenizer

    words = "red green blue black white brown apple leaf sky coal snow soil rose pine what colour is answer".split()  # noqa: SIM905
    random.seed(5)
    texts = [" ".join(random.choices(words, k=max(8, int(random.lognormvariate(3, 0.7))))) for _ in range(400)]
    encoder = Encoder(load_tokenizer(folder), "all")
    encoded = [encoder.encode(Text(number, text)).input_ids[:length] for number, text in enumerate(texts, 1)]
    rows, tokens = folder / "rows.jsonl", folder / "tokens.jsonl"
    rows.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    tokens.write_text("".join(json.dumps({"input_ids": ids, "labels": ids}) + "\n" for ids in encoded))
    return rows, tokens


def script(folder: Path, tokens: Path, length: int, settings: dict[str, Any]) -> dict[str, Any]:
    """One run of the plain script."""
    asked = {"model": str(folder), "tokens": str(tokens), "out": str(folder / "out"), "length": length,
             "steps": STEPS, "settings": settings}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(asked)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def prepared(folder: Path, rows: Path, length: int, layout: dict[str, Any]) -> Resolved:
    """The recipe of this program's run, without samples, evaluations and checkpoints in between, and its plan."""
    from finetune_core.plan.prepare import prepare
    from finetune_core.recipe.check import with_values
    from finetune_core.recipe.schema import Recipe

    values: dict[str, object] = {
        "model.source": str(folder), "data.source": str(rows), "data.held_out_share": 0.0, "data.max_length": length,
        "data.train_on": "all", "training.max_steps": STEPS, "training.learning_rate": 1e-3, "training.seed": 7,
        "training.schedule": "constant", "training.warmup": 0.0, "samples.count": 0, "evaluation.questions": 0,
        "saving.every_steps": 10_000, "adapter.rank": 16, "adapter.alpha": 16.0, **layout,
    }  # fmt: skip
    return prepare(with_values(Recipe(), values))


def worker(recipe: Recipe) -> dict[str, Any]:
    """One run of this program's worker."""
    from finetune_core.runs.journal import Tail
    from finetune_core.runs.start.launch import environment
    from finetune_core.runs.upkeep.lifecycle import create

    run = create(recipe, {})
    command = [sys.executable, "-P", "-m", "finetune_core.worker.train", str(run.path)]
    done = subprocess.run(command, env=environment(recipe), check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    steps = [event for event in Tail(run.events_file).read() if event["kind"] == "step"]
    memory = max(step["memory"]["peak"] or 0 for step in steps)
    return {
        "losses": [step["loss"] for step in steps],
        "tokens": [step["tokens"] for step in steps],
        "times": [step["mono"] for step in steps],
        "peak": memory,
    }


def rate(found: dict[str, Any]) -> float:
    """Real tokens a second from the end of the first few steps on."""
    times, tokens = found["times"], found["tokens"]
    return float((tokens[-1] - tokens[SKIPPED - 1]) / (times[-1] - times[SKIPPED - 1]))


def limit(folder: Path, length: float, *, gpu: bool) -> float:
    """Tokens a second that the device's arithmetic allows: its rate for large products over what a token needs."""
    import torch

    from finetune_core.models.inspect import inspect_folder
    from finetune_core.plan.memory.sizes import sizes
    from finetune_core.plan.speed.estimate import useful_flops
    from finetune_core.recipe.schema import Recipe

    device, dtype = ("cuda", torch.bfloat16) if gpu else ("cpu", torch.float32)
    size = 8192 if gpu else 2048
    one, other = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    seconds = []
    for _ in range(8):
        begun = time.perf_counter()
        product = one @ other
        float(product[0, 0])
        seconds.append(time.perf_counter() - begun)
    shape = sizes(inspect_folder(folder, source="model", kind="folder"), Recipe(), device)
    assert shape is not None
    return 2 * size**3 / min(seconds) / useful_flops(shape, length)


def compare(name: str, folder: Path, *, gpu: bool, rounds: int) -> dict[str, Any]:
    """All three ways in turns; the table of one model."""
    device = "cuda" if gpu else "cpu"
    length = LENGTH[device]
    make_model(folder, SHAPES[name], gpu=gpu)
    rows, tokens = make_rows(folder, length)
    batch = 4
    tuned: dict[str, Any] = {
        "packing": True, "packing_strategy": "bfd", "gradient_checkpointing": False,
        "per_device_train_batch_size": batch, "bf16": gpu, "dtype": "bfloat16" if gpu else "float32",
    }  # fmt: skip
    layout: dict[str, Any] = {
        "training.micro_batch": batch, "training.accumulation": 1, "training.activation_checkpointing": False,
        "data.packing": "bfd",
    }  # fmt: skip
    ways = {
        # What TRL does when nothing is said: padded rows, checkpointing, 8 rows at once.
        "TRL defaults": lambda: script(folder, tokens, length, {}),
        "TRL tuned": lambda: script(folder, tokens, length, dict(tuned)),
        "worker": lambda: worker(prepared(folder, rows, length, layout).recipe),
    }
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, call in ways.items():
            found[way].append(call())
    rates = {way: statistics.median(map(rate, runs)) for way, runs in found.items()}
    lengths = [len(json.loads(line)["input_ids"]) for line in tokens.read_text().splitlines()]
    most = limit(folder, sum(one * one for one in lengths) / sum(lengths), gpu=gpu)
    pairs = zip(found["worker"][0]["losses"], found["TRL tuned"][0]["losses"], strict=True)
    apart = max(abs(ours - theirs) for ours, theirs in pairs)
    for way, value in rates.items():
        peak = min(run["peak"] for run in found[way]) / 2**30
        print(f"{name:5} {way:13} {value:9,.0f} tokens/s  {value / rates['TRL tuned']:5.2f}  "
              f"{value / most:5.2f} of the limit  peak {peak:6.2f} GiB")  # fmt: skip
    print(f"{name:5} losses of worker and tuned script differ by {apart:.2g} at most")
    return {"model": name, "tokens_per_s": rates, "limit": most, "loss_difference": apart, "runs": found}


def main() -> None:
    """Compare on each model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpu", action="store_true", help="models of 1B and 8B on the GPU")
    parser.add_argument("--models", nargs="+", choices=list(SHAPES))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    names = chosen.models or (["1B", "8B"] if chosen.gpu else ["10M", "50M"])
    results = []
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["FT_TUI_HOME"] = str(Path(folder) / "home")
            model = Path(folder) / "model"
            for made in (Path(os.environ["FT_TUI_HOME"]), model):
                made.mkdir()
            results.append(compare(name, model, gpu=chosen.gpu, rounds=chosen.rounds))
    if chosen.json:
        chosen.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    main()
