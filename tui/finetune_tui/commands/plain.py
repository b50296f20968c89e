"""A run followed as lines of text: for scripts, logs, and terminals that can do no more."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from finetune_core.errors import FtError, problem
from finetune_core.evaluation.measure_names import MEASURES
from finetune_core.runs.journal import number
from finetune_core.runs.start.hand_on import hand_on
from finetune_core.runs.status import ACTIVE, CRASHED, ENDED, live
from finetune_core.runs.view import history
from finetune_core.runs.view.damage import damage
from finetune_core.runs.view.run_view import RunView
from finetune_core.runs.view.tail_view import Glance, is_long
from finetune_core.runs.view.verdict import change_of, words_of
from finetune_core.text import bytes_text, counted, duration_text, one_line
from finetune_tui.commands import interrupts, output
from finetune_tui.run_words import FAULTS, cost_words, loading_lines, measured_words

if TYPE_CHECKING:
    from finetune_core.runs.directory import RunDir

_LOOK_SECONDS: Final = 0.2
_START_SECONDS: Final = 3.0
_FIRST_GAP: Final = 1.0
_LARGEST_GAP: Final = 30.0
_SAMPLES_SHOWN: Final = 1
_PIECE: Final = 64 * 1024 * 1024


def follow(run: RunDir, *, as_json: bool = False) -> int:
    """Print the run's progress until it ends, then how it ended; gives the exit code.

    With `as_json` the progress goes to standard error and one JSON object to standard output. Ctrl+C ends the
    following and leaves the run alone.
    """
    follower = Follower(run, output.words if as_json else output.data)
    try:
        follower.to_the_end()
    except KeyboardInterrupt:
        output.words(interrupts.goes_on(run))
        return output.INTERRUPTED
    if as_json:
        output.data_json(follower.result())
    state = follower.view.state
    if state == "preempted":
        return output.PREEMPTED
    return output.RUN_FAILED if state in {"failed", CRASHED} else output.FINE


class Follower:
    """Reads one run and says what is new in it."""

    def __init__(self, run: RunDir, say: Callable[[str], None]) -> None:
        self.run = run
        self.view = RunView(run)
        self._say = say
        self._began = time.monotonic()
        self._last_step_line = float("-inf")
        # The seq of the last event printed of each list: after a new start lists lose what is done again.
        self._told = dict.fromkeys(("states", "settled", "probes", "evals", "samples", "checkpoints", "alarms"), 0)
        self._phases: set[tuple[str, str]] = set()
        self._paused = False
        self._step = -1
        self._looked_in = ""

    def to_the_end(self) -> None:
        """Look, print, wait, until the run has ended."""
        self._say(f"run {self.run.name}\n    {self.run.path}")
        self._print_present()
        while not self._ended():
            self._hand_on()
            self.print_news()
            self._report_damage()
            self._refuse_unstarted()
            time.sleep(_LOOK_SECONDS)
        self.print_news()
        self._report_damage()
        self._print_end()

    def _hand_on(self) -> None:
        """A scheduler's notice to this command is for the run, which is waited for then."""
        noted = interrupts.notices()
        number = noted.take()
        if number is None:
            return
        if hand_on(self.run, number):
            self._say(f"{number.name} is handed on to the run: it finishes its step and seals a checkpoint ...")
        else:
            noted.put_back(number)

    def _print_present(self) -> None:
        """Where a long run is, before all that came before has been read."""
        if is_long(self.view):
            now = Glance(self.run)
            now.poll()
            self._say(f"now {now.state}: {_step_line(now)}\nreading what came before ...")

    def _ended(self) -> bool:
        changed = self._poll()
        while self.view.behind:
            changed = self._poll() or changed
        return not changed and self.view.state in {*ENDED, CRASHED}

    def _poll(self) -> bool:
        changed = self.view.poll(_PIECE)
        history.keep(self.view)
        return changed

    def _refuse_unstarted(self) -> None:
        """A run that was made but not started, or is in a state of another version, would be waited for for ever."""
        waited = time.monotonic() - self._began
        known = {*ACTIVE, *ENDED, CRASHED}
        if self.view.state not in known and waited > _START_SECONDS and not live(self.run):
            raise problem(
                "the run was never started" if self.view.state == "created" else "the run's state is not known here",
                where=self.run.name,
                why="its directory was made, and no process works on it",
                remedy=f"start it: ft-tui resume {self.run.name}",
            )

    def print_news(self) -> None:
        """One line for everything new since the last look; steps only as often as a person wants to read."""
        for kind, tell in (
            ("states", self._state_line), ("settled", _settled_line), ("probes", self._probe_line),
            ("alarms", self._alarm_line),
        ):  # fmt: skip
            self._each_new(kind, tell)
        self._print_step()
        for kind, tell in (("evals", _eval_line), ("checkpoints", _checkpoint_line), ("samples", self._sample_lines)):
            self._each_new(kind, tell)

    def _report_damage(self) -> None:
        """What is wrong with the run's files, once all is read and whenever its state has changed."""
        if self.view.behind or self.view.state == self._looked_in:
            return
        self._looked_in = self.view.state
        before, self.view.damage = self.view.damage, damage(self.view)
        for words in self.view.damage:
            if words not in before:
                self._say(f"! damaged: {one_line(words, 200)}")

    def _each_new(self, kind: str, line_of: Callable[[dict[str, Any]], str]) -> None:
        events = getattr(self.view, kind)
        for event in [event for event in events if event["seq"] > self._told[kind]]:
            if line := line_of(event):
                self._say(line)
        self._told[kind] = max((event["seq"] for event in events), default=self._told[kind])

    def _probe_line(self, event: dict[str, Any]) -> str:
        return measured_words(self.view.plan, event)

    def _state_line(self, event: dict[str, Any]) -> str:
        """A phase is printed once, a pause and its end every time; measurements have lines of their own."""
        state, phase = str(event.get("state") or ""), str(event.get("phase") or "")
        after_pause, self._paused = self._paused, state == "paused"
        if (state, phase) in self._phases and not (after_pause or self._paused):
            return ""
        self._phases.add((state, phase))
        words = one_line(f"{state}: {phase}" if phase and phase != state else state, 100)
        return words + (
            f" ({event.get('done')}/{event['total']} {event.get('unit') or ''})" if event.get("total") else ""
        )

    def _alarm_line(self, event: dict[str, Any]) -> str:
        return f"! {one_line(str(event.get('text') or event.get('name') or 'an alarm'), 200)}"

    def _print_step(self) -> None:
        view = self.view
        now = time.monotonic()
        gap = min(_LARGEST_GAP, max(_FIRST_GAP, (now - self._began) / 20))
        last = view.total is not None and view.step == view.total
        if view.step == self._step or view.step < 1 or (now - self._last_step_line < gap and not last):
            return
        self._step, self._last_step_line = view.step, now
        self._say(_step_line(view))

    def _sample_lines(self, event: dict[str, Any]) -> str:
        try:
            items = self.view.load_sample(event).items[:_SAMPLES_SHOWN]
        except FtError as error:
            return f"sample at step {event.get('step')}: {error.problems[0].what}"
        return "\n".join(
            f"sample at step {event.get('step')}: {one_line(item.prompt, 70)}\n"
            f"    base:  {one_line(item.base, 90)}\n    tuned: {one_line(item.current, 90)}"
            for item in items
        )

    # The end

    def _print_end(self) -> None:
        end = self.view.end or {}
        self._say(f"{self.view.state} after {duration_text(self.seconds)}")
        last_lines = end.get("last_lines")
        for line in last_lines if isinstance(last_lines, list) else ():
            self._say(f"    {one_line(str(line), 200)}")
        for label, text in (("cause", self.view.cause), ("fix", self.view.remedy)):
            if text:
                self._say(f"{label}: {text}")
        if self.view.verdict:
            self._say(verdict_table(self.view.verdict))
        if self.view.result:
            self._print_result(self.view.result)

    def _print_result(self, result: dict[str, Any]) -> None:
        path = str(self.run.path / str(result.get("path")))
        self._say(
            f"\nThe {result.get('kind')} ({bytes_text(number(result.get('bytes')) or 0)}) lies in\n    {path}\nLoad it:"
        )
        for line in loading_lines(path, result):
            self._say(f"    {line}")

    @property
    def seconds(self) -> float:
        """How long the run was worked on, by its own clock where that is known."""
        ended = self.view.ended
        worked = self.view.worked_seconds(ended) if ended else None
        return time.monotonic() - self._began if worked is None else worked

    def result(self) -> dict[str, Any]:
        """The whole outcome as one JSON object."""
        verdict = self.view.verdict or {}
        losses = self.view.series["loss"].values if "loss" in self.view.series else []
        return {
            "run": self.run.name,
            "directory": str(self.run.path),
            "state": self.view.state,
            "seconds": round(self.seconds, 1),
            "base": verdict.get("base", {}),
            "tuned": verdict.get("tuned", {}),
            "verdict": self.view.to_dict()["verdict"],
            "loss": {"first": losses[0] if losses else None, "last": losses[-1] if losses else None},
        }


