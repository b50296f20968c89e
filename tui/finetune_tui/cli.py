"""The command line. Nothing heavy is imported before a command runs, so that `--help` answers at once."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from finetune_core import __version__
from finetune_tui.commands import interrupts, output
from finetune_tui.commands.common import (
    Commands,
    Settings,
    as_json,
    assignments,
    counter,
    examples,
    mouse_of,
    queueing,
    run_argument,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from finetune_core.plan.resolve import Resolved
    from finetune_core.recipe.read_recipe import Given
    from finetune_core.recipe.schema import Recipe
    from finetune_core.runs.directory import RunDir

_EPILOG = """\b
RUN is the name of a run, any unique beginning of it, or nothing for the latest run.

\b
Exit codes:
  0    fine
  1    verdict --require: not met; data check: rows have errors
  2    wrong use, or a recipe or run that cannot be used
  3    the run failed
  4    verdict: cannot tell
  74   the output cannot be written
  75   the run was preempted: it sealed a checkpoint, and `ft-tui resume` goes on
  130  interrupted (a run goes on)

\b
Environment:
  FT_TUI_HOME      folder of all runs, drafts and settings
  NO_COLOR         no colours
  HF_HUB_OFFLINE   1 never asks the model hub

\b
Examples:
  ft-tui                        set up a run, or look at one
  ft-tui demo                   see the whole way in a minute
  ft-tui train recipe.yaml      train; the run outlives this terminal
  ft-tui attach                 look at the latest run again"""


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_EPILOG,
)
@click.version_option(__version__, "--version", prog_name="ft-tui")
@click.option("--no-mouse", is_flag=True, help="Leave the mouse to the terminal; every key works the same.")
@click.pass_context
def cli(ctx: click.Context, *, no_mouse: bool) -> None:
    """Fine-tune a language model from a terminal.

    Without a command: the app, with the list of runs. A run is a process of its own: it goes on when the terminal is
    closed, and can be looked at again from anywhere.
    """
    ctx.obj = Settings(mouse=not no_mouse)
    if ctx.invoked_subcommand is None:
        _show_app(ctx)


@cli.command(epilog=examples("ft-tui demo", "ft-tui demo --plain", "ft-tui demo --plain --json --qlora"))
@click.option("--plain", is_flag=True, help="Run it at once, with lines of text instead of the app.")
@click.option("--qlora", is_flag=True, help="Compress the frozen base to 4 bits (NF4) while training.")
@as_json
@click.pass_context
def demo(ctx: click.Context, *, plain: bool, qlora: bool, as_json: bool) -> None:
    """See the whole way in a minute, with a small model.

    It ships with the program: its base answers questions in sentences, and 400 rows teach it to answer as JSON. Opens
    the wizard, filled in. Without a terminal, or with --plain or --json, it trains at once and ends with base and
    tuned model compared.
    """
    from finetune_core import demo as shipped
    from finetune_core.recipe.check import with_values
    from finetune_core.recipe.schema import Recipe

    values = dict(shipped.recipe_values()) | ({"quantization.method": "nf4"} if qlora else {})
    recipe = with_values(Recipe(), values)
    if plain or as_json or _no_app():
        _train_plain(ctx, recipe, as_json=as_json)
    else:
        _show_app(ctx, "wizard", recipe=recipe)


@cli.command(
    epilog=examples(
        "ft-tui train recipe.yaml",
        "ft-tui train recipe.yaml --detach",
        "ft-tui train recipe.yaml --plain --set training.epochs=1 --set adapter.rank=32",
    )
)
@click.argument("recipe", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--plain", is_flag=True, help="Follow with lines of text instead of the app.")
@click.option("--detach", is_flag=True, help="Start the run, print its name, and leave.")
@queueing
@assignments
@as_json
@click.pass_context
def train(
    ctx: click.Context,
    *,
    recipe: Path,
    plain: bool,
    detach: bool,
    queue: bool,
    assignments: tuple[str, ...],
    as_json: bool,
) -> None:
    """Train as a recipe says, and follow the run. RECIPE is a YAML file.

    Ctrl+C or a lost connection only ends the following: the run goes on, `ft-tui attach` shows it again.
    """
    from finetune_core.recipe.read import read

    chosen = read(recipe, assignments)
    if detach:
        _detach(_start(chosen, queue=queue), as_json=as_json)
    elif plain or as_json or _no_app():
        _train_plain(ctx, chosen, queue=queue, as_json=as_json)
    else:
        _show_app(ctx, "dashboard", run=_start(chosen, queue=queue))


@cli.command(epilog=examples("ft-tui attach", "ft-tui attach 20260131-14", "ft-tui attach --plain"))
@run_argument
@click.option("--plain", is_flag=True, help="Follow with lines of text instead of the app.")
@as_json
@click.pass_context
def attach(ctx: click.Context, *, run: str | None, plain: bool, as_json: bool) -> None:
    """Look at a run, live or finished, with its whole history."""
    from finetune_core.runs.directory import find_run

    found = find_run(run)
    if plain or as_json or _no_app():
        _follow(ctx, found, as_json=as_json)
    else:
        _show_app(ctx, "dashboard", run=found)


@cli.command(epilog=examples("ft-tui resume", "ft-tui resume 20260131-14 --detach"))
@run_argument
@click.option("--plain", is_flag=True, help="Follow with lines of text instead of the app.")
@click.option("--detach", is_flag=True, help="Start the run, print its name, and leave.")
@queueing
@as_json
@click.pass_context
def resume(ctx: click.Context, *, run: str | None, plain: bool, detach: bool, queue: bool, as_json: bool) -> None:
    """Go on with a run that ended early, from its last checkpoint.

    A run that was made and never started begins.
    """
    from finetune_core.runs.directory import find_run
    from finetune_core.runs.start.startable import goes_on_words
    from finetune_core.runs.view.damage import read_damage
    from finetune_tui.start import continue_run

    found = find_run(run)
    where = goes_on_words(found)
    for words in read_damage(found):
        output.words(f"damaged: {words}")

    def go_on() -> RunDir:
        with interrupts.interrupted_afterwards():
            continue_run(found, queue=queue)
            interrupts.going_on(found)
        output.words(where)
        return found

    if detach:
        _detach(go_on(), as_json=as_json)
    elif plain or as_json or _no_app():
        _start_and_follow(ctx, go_on, as_json=as_json)
    else:
        _show_app(ctx, "dashboard", run=go_on())


@cli.command(
    epilog=examples(
        "ft-tui doctor",
        "ft-tui doctor --json > report.json",
        "ft-tui doctor --bundle",
        "ft-tui doctor --bundle 20260131-14",
    )
)
@run_argument
@click.option("--bundle", is_flag=True, help="One archive for a bug report, of RUN too where it is given.")
@click.option("--to", type=click.Path(path_type=Path, dir_okay=False), help="The archive's file.")
@click.option("--yes", is_flag=True, help="Write the archive without asking.")
@as_json
def doctor(*, run: str | None, bundle: bool, to: Path | None, yes: bool, as_json: bool) -> None:
    """Report on this machine, and on what would go wrong.

    GPU, driver, the build of torch and whether it computes, versions, disk, terminal, model cache, and what would end
    a run at logout. With --bundle all of it goes into one archive, shown before it is written: no rows, no samples, no
    tokens.
    """
    from finetune_core.runs.directory import find_run
    from finetune_tui import doctor as report

    if not bundle and (run is not None or to is not None or yes):
        raise click.UsageError("RUN, --to and --yes belong to --bundle")
    if bundle:
        from finetune_tui.commands.bundle import bundle as write

        write(find_run(run) if run is not None else None, to, yes=yes, as_json=as_json)
        return
    checks = report.examine()
    if as_json:
        output.data_json(report.as_data(checks))
    else:
        output.data(report.as_text(checks))


@cli.command(
    epilog=examples(
        'eval "$(ft-tui completion bash)"        # in ~/.bashrc',
        'eval "$(ft-tui completion zsh)"         # in ~/.zshrc',
        "ft-tui completion fish > ~/.config/fish/completions/ft-tui.fish",
    )
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(*, shell: str) -> None:
    """Print what a shell needs to complete words.

    It completes commands, options, fields of the recipe and names of runs.
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(cli, {}, "ft-tui", "_FT_TUI_COMPLETE").source())


