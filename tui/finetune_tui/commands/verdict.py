"""The command that says whether a run's result is better than its base, to people and to scripts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from finetune_tui.commands import output
from finetune_tui.commands.common import as_json, examples, run_argument

if TYPE_CHECKING:
    from finetune_core.runs.view.run_view import RunView


@click.command(
    epilog="""\b
Exit codes with --require:
  0  met
  1  not met: not better, worse or not usable
  4  cannot tell: too few rows, or no verdict

"""
    + examples(
        "ft-tui verdict",
        "ft-tui verdict 20260131-14 --require better && ./deploy.sh",
        "ft-tui verdict --json | jq .measures",
    )
)
@run_argument
@click.option("--require", type=click.Choice(["better"]), help="End with 0 only where the result is that.")
@as_json
@click.pass_context
def verdict(ctx: click.Context, *, run: str | None, require: str | None, as_json: bool) -> None:
    """Show whether the result is better than the base.

    It is better, not better, worse, not usable, or there are too few rows to tell; each with its reason, the figures
    of both models on the held-out rows, and what to change next.
    """
    from finetune_core.runs.directory import find_run
    from finetune_core.runs.view.damage import damage
    from finetune_core.runs.view.run_view import RunView
    from finetune_core.runs.view.verdict import meets_better

    view = RunView(find_run(run))
    view.poll()
    view.damage = damage(view)
    for found in view.damage:
        output.words(f"damaged: {found}")
    met = meets_better(view.verdict)
    if as_json:
        known = view.to_dict()["verdict"] or {}
        output.data_json({"run": view.run.name, "state": view.state, "required": require, "met": met, **known})
    else:
        output.data("\n".join(_lines(view)))
    ctx.exit(_code(met if require else view.verdict is not None or None))


def _code(met: bool | None) -> int:  # noqa: FBT001 - one caller
    return output.CANNOT_TELL if met is None else output.FINE if met else output.NOT_MET


def _lines(view: RunView) -> list[str]:
    from finetune_core.runs.view.verdict import outcome_of, words_of
    from finetune_tui.commands.plain import next_lines
    from finetune_tui.run_words import state_words

    found = view.verdict
    if found is None:
        return [f"{view.run.name}: no verdict ({state_words(view.state)})"]
    lines = [f"{view.run.name}: {outcome_of(found) or 'judged by an earlier version'}", words_of(found)]
    measures = found.get("measures")
    rows = [_row(one) for one in measures if isinstance(one, Mapping)] if isinstance(measures, list) else []
    if rows:
        head = ("", "base", "95 % interval", "tuned", "95 % interval", "change, 95 % interval", "chance")
        lines += ["", output.table(head, rows)]
    return [*lines, *([""] if next_lines(found) else []), *next_lines(found)]


def _row(measure: Mapping[str, Any]) -> tuple[str, ...]:
    """One measure: figures of both models with their intervals, and how likely chance brings such a change."""
    from finetune_core.evaluation.measure_names import measure_name
    from finetune_core.runs.journal import number
    from finetune_core.text import one_line

    name = str(measure.get("name"))
    chance = number(measure.get("p_corrected"))
    return (
        one_line(measure_name(name).title, 40),
        _figure(name, measure.get("base")),
        _interval(name, measure.get("base_interval")),
        _figure(name, measure.get("tuned")),
        _interval(name, measure.get("tuned_interval")),
        _interval(name, measure.get("change_interval"), " to "),
        "" if chance is None else f"{chance:.2g}",
    )


def _interval(name: str, ends: object, between: str = "-") -> str:
    return between.join(_figure(name, end) for end in ends) if isinstance(ends, list | tuple) else ""


def _figure(name: str, value: object) -> str:
    from finetune_core.evaluation.measure_names import measure_name
    from finetune_core.runs.journal import number

    figure = number(value)
    if figure is None:
        return "-"
    return f"{figure:.1%}" if measure_name(name).is_share else f"{figure:.4f}"