def _settled_line(event: dict[str, Any]) -> str:
    """What follows from the rows once the run has counted them in tokens."""
    fields = event.get("fields")
    length = number(fields.get("data.max_length")) if isinstance(fields, dict) else None
    rows, steps = number(event.get("rows")), number(event.get("total_steps"))
    said = [
        words
        for value, words in (
            (rows, f"{rows:,.0f} to train on" if rows is not None else ""),
            (length, f"sequences of up to {length:,.0f} tokens" if length is not None else ""),
            (steps, f"{counted(int(steps), 'step')}" if steps is not None else ""),
        )
        if value is not None
    ]
    return f"rows counted in tokens: {', '.join(said)}" if said else ""


def _step_line(view: RunView) -> str:
    parts = [f"step {view.step}/{view.total or '?'}"]
    for name, label, form in (
        ("loss", "loss", ".4f"),
        ("learning_rate", "lr", ".2e"),
        ("tokens_per_s", "tokens/s", ",.0f"),
    ):
        if name in view.series and view.series[name].values:
            parts.append(f"{label} {view.series[name].values[-1]:{form}}")
    if view.eta_seconds is not None and view.step != view.total:
        parts.append(f"{duration_text(view.eta_seconds)} left")
    if words := cost_words(view, time.time()):
        parts.append(words)
    return "  ".join(parts)