def _no_app() -> bool:
    from finetune_tui.terminal import why_no_app

    return why_no_app() is not None


def _show_app(ctx: click.Context, opening: Any = "home", **what: Any) -> None:  # noqa: ANN401 - handed to FtApp as they are
    """Run the app; where there is no terminal, say so and what to use instead."""
    from finetune_tui.terminal import why_no_app

    if reason := why_no_app():
        output.words(f"The app cannot be shown: {reason}.\nWithout a terminal use `ft-tui demo --plain`, `ft-tui train "
                     "RECIPE --plain`, `ft-tui runs` or `ft-tui status`; `ft-tui --help` says more.")  # fmt: skip
        ctx.exit(output.WRONG_USE)
    from finetune_core.paths import home
    from finetune_tui.app import FtApp

    home()
    if opening == "home":
        opening, what = _where_one_was()
    app = FtApp(opening, **what)
    code = app.run(mouse=mouse_of(ctx))
    _say_what_goes_on()
    # A crash gives no code of its own.
    ctx.exit(code or app.return_code or output.FINE)


def _where_one_was() -> tuple[Any, dict[str, Any]]:
    """What the app opens at, started without a command: where the last one was left, if that is still there."""
    from finetune_tui.place import recall

    was = recall()
    if was is None:
        return "home", {}
    from finetune_core.runs.directory import list_runs
    from finetune_tui.wizard.draft import newest_draft

    if was.screen == "dashboard":
        run = next((run for run in list_runs() if run.name == was.name), None)
        return ("dashboard", {"run": run, "back_at": was}) if run else ("home", {})
    draft = newest_draft()
    return ("wizard" if draft and draft.name == was.name else "home"), {}


