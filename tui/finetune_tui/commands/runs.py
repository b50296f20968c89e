"""Commands about runs that exist: list, look, ask."""

from __future__ import annotations

import stat
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from finetune_core.errors import FtError, problem
from finetune_tui.commands import output
from finetune_tui.commands.common import as_json, examples, run_argument

if TYPE_CHECKING:
    from pathlib import Path

    from finetune_core.runs.directory import RunDir
    from finetune_core.runs.view.run_view import RunView

_ANSWER_SECONDS = 600.0
_LOOK_SECONDS = 0.3
_ORPHAN_LOOK_SECONDS = 1.0


@click.command(epilog=examples("ft-tui runs", "ft-tui runs --json | jq '.[].run'"))
@as_json
def runs(*, as_json: bool) -> None:
    """List all runs, the newest first."""
    from finetune_core.runs.directory import strangers
    from finetune_core.runs.oddities import kind_of
    from finetune_core.text import one_line
    from finetune_tui.run_rows import now, read_rows

    rows = read_rows()
    if as_json:
        output.data_json([row.as_data() for row in rows])
    elif not rows:
        output.words("There are no runs yet. Start one: ft-tui demo, or ft-tui train RECIPE")
    else:
        cells = [
            (row.state, row.progress, row.loss, row.verdict, row.age(now()), row.model, row.run.name) for row in rows
        ]
        output.data(output.table(("STATE", "PROGRESS", "LOSS", "VERDICT", "AGE", "MODEL", "RUN"), cells))
    for row in rows:
        if row.summary.damage:
            output.words(f"{one_line(row.run.name, 100)} is damaged: {one_line('; '.join(row.summary.damage), 400)}")
    for name, mode in strangers():
        output.words(f"{one_line(name, 100)} is no run: it is {kind_of(mode)}")


@click.command(epilog=examples("ft-tui status", "ft-tui status 20260131-14 --json"))
@run_argument
@as_json
def status(*, run: str | None, as_json: bool) -> None:
    """Show what one run does, or how it ended."""
    from finetune_core.runs.directory import find_run
    from finetune_core.runs.view import history
    from finetune_core.runs.view.damage import damage
    from finetune_core.runs.view.run_view import RunView

    view = RunView(find_run(run))
    view.poll()
    history.keep(view)
    view.damage = damage(view)
    if as_json:
        output.data_json(view.to_dict())
    else:
        output.data("\n".join(_status_lines(view)))


def _status_lines(view: RunView) -> list[str]:
    from finetune_core.runs.view.verdict import change_of, words_of
    from finetune_core.text import duration_text
    from finetune_tui.run_rows import when
    from finetune_tui.run_words import state_words

    known, change = view.to_dict(), change_of(view.verdict)
    phase, eta, total = known["phase"], known["eta_seconds"], known["total"]
    facts = {
        "run": known["run"],
        "state": state_words(view.state) + (f", {phase}" if phase and phase != view.state else ""),
        "progress": f"step {known['step']}" + (f" of {total}" if total else ""),
        "loss": "" if known["loss"] is None else f"{known['loss']:.4f}",
        "left": "" if eta is None else duration_text(eta),
        "started": when(known["started"]),
        "ended": when(known["ended"]),
        "cause": known["cause"],
        "fix": known["remedy"],
        "verdict": words_of(known["verdict"] or {}),
        "next": "" if change is None else f"{change.what}: {change.why}",
        "result": str(view.run.result) if known["result"] else "",
        "directory": known["directory"],
    }
    lines = [f"{name:<10}{value}" for name, value in facts.items() if value]
    return [*lines, *(f"{'damaged':<10}{words}" for words in view.damage)]


@click.command(epilog=examples("ft-tui logs", "ft-tui logs -f", "ft-tui logs 20260131-14 --json | jq .kind"))
@run_argument
@click.option("-f", "--follow", is_flag=True, help="Go on with what is added, until the run ends.")
@click.option(
    "-n", "--lines", type=click.IntRange(min=0), default=40, show_default=True, help="Last lines to begin with."
)
@click.option("--json", "events", is_flag=True, help="Print the journal's events, one JSON object a line, not the log.")
def logs(*, run: str | None, follow: bool, lines: int, events: bool) -> None:
    """Print the end of a run's raw log.

    Here CUDA traces and warnings land.
    """
    from finetune_core.runs.directory import find_run
    from finetune_tui.commands.tail import EventTail, LineTail

    found = find_run(run)
    _report_odd(found.events_file if events else found.log_file)
    tail = EventTail(found.events_file, lines) if events else LineTail(found.log_file, lines)
    _print_log(tail.read())
    while follow:
        alive = _alive(found)
        _print_log(tail.read())
        if not alive:
            return
        time.sleep(_LOOK_SECONDS)


def _report_odd(path: Path) -> None:
    """Say that what is to be printed is no file; nothing of it is read."""
    from finetune_core.runs.oddities import kind_of

    with suppress(OSError):
        mode = path.lstat().st_mode
        if not stat.S_ISREG(mode):
            output.words(f"{path.name} is {kind_of(mode)}, and not read.")


