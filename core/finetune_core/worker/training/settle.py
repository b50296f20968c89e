"""The recipe settled: what was on auto is filled once the rows are counted, before anything is built from it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Final

from finetune_core.files import write_atomic
from finetune_core.hardware.look import look
from finetune_core.plan.report import plan_data
from finetune_core.plan.resolve import Resolved, completed, resolve
from finetune_core.plan.settling import SETTLE, settle, to_settle
from finetune_core.plan.situation import DataFacts
from finetune_core.recipe.schema import GUIDES, Recipe
from finetune_core.recipe.yaml_io import dump
from finetune_core.runs.directory import RunDir, read_plan
from finetune_core.runs.events import SettledEvent
from finetune_core.worker.report import Reporter
from finetune_core.worker.rows.inputs import Base

# Warnings of these fields are drawn anew from the counted rows; those of files stay as they were.
_DRAWN_ANEW: Final = frozenset(
    {"hardware.gpus", "hardware.device", "adapter.rank", "data.held_out_share", "evaluation.questions"}
)


def settled(recipe: Recipe, base: Base, data: DataFacts, reporter: Reporter) -> Recipe:
    """The recipe the run trains with; with open fields it is resolved from the rows, written down and reported, once.

    recipe.yaml is written before plan.json says that nothing is open: a run that is broken off in between comes to
    the same values when it goes on.
    """
    run = reporter.run
    plan = read_plan(run)
    fields = to_settle(plan)
    if fields is None:
        return recipe
    found = settle(recipe, plan, base.facts, data, look())
    # Where memory ran out before, it was parts of a batch that nobody had chosen yet that were made smaller.
    run.adapted_file.unlink(missing_ok=True)
    if found.recipe != recipe:
        write_atomic(run.recipe_file, dump(found.recipe))
    _keep(run, plan, found)
    reporter.event(SettledEvent(fields={field: found.recipe.get(field) for field in fields}, **_steps(found)))
    reporter.log("settled from the rows: " + ", ".join(f"{field} {found.recipe.get(field)}" for field in fields))
    return found.recipe


def settled_again(recipe: Recipe, base: Base, data: DataFacts, reporter: Reporter) -> Recipe:
    """A recipe that trying the model has changed, written down and reported with the steps it now comes to."""
    found = completed(resolve(recipe, look(), base.facts, data))
    reasons = {**recipe.reasons, **found.recipe.reasons}
    found = replace(found, recipe=found.recipe.model_copy(update={"reasons": reasons}))
    before = read_plan(reporter.run)
    choices = [_as_now(made, found.recipe) for made in before.get("choices") or [] if isinstance(made, dict)]
    write_atomic(reporter.run.recipe_file, dump(found.recipe))
    _keep(reporter.run, before, found, choices)
    reporter.event(SettledEvent(fields={"data.packing": found.recipe.data.packing}, **_steps(found)))
    return found.recipe


def _as_now(made: dict[str, Any], recipe: Recipe) -> dict[str, Any]:
    """A choice of the plan, with the recipe's value and reason where that is another now."""
    field = made.get("field")
    if not isinstance(field, str) or field not in GUIDES or recipe.get(field) == made.get("value"):
        return made
    return {"field": field, "value": recipe.get(field), "reason": recipe.reasons.get(field, ""), "alternatives": []}


def _keep(run: RunDir, before: dict[str, Any], found: Resolved, choices: list[dict[str, Any]] | None = None) -> None:
    """plan.json as it is now that the rows are counted; what else stands in it stays."""
    plan = plan_data(found)
    if choices is not None:
        plan["choices"] = choices
    known = [one for one in before.get("warnings") or [] if isinstance(one, dict)]
    said = [one["what"] for one in plan["warnings"]]
    kept = [one for one in known if one.get("where") not in _DRAWN_ANEW and one.get("what") not in said]
    rest = {name: value for name, value in before.items() if name != SETTLE}
    write_atomic(run.plan_file, json.dumps({**rest, **plan, "warnings": [*plan["warnings"], *kept]}, indent=1))


def _steps(found: Resolved) -> dict[str, Any]:
    steps = found.steps
    return {} if steps is None else {"total_steps": steps.total, "sequences": steps.sequences, "rows": steps.rows}