def _say_what_goes_on() -> None:
    """After the app: which runs go on, and how to see them again."""
    from finetune_core.runs.directory import list_runs
    from finetune_core.runs.status import live

    names = [run.name for run in list_runs() if live(run)]
    for name in names:
        output.words(f"{name} goes on. Look at it again: ft-tui attach {name}")


def _start(recipe: Recipe | Given, *, queue: bool = False) -> RunDir:
    from finetune_tui.warm_link import warming_up

    with warming_up(recipe) as worker:
        # Imported while the worker imports its own, which takes longer and is what the first step waits for.
        from finetune_core.plan.look_up import look_up
        from finetune_tui.start import fetch_and_prepare, start_prepared

        look_up(recipe, output.words)
        prepared = _counted(recipe, fetch_and_prepare(recipe, progress=counter("bytes fetched")))
        with interrupts.interrupted_afterwards():
            run, warnings = start_prepared(prepared, worker.hand(), queue=queue)
            interrupts.going_on(run)
    output.show_problems(warnings, kind="warning")
    return run


def _counted(recipe: Recipe | Given, prepared: Resolved) -> Resolved:
    """The plan from the rows in tokens where, by their estimate, some may be cut or memory short.

    Else the run counts them itself, and nothing is waited for. Raises FtError when no row has anything left to learn.
    """
    from finetune_core.plan.count import count_of
    from finetune_core.plan.prepare import prepare
    from finetune_core.plan.report import estimate_words
    from finetune_core.plan.resolve import worth_counting

    if worth_counting(prepared):
        output.words("counting the rows in tokens ...")
        tokens = count_of(recipe, counter("rows counted in tokens"))
        if tokens is not None:
            prepared = prepare(recipe, counted=tokens, hardware=prepared.hardware)
    if said := estimate_words(prepared):
        output.words(said)
    return prepared


def _detach(run: RunDir, *, as_json: bool) -> None:
    from finetune_core.runs.start.logout import batch_job

    if (scheduler := batch_job()) is not None:
        output.words(
            f"warning: {scheduler} ends every process of a job when its command ends, and that is now\n"
            f"  fix:   leave --detach out of a job script: the command then waits for the run, and hands {scheduler}'s "
            "notice on to it"
        )
    if as_json:
        output.data_json({"run": run.name, "directory": str(run.path)})
        return
    output.data(run.name)
    output.words(f"It runs on its own. Look at it: ft-tui attach {run.name}\nStop it: ft-tui stop {run.name}")


def _train_plain(ctx: click.Context, recipe: Recipe | Given, *, as_json: bool, queue: bool = False) -> None:
    _start_and_follow(ctx, lambda: _start(recipe, queue=queue), as_json=as_json)


def _start_and_follow(ctx: click.Context, start: Callable[[], RunDir], *, as_json: bool) -> None:
    """Follow the run that this command starts: what a scheduler signals to the command is for the run."""
    with interrupts.handing_on():
        _follow(ctx, start(), as_json=as_json)


def _follow(ctx: click.Context, run: RunDir, *, as_json: bool) -> None:
    from finetune_tui.commands import plain

    ctx.exit(plain.follow(run, as_json=as_json))


def main() -> None:
    """Entry point of the console script."""
    # Whatever it or a process it starts may write is its user's alone.
    os.umask(0o077)
    try:
        cli.main(prog_name="ft-tui")
    except BrokenPipeError:
        # The reader (`head`, `less`) has gone: that is no fault, and Python must not flush into it at exit.
        sys.stdout = None
        sys.exit(output.FINE)
    except OSError as error:
        if not output.is_broken():
            raise
        sys.stdout = None
        output.words(f"error: the output cannot be written: {error.strerror or error}")
        sys.exit(output.NOT_WRITTEN)


if __name__ == "__main__":
    main()