def _print_log(lines: list[str]) -> None:
    if lines:
        output.data("\n".join(lines))


def _alive(run: RunDir) -> bool:
    from finetune_core.runs.status import live

    return live(run)


@click.command(epilog=examples("ft-tui stop", "ft-tui stop 20260131-14 --now"))
@run_argument
@click.option("--now", is_flag=True, help="End the process within seconds; work since the last checkpoint is lost.")
@as_json
def stop(*, run: str | None, now: bool, as_json: bool) -> None:
    """Stop a run: it finishes its step, saves, and ends.

    Waits until it has ended; Ctrl+C ends the waiting, not the stopping.
    """
    from finetune_core.runs.directory import find_run

    found = find_run(run)
    answer = _ask(found, "stop_now" if now else "stop")
    output.words(str(answer.get("text") or "the run was asked to stop"))
    state = _wait_for_end(found)
    if as_json:
        output.data_json({"run": found.name, "state": state})
    else:
        output.data(f"{found.name}: {state}")


def _wait_for_end(run: RunDir) -> str:
    """Wait until no process works on the run; gives its state then."""
    from finetune_core.runs.status import shown_state

    while _alive(run):
        time.sleep(_LOOK_SECONDS)
    return shown_state(run)


@click.command(epilog=examples('ft-tui sample "What is the capital of Chad?"', 'ft-tui sample 20260131-14 "And now?"'))
@click.argument("words", nargs=-1, required=True, metavar="[RUN] PROMPT")
@as_json
def sample(*, words: tuple[str, ...], as_json: bool) -> None:
    """Ask the model in training a question.

    The untouched base answers beside it.
    """
    from finetune_core.runs.directory import find_run
    from finetune_core.runs.view.run_view import RunView

    if len(words) > 2:
        raise click.UsageError("Give the prompt as one word: put it in quotes.")
    found = find_run(words[0] if len(words) == 2 else None)
    view = RunView(found)
    view.poll()
    before = len(view.samples)
    _ask(found, "sample", prompt=words[-1])
    item = _new_sample(view, before, words[-1])
    if as_json:
        output.data_json({"run": found.name, **item})
    else:
        output.data(f"step {item['step']}\nbase:    {item['base']}\ncurrent: {item['current']}")


def _new_sample(view: RunView, before: int, prompt: str) -> dict[str, object]:
    """The answer to the user's prompt among the samples that came after the question."""
    view.poll()
    for event in reversed(view.samples[before:]):
        if event.get("source") != "user":
            continue
        found = view.load_sample(event)
        for item in found.items:
            if item.prompt == prompt:
                return {"step": found.step, "prompt": prompt, "base": item.base, "current": item.current}
    raise problem(
        "the answer cannot be found",
        where=str(view.run.name),
        why="the run says that it answered, but its samples do not hold this prompt",
        remedy="look at the samples in `ft-tui attach`",
    )


def _ask(run: RunDir, request: str, **args: object) -> dict[str, Any]:
    """Ask a run and wait for its answer. FtError when it says no, or nothing."""
    from finetune_core.runs.control import ask, done, wait_answer

    asked = ask(run, request, **args)
    answer = _answer_to_stop_now(run, asked) if request == "stop_now" else wait_answer(run, asked, _ANSWER_SECONDS)
    if answer is not None and answer.get("ok"):
        return answer
    what = f"the run did not {request.replace('_', ' ')}"
    if answer is None and not _alive(run):
        # Else it would act on the run when that is started again.
        done(run, asked)
        raise _nobody_answered(run, what)
    raise problem(
        what,
        where=run.name,
        why=str(answer.get("text")) if answer else f"no answer came in {_ANSWER_SECONDS / 60:.0f} minutes",
        remedy="look at `ft-tui status` and `ft-tui logs`; `ft-tui stop --now` always ends a run",
    )


def _answer_to_stop_now(run: RunDir, asked: str) -> dict[str, Any] | None:
    """The supervisor's answer; where it is gone and the trainer lives on, the trainer is ended from here."""
    from finetune_core.runs.control import wait_answer
    from finetune_core.runs.watch.supervise import end_orphan

    deadline = time.monotonic() + _ANSWER_SECONDS
    while True:
        end_orphan(run)
        answer = wait_answer(run, asked, _ORPHAN_LOOK_SECONDS)
        if answer is not None or not _alive(run) or time.monotonic() > deadline:
            return answer


def _nobody_answered(run: RunDir, what: str) -> FtError:
    from finetune_core.runs.status import shown_state

    state = shown_state(run)
    if state == "created":
        why, remedy = "it has not been started", f"start it: `ft-tui resume {run.name}`"
    else:
        why = f"it ended before it answered: {state}"
        remedy = f"look at `ft-tui status {run.name}`; `ft-tui resume {run.name}` goes on from its last checkpoint"
    return problem(what, where=run.name, why=why, remedy=remedy)
