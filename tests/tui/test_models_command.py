from __future__ import annotations

import json
from typing import Any

from click.testing import CliRunner, Result

from finetune_tui.cli import cli


def ft(*words: str) -> Result:
    return CliRunner().invoke(cli, ["models", *words])


def test_what_fits_best_comes_first_and_each_says_what_fits() -> None:
    result = ft("--gpu", "24GB", "--json")
    assert result.exit_code == 0
    found: dict[str, Any] = json.loads(result.stdout)
    assert (found["memory_bytes"], found["device"]) == (24 * 2**30, "cuda")
    fits = [
        max(("no", "tight", "room").index(one["fit"]) for one in row["verdicts"].values()) for row in found["models"]
    ]
    assert fits == sorted(fits, reverse=True)
    by_name = {row["source"]: row for row in found["models"]}
    assert by_name["demo"]["kind"] == "demo"
    llama = by_name["meta-llama/Llama-3.1-8B-Instruct"]
    assert (llama["gated"], llama["family"], llama["licence"]) == (True, "Llama 3", "llama3.1")
    assert llama["verdicts"]["full"]["over"] > 0
    assert llama["verdicts"]["lora"]["length"] >= 4096


def test_the_table_fits_80_columns_and_says_what_it_was_judged_for() -> None:
    result = ft("--gpu", "24GB")
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "24.0 GiB free" in result.stderr
    assert "Qwen/Qwen3-8B" in result.stdout


def test_a_card_by_its_name_is_judged_with_its_memory_and_speed() -> None:
    words = ft("--gpu", "4080").stderr
    assert "taken for the RTX 4080" in words
    assert "97.5 TFLOP/s" in words
    fast, slow = (json.loads(ft("--gpu", name, "--json").stdout)["models"] for name in ("H100", "3090"))
    rates = [
        next(row for row in found if row["source"] == "meta-llama/Llama-3.1-8B-Instruct")["verdicts"]
        for found in (fast, slow)
    ]
    assert rates[0]["lora"]["tokens_per_s"] > 4 * rates[1]["lora"]["tokens_per_s"] > 1000
    assert rates[1]["full"]["tokens_per_s"] is None, "it does not fit"


def test_without_a_gpu_it_judges_for_the_cpu_and_a_bad_size_is_refused() -> None:
    assert "on the CPU" in ft().stderr
    refused = ft("--gpu", "lots")
    assert refused.exit_code == 2
    assert "no size" in refused.stderr


def test_a_card_without_bfloat16_is_judged_in_the_format_it_would_train_in() -> None:
    found = {
        gpu: {row["source"]: row["verdicts"] for row in json.loads(ft("--gpu", gpu, "--json").stdout)["models"]}
        for gpu in ("t4", "l4")
    }
    gemma, llama = "google/gemma-3-1b-it", "meta-llama/Llama-3.2-1B-Instruct"
    assert found["t4"][gemma]["full"]["over"] > 0, "float32: in float16 it overflows"
    assert found["l4"][gemma]["full"]["over"] == 0
    assert found["t4"][gemma]["lora"]["tokens_per_s"] < found["t4"][llama]["lora"]["tokens_per_s"] / 2