def _eval_line(event: dict[str, Any]) -> str:
    return f"held-out loss at step {event.get('step')}: {_figure(event.get('loss'), '.4f')}"


def _checkpoint_line(event: dict[str, Any]) -> str:
    return f"checkpoint at step {event.get('step')}: {bytes_text(number(event.get('bytes')) or 0)}"


def _figure(value: object, form: str) -> str:
    figure = number(value)
    return str(value) if figure is None else format(figure, form)


def verdict_table(verdict: dict[str, Any]) -> str:
    """Base beside tuned, a line a measure, and the sentence that sums it up."""
    base, tuned = (_side(verdict.get(side)) for side in ("base", "tuned"))
    names = [name for name in MEASURES if name in base or name in tuned]
    rows = [(MEASURES[name].title, _measure(name, base.get(name)), _measure(name, tuned.get(name))) for name in names]
    before, after = _fault_counts(verdict)
    rows += [(words, str(before.get(name, 0)), str(after.get(name, 0))) for name, words in _faults(verdict)]
    count = number(verdict.get("rows"))
    head = counted(int(count), "held-out row") if count else "held-out rows"
    rows_text = output.table((head, "base", "tuned"), rows)
    return "\n".join(["", rows_text, words_of(verdict), *next_lines(verdict)]).rstrip()


def next_lines(verdict: Mapping[str, Any]) -> list[str]:
    """What to change next, and why; nothing where the verdict does not say."""
    change = change_of(verdict)
    return [f"next: {one_line(change.what, 200)}: {one_line(change.why, 300)}"] if change else []


def _fault_counts(verdict: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = _side(verdict.get("faults"))
    return [_side(found.get(side)) for side in ("base", "tuned")]


def _faults(verdict: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The faults that any answers have, by name and in words."""
    return [(name, words) for name, words in FAULTS.items() if any(side.get(name) for side in _fault_counts(verdict))]


def _side(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _measure(name: str, value: object) -> str:
    figure = number(value)
    if figure is None:
        return "-"
    return f"{figure:.1%}" if MEASURES[name].is_share else f"{figure:.4f}"
