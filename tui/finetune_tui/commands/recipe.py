"""Commands about recipes: write one, check one, show one."""

from __future__ import annotations

from pathlib import Path

import click

from finetune_core.errors import FtError, Problem, problem
from finetune_core.text import counted
from finetune_tui.commands import output
from finetune_tui.commands.common import as_json, assignments, examples

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group("recipe")
def recipe_group() -> None:
    """Write, check and show recipes: one YAML file describes a run."""


@recipe_group.command(
    epilog=examples(
        "ft-tui recipe new mine.yaml --set model.source=./Qwen3-0.6B --set data.source=rows.jsonl",
        "ft-tui recipe new demo.yaml --demo",
    )
)
@click.argument("file", type=_FILE)
@click.option("--demo", is_flag=True, help="Begin with the settings of the demo.")
@click.option("--force", is_flag=True, help="Replace the file where it exists.")
@assignments
@as_json
def new(*, file: Path, demo: bool, force: bool, assignments: tuple[str, ...], as_json: bool) -> None:
    """Write a recipe to FILE: every setting with its help; `auto` is chosen when the run starts."""
    from finetune_core import demo as shipped
    from finetune_core.recipe.check import parse_assignments, with_values
    from finetune_core.recipe.schema import Recipe
    from finetune_core.recipe.yaml_io import save

    if file.exists() and not force:
        raise problem(
            "the file exists", where=str(file), why="it would be replaced", remedy="choose another name, or add --force"
        )
    values = {**(shipped.recipe_values() if demo else {}), **parse_assignments(assignments)}
    try:
        save(with_values(Recipe(), values), file)
    except OSError as error:
        raise problem(
            "the file cannot be written",
            where=str(file),
            why=error.strerror or str(error),
            remedy="check the folder and its rights",
        ) from error
    if as_json:
        output.data_json({"file": str(file)})
        return
    output.data(str(file))
    output.words(f"Edit it, check it with `ft-tui recipe check {file}`, train with `ft-tui train {file}`.")


@recipe_group.command(epilog=examples("ft-tui recipe check mine.yaml", "ft-tui recipe check mine.yaml --json"))
@click.argument("file", type=_FILE)
@assignments
@as_json
@click.pass_context
def check(ctx: click.Context, *, file: Path, assignments: tuple[str, ...], as_json: bool) -> None:
    """Check FILE, its model and its data, and report every problem at once. Nothing is started."""
    warnings: tuple[Problem, ...] = ()
    problems: tuple[Problem, ...] = ()
    try:
        warnings = _prepared_warnings(file, assignments)
    except FtError as error:
        problems = error.problems
    problems += _home_problems()
    if as_json:
        found = {"errors": problems, "warnings": warnings}
        output.data_json({"ok": not problems, **{kind: [vars(one) for one in some] for kind, some in found.items()}})
    else:
        output.show_problems(warnings, kind="warning")
        output.show_problems(problems)
        errors = f"{counted(len(problems), 'error')}"
        output.words(f"{file}: {errors}, {counted(len(warnings), 'warning')}")
    ctx.exit(output.WRONG_USE if problems else output.FINE)


def _home_problems() -> tuple[Problem, ...]:
    """Why no run of any recipe could be made here."""
    from finetune_core.paths import require_writable, runs_root

    try:
        require_writable(runs_root())
    except FtError as error:
        return error.problems
    return ()


def _prepared_warnings(file: Path, assignments: tuple[str, ...]) -> tuple[Problem, ...]:
    from finetune_core.plan.prepare import prepare
    from finetune_core.recipe.read import read

    return prepare(read(file, assignments)).warnings


@recipe_group.command(
    epilog=examples("ft-tui recipe show mine.yaml --resolve", "ft-tui recipe show 20260131-14 > again.yaml")
)
@click.argument("source", metavar="FILE|RUN")
@click.option("--resolve", is_flag=True, help="Fill in what is automatic, with the reasons, for this machine.")
@assignments
@as_json
def show(*, source: str, resolve: bool, assignments: tuple[str, ...], as_json: bool) -> None:
    """Print the recipe in a file, or the one a run was started with."""
    from finetune_core.plan.count import count_of
    from finetune_core.plan.prepare import prepare
    from finetune_core.recipe.read import read
    from finetune_core.recipe.yaml_io import dump
    from finetune_core.runs.directory import find_run

    file = (
        Path(source) if Path(source).is_file() or source.endswith((".yaml", ".yml")) else find_run(source).recipe_file
    )
    given = read(file, assignments)
    recipe = prepare(given, counted=count_of(given)).recipe if resolve else given.whole()
    if as_json:
        output.data_json(recipe.model_dump(mode="json"))
    else:
        output.data(dump(recipe).rstrip("\n"))
