"""`ft-tui models`: what one can tune here, and on what it fits."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from finetune_core.text import count_text, memory_text, one_line
from finetune_tui.commands import output
from finetune_tui.commands.common import GPU_HELP, as_json, asked_gpu, examples
from finetune_tui.commands.model_cache import login_command, remove_command, show_downloaded

if TYPE_CHECKING:
    from finetune_core.hardware.look import Gpu, Hardware
    from finetune_core.models.facts import ModelFacts
    from finetune_core.plan.advice.fits import Verdict


@click.group(
    "models",
    invoke_without_command=True,
    epilog=examples(
        "ft-tui models",
        "ft-tui models --gpu 4090",
        "ft-tui models --gpu 24GB",
        "ft-tui models --downloaded",
        "ft-tui models remove Qwen/Qwen3-0.6B",
    ),
)
@click.option("--gpu", help=f"Judge for {GPU_HELP} instead of the one that is here.")
@click.option("--downloaded", is_flag=True, help="Only what was downloaded, with its size, and the disk it lies on.")
@as_json
@click.pass_context
def models(ctx: click.Context, *, gpu: str | None, downloaded: bool, as_json: bool) -> None:
    """List models worth tuning and those on this machine, and what fits: full fine-tuning, LoRA, QLoRA.

    `remove` takes a downloaded one away, `login` keeps a token of the hub for gated ones.
    """
    if ctx.invoked_subcommand is not None:
        return
    if downloaded:
        show_downloaded(as_json=as_json)
    else:
        _list(gpu, as_json=as_json)


models.add_command(remove_command)
models.add_command(login_command)


def _list(gpu: str | None, *, as_json: bool) -> None:
    from finetune_core.models.catalogue import provenance

    hardware, card, where = _place(gpu)
    free, device = (hardware.host.memory_available, "cpu") if card is None else (card.memory_free, "cuda")
    rows = _judged(free, card)
    source, date = provenance()
    if as_json:
        output.data_json(
            {
                "memory_bytes": free,
                "device": device,
                "source": source,
                "as_of": date,
                "models": [_data(model, found, hardware, card) for model, found in rows],
            }
        )
        return
    head = ("model", "params", "here", "full", "LoRA", "QLoRA")
    output.data(output.table(head, [_row(model, found) for model, found in rows]))
    output.words(f"Judged for {where}, {memory_text(free)} free. 32k: fits, rows of up to 32k tokens;")
    output.words("~2k: tightly; -12G: 12 GiB are missing; *: the hub asks for your consent first.")
    if known := _rates(card):
        output.words(known)
    output.words(f"The catalogue is of {date}; any other folder or hub id can be tuned too.")


def _place(gpu: str | None) -> tuple[Hardware, Gpu | None, str]:
    """The machine that is judged for, its GPU (None: its CPU), and the name of that."""
    from finetune_core.hardware.elsewhere import hardware_elsewhere
    from finetune_core.hardware.look import look

    if gpu is not None:
        asked = asked_gpu(gpu)
        return hardware_elsewhere(asked), asked, asked.name
    found = look()
    if found.gpus:
        freest = max(found.gpus, key=lambda one: one.memory_free)
        return found, freest, f"GPU {freest.index} ({one_line(freest.name, 40)})"
    return found, None, "training on the CPU (--gpu judges for a GPU)"


def _rates(gpu: Gpu | None) -> str:
    """What the card's speed is reckoned from, in words; empty where the card is unknown."""
    from finetune_core.hardware.card_names import card_of

    card = card_of(gpu.name, gpu.memory_total) if gpu is not None else None
    if card is None:
        return ""
    return f"It computes {card.tflops:g} TFLOP/s and moves {card.bandwidth:,} GB/s; --json has tokens a second."


def _judged(free: int, gpu: Gpu | None) -> list[tuple[ModelFacts, tuple[Verdict, ...]]]:
    """Models on this machine and of the catalogue: what fits best first."""
    from finetune_core.models.catalogue import catalogue
    from finetune_core.models.find import list_models
    from finetune_core.plan.advice.fits import order, verdicts

    here = [model for model in list_models((Path.cwd(),)) if model.problem is None]
    known = {model.source for model in here}
    offered = [*here, *(model for model in catalogue() if model.source not in known)]
    device, bfloat16 = ("cpu", True) if gpu is None else ("cuda", gpu.bf16)
    found = [(model, verdicts(model, free, device, bfloat16=bfloat16)) for model in offered]
    return sorted(found, key=lambda row: order(row[0], row[1], device))


def _data(model: ModelFacts, found: tuple[Verdict, ...], hardware: Hardware, gpu: Gpu | None) -> dict[str, Any]:
    from finetune_core.models.catalogue import family
    from finetune_core.plan.advice.method_speed import method_speed

    facts = asdict(model)
    facts.pop("modules")
    judged = {one.method: {**asdict(one), "tokens_per_s": method_speed(model, one, hardware, gpu)} for one in found}
    return {**facts, "family": family(model.source), "verdicts": judged}


def _row(model: ModelFacts, found: tuple[Verdict, ...]) -> tuple[str, ...]:
    name = one_line(model.source, 42) + (" *" if model.gated else "")
    cells = {verdict.method: verdict.words for verdict in found}
    size = count_text(model.parameters) if model.parameters else "?"
    here = "yes" if model.kind != "hub" else ""
    return (name, size, here, *(cells.get(method, "?") for method in ("full", "lora", "qlora")))
