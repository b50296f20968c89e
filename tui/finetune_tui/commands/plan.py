"""`ft-tui plan`: whether a recipe fits, how long it takes and what was chosen for it, before anything is started."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from finetune_core.errors import FtError, problem
from finetune_core.text import count_text, counted, duration_text, memory_text, one_line, plural
from finetune_tui.commands import output
from finetune_tui.commands.common import GPU_HELP, as_json, asked_gpu, assignments, counter, examples

if TYPE_CHECKING:
    from finetune_core.hardware.look import Hardware
    from finetune_core.plan.resolve import Resolved
    from finetune_core.recipe.read_recipe import Given


@click.command(
    "plan",
    epilog=examples(
        "ft-tui plan mine.yaml",
        "ft-tui plan mine.yaml --gpu 4090",
        "ft-tui plan mine.yaml --gpu 24GB --set adapter.rank=64",
        "ft-tui plan mine.yaml --probe --json > plan.json",
    ),
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--gpu", help=f"Plan for {GPU_HELP} instead of the one that is here.")
@click.option("--trace", is_flag=True, help="Trace a training step without weights: exact for any architecture.")
@click.option("--probe", is_flag=True, help="Load the model and measure the longest batch on the device.")
@assignments
@as_json
def plan(*, file: Path, gpu: str | None, trace: bool, probe: bool, assignments: tuple[str, ...], as_json: bool) -> None:
    """Report memory, speed, duration and every automatic choice of the recipe in FILE. Nothing is trained."""
    from finetune_core.plan.count import count_of
    from finetune_core.plan.look_up import look_up
    from finetune_core.plan.memory.estimate import exact
    from finetune_core.plan.prepare import prepare
    from finetune_core.plan.report import plan_data
    from finetune_core.recipe.read import read

    if gpu is not None and probe:
        raise problem(
            "a GPU that is not here cannot be measured",
            where="--probe",
            why="--gpu plans for a GPU by its name or size",
            remedy="leave out one of them",
        )
    given, hardware = read(file, assignments), None
    if gpu is not None:
        given, hardware = _elsewhere(given, gpu)
    look_up(given, output.words)
    tokens = count_of(given, counter("rows counted in tokens"))
    prepared = prepare(given, counted=tokens, hardware=hardware, to_run=False)
    unknown = prepared.model.path is not None and not exact(prepared.model)
    traced, untraced = _traced(prepared) if trace or unknown else (None, None)
    measured = _measured(prepared) if probe else None
    if measured is not None:
        # Speed, duration and cost follow from what was measured.
        prepared = prepare(given, counted=tokens, hardware=prepared.hardware, to_run=False)
    found: dict[str, Any] = {**plan_data(prepared, traced), "measured": measured}
    if as_json:
        output.data_json(found)
    else:
        for line in _lines(found, prepared):
            output.data(line)
    output.show_problems((*prepared.warnings, *(untraced.problems if untraced else ())), kind="warning")


def _elsewhere(given: Given, gpu: str) -> tuple[Given, Hardware]:
    """The recipe for a machine with that GPU, whatever device it names here; and that machine. Raises FtError."""
    from dataclasses import replace

    from finetune_core.hardware.elsewhere import hardware_elsewhere
    from finetune_core.recipe.check import with_values

    hardware, asked = hardware_elsewhere(asked_gpu(gpu)), given.recipe.hardware
    if asked.device == "cpu" or asked.gpus:
        output.words("Planned for the GPU that --gpu names: hardware.device and hardware.gpus are left aside.")
    recipe = with_values(given.recipe, {"hardware.device": "auto", "hardware.gpus": []})
    return replace(given, recipe=recipe), hardware


def _traced(prepared: Resolved) -> tuple[Any, FtError | None]:
    from finetune_core.plan.memory.traced import traced

    output.words("tracing a step ...")
    now = prepared.situation
    try:
        return traced(prepared.model, prepared.recipe, now.device), None
    except FtError as error:
        return None, error


def _measured(prepared: Resolved) -> dict[str, Any]:
    from finetune_core.runs.start.preflight import preflight

    return preflight(prepared.recipe, lambda phase: output.words(f"{phase} ..."))


def _lines(found: dict[str, Any], prepared: Resolved) -> list[str]:
    from finetune_core.plan.report import rows_words

    now = prepared.situation
    where = ", ".join(gpu.name for gpu in now.gpus) or f"the CPU, {now.hardware.host.cores} cores"
    lines = [f"{one_line(prepared.model.source, 200)} on {one_line(where, 200)}", ""]
    if rows := rows_words(prepared):
        lines.append(f"rows       {rows}")
    lines += _memory_lines(found["memory"], found["measured"])
    lines += _speed_lines(found)
    lines += ["", "chosen automatically:"]
    for made in found["choices"]:
        lines.append(f"  {made['field']}: {_value(made['value'])}")
        lines.append(f"      {one_line(made['reason'], 400)}")
        lines += [f"      or {_alternative(other)}" for other in made["alternatives"]]
    return lines


def _memory_lines(memory: dict[str, Any] | None, measured: dict[str, Any] | None) -> list[str]:
    if memory is None:
        return ["memory     unknown until the model is on this machine"]
    verdict, method = "fits" if memory["fits"] else "does not fit", memory["method"]
    if memory["tight"]:
        verdict = "tight"
    parts = [f"{name} {memory_text(size)}" for name, size in memory["parts"].items() if size]
    shown = [", ".join(some) for some in (parts[:4], parts[4:]) if some]
    lines = [
        f"memory     {memory_text(memory['total'])} of {memory_text(memory['free_bytes'])} free: {verdict} ({method})",
        *(f"           {some}," for some in shown[:-1]),
        f"           {shown[-1]}",
        f"           for {memory['basis']}",
    ]
    if measured is not None:
        on_gpu = measured["reserved"] is not None
        predicted = memory_text(memory["peak_bytes"] if on_gpu else memory["total"])
        what = "of tensors" if on_gpu else "of the process"
        lines.append(f"measured   {memory_text(measured['peak'])} {what}, predicted {predicted}")
        lines.append(f"           {measured['tokens_per_s']:,.0f} tokens/s on the longest batch")
    return lines


def _speed_lines(found: dict[str, Any]) -> list[str]:
    from finetune_core.plan.report import packing_words

    speed, seconds, cost = found["speed"], found["duration_s"], found["cost"]
    if speed is None:
        return ["speed      unknown for this device or model"]
    rate = speed["tokens_per_s"]
    lines = [
        f"speed      about {rate['mid']:,.0f} tokens/s ({rate['low']:,.0f} to {rate['high']:,.0f}, {speed['method']})",
        f"           of {speed['limit_tokens_per_s']:,.0f} that the arithmetic allows",
    ]
    if found["steps"] is not None and speed["tokens"] is not None:
        steps = found["steps"]
        about, tokens = ("", "") if found["counted"] else ("about ", "about ")
        each = counted(steps["effective_batch"], "sequence")
        lines.append(
            f"{plural(steps['total'], 'step'):<11}{about}{steps['total']:,} of {each} over {tokens}"
            f"{count_text(speed['tokens'])} tokens"
        )
    if saved := packing_words(found["packing_gain"]):
        lines.append(f"packing    {saved.removeprefix('packing ')}")
    if seconds is not None:
        low, mid, high = (duration_text(seconds[name]) for name in ("low", "mid", "high"))
        lines.append(f"duration   about {mid} ({low} to {high})")
    if found["energy_kwh"] is not None:
        lines.append(f"energy     about {found['energy_kwh']['mid']:.2g} kWh")
    if cost is not None:
        lines.append(f"cost       about {cost['mid']:.2f} ({cost['low']:.2f} to {cost['high']:.2f})")
    return lines


def _alternative(other: dict[str, Any]) -> str:
    fits = "" if other["fits"] else ", does not fit"
    return f"{_value(other['value'])}: {memory_text(other['memory_bytes'])}, {other['time']:.2f} x the time{fits}"


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return one_line(f"{value:g}" if isinstance(value, float) else str(value), 100)
