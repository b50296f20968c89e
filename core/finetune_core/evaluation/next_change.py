"""What to change next: one diagnosis of a run that has been judged, with its reason and the fields to set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import ceil, isfinite
from typing import Any, Final

from finetune_core.evaluation.statistics import smallest_gain
from finetune_core.evaluation.verdict import BETTER, NOT_BETTER, NOT_USABLE, TOO_FEW, WORSE, Verdict
from finetune_core.recipe.schema import Recipe
from finetune_core.text import counted, plural

# A third is far enough to see a difference, and near enough not to lose what was right.
_STEP: Final = 3.0
# Rates above these are unusual: 5e-4 is the best found for small models with LoRA (tinker-cookbook's sweeps), a tenth
# of it for all weights (Schulman et al., LoRA Without Regret, 2025).
_HIGHEST_RATE: Final = {"lora": 5e-4, "none": 5e-5}
_FEW_STEPS: Final = 30
_STILL: Final = 0.02
_MANY: Final = 0.5
_SOME: Final = 0.1
_NEARLY_ALL: Final = 0.95
_DUPLICATES: Final = 0.05
_LEARNT: Final = 0.1
_ROWS_TO_TELL: Final = 30
_LARGEST_SHARE: Final = 0.5
_DROPOUT: Final = 0.1
_LONGEST_EPOCHS: Final = 1000.0


@dataclass(frozen=True)
class RunFacts:
    """What a diagnosis looks at beside verdict and recipe.

    `losses` are the training losses in order, `held_out` (step, loss) of each measurement with step 0 the base's.
    `rows` were trained on, of which `cut` were longer than `data.max_length` and `duplicates` are another row again.
    `held_out_rows` there were, of which some were answered. `unfitting` answers were cut at the limit, and their
    row's own answer is longer than that. `ends_trained` says whether tokens that end an answer were trained, and
    `droppable` whether the adapter can have dropout: that of stacked experts cannot.
    """

    step: int
    losses: tuple[float, ...] = ()
    held_out: tuple[tuple[int, float], ...] = ()
    rows: int = 0
    cut: int = 0
    duplicates: int = 0
    held_out_rows: int = 0
    unfitting: int = 0
    ends_trained: bool = True
    droppable: bool = True

    @property
    def fell_by(self) -> float | None:
        """By which share the training loss fell, from its first tenth to its last; None for too few steps."""
        part = max(1, len(self.losses) // 10)
        first, last = self.losses[:part], self.losses[-part:]
        if len(self.losses) < 2 or not all(map(isfinite, (*first, *last))) or sum(first) <= 0:
            return None
        return 1 - (sum(last) / part) / (sum(first) / part)

    @property
    def last_loss(self) -> float | None:
        """The mean training loss of the last tenth of the steps."""
        part = self.losses[-max(1, len(self.losses) // 10) :]
        return sum(part) / len(part) if part else None

    @property
    def best_step(self) -> int | None:
        """The step whose held-out loss was the lowest, where the last measurement is clearly above it."""
        trained = [(loss, step) for step, loss in self.held_out if step > 0 and isfinite(loss)]
        if len(trained) < 2:
            return None
        loss, step = min(trained)
        return step if trained[-1][0] > loss * (1 + _STILL) else None


@dataclass(frozen=True)
class NextChange:
    """One change: its `name` for programs, `what` to do and `why` in words, and the recipe fields to `set`."""

    name: str
    what: str
    why: str
    set: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"name": self.name, "what": self.what, "why": self.why, "set": self.set}


@dataclass(frozen=True)
class _Case:
    verdict: Verdict
    recipe: Recipe
    facts: RunFacts

    def share(self, name: str) -> float:
        """The share of tuned answers with a fault."""
        return self.verdict.tuned_faults.get(name, 0) / max(self.verdict.rows, 1)


def next_change(verdict: Verdict, recipe: Recipe, facts: RunFacts) -> NextChange | None:
    """The first diagnosis that holds, from what spoils a result to what only limits it; None when nothing stands out.

    `recipe` is the resolved one. The values given are in the recipe's ranges.
    """
    if _nothing_left(verdict):
        return None
    case = _Case(verdict, recipe, facts)
    return next((found for look in _DIAGNOSES if (found := look(case)) is not None), None)


def _nothing_left(verdict: Verdict) -> bool:
    """Whether both models answer nearly every row as it should be: no change could show."""
    deciding = [one for one in verdict.measures if one.decides]
    full = bool(deciding) and all(min(one.base, one.tuned) >= _NEARLY_ALL for one in deciding)
    return full and not verdict.raw and not verdict.faulty


def _diverged(case: _Case) -> NextChange | None:
    fell = case.facts.fell_by
    if case.verdict.outcome == BETTER or fell is None or fell > -_STILL:
        return None
    why = f"the training loss rose by {-fell * 100:.0f} % over the run, so the steps were too large"
    return _lower_rate(case, "loss-rose", why)


def _cut_at_the_limit(case: _Case) -> NextChange | None:
    limit = case.recipe.evaluation.max_new_tokens
    if case.facts.unfitting < _MANY * max(case.verdict.rows, 1):
        return None
    value = min(limit * 4, 8192)
    if value == limit:
        return None
    count = f"{case.facts.unfitting} of {case.verdict.rows}"
    why = f"{count} answers were cut at {limit} tokens, and their rows' own are longer"
    return _setting("limit", "evaluation.max_new_tokens", value, f"let answers of the verdict have {value} tokens", why)


def _rows_cut(case: _Case) -> NextChange | None:
    facts, longest = case.facts, case.recipe.data.max_length
    many = facts.rows and facts.cut >= (_SOME if case.share("endless") >= _SOME else 2 * _SOME) * facts.rows
    if longest is None or not many or case.verdict.outcome == BETTER:
        return None
    count = f"{facts.cut} of {facts.rows}"
    why = f"{count} training rows were cut at {longest} tokens, and a cut row has no end to learn from"
    value = min(longest * 2, 1_048_576)
    return _setting("rows-cut", "data.max_length", value, f"raise the longest row to {value} tokens", why)


def _never_stops(case: _Case) -> NextChange | None:
    if case.share("endless") < _MANY:
        return None
    count = f"{case.verdict.tuned_faults['endless']} of {case.verdict.rows} answers never stop"
    if case.recipe.data.template_gate == "override":
        why = f"{count}, and the check that each answer is trained with the token that ends it was overridden"
        return _setting("no-stop", "data.template_gate", "enforce", "let the template gate stop such a run", why)
    if not case.facts.ends_trained:
        why = f"{count}, and with this chat template the rows hold no token that ends an answer"
        return _setting("no-stop", "model.chat_template", "plain", "write the rows by the template plain", why)
    return _more(case, "no-stop", f"{count}: the token that ends an answer was trained too little")


def _loops(case: _Case) -> NextChange | None:
    if case.share("repeating") < _SOME:
        return None
    why = f"{case.verdict.tuned_faults['repeating']} of {case.verdict.rows} answers repeat themselves"
    if case.verdict.base_faults.get("repeating", 0) >= _MANY * case.verdict.rows:
        return _more(case, "repeats", f"{why}, as the base's did: too little was trained to break the habit")
    epochs, best = case.recipe.training.epochs, case.facts.best_step
    if epochs is not None and best is not None and case.recipe.training.max_steps is None:
        return _fewer_epochs(case, "repeats", f"{why}, and the held-out loss was at its best after step {best}")
    return _lower_rate(case, "repeats", f"{why}: the rate was too high for these rows")


def _by_heart(case: _Case) -> NextChange | None:
    facts, best = case.facts, case.facts.best_step
    if best is None or (facts.last_loss or 1.0) > _LEARNT:
        return None
    why = f"the training loss is near 0 ({facts.last_loss:.2g}) while the held-out loss rises since step {best}"
    if facts.duplicates >= _DUPLICATES * max(facts.rows, 1):
        fixes = {**case.recipe.data.fixes, "exact-duplicate": "drop"}
        why = f"{why}, and {facts.duplicates} of {facts.rows} rows are another row again"
        return _setting("by-heart", "data.fixes", fixes, "leave duplicate rows out", why)
    if case.recipe.adapter.kind == "lora" and facts.droppable and case.recipe.adapter.dropout < _DROPOUT:
        return _setting("by-heart", "adapter.dropout", _DROPOUT, f"set the adapter's dropout to {_DROPOUT}", why)
    return _fewer_epochs(case, "by-heart", why)


def _past_its_best(case: _Case) -> NextChange | None:
    best = case.facts.best_step
    if best is None or case.recipe.evaluation.patience is not None:
        return None
    why = f"the held-out loss was at its best after step {best} of {case.facts.step} and rose since"
    return _setting("past-best", "evaluation.patience", 3, "stop after 3 measurements without a better one", why)


def _too_few(case: _Case) -> NextChange | None:
    verdict, facts, recipe = case.verdict, case.facts, case.recipe
    few = verdict.outcome == TOO_FEW or (verdict.outcome == NOT_BETTER and verdict.rows < _ROWS_TO_TELL)
    if not few:
        return None
    shown = smallest_gain(verdict.rows, 0) if verdict.rows else None
    points = "no change" if shown is None else f"no change below {100 * shown // verdict.rows} points"
    why = f"{counted(verdict.rows, 'held-out row')} answered can show {points}; {_ROWS_TO_TELL} or more can"
    if not verdict.raw and facts.held_out_rows > verdict.rows and recipe.evaluation.questions < facts.held_out_rows:
        value = min(max(facts.held_out_rows, 1), 10_000, max(100, _ROWS_TO_TELL))
        return _setting("few-rows", "evaluation.questions", value, f"let {value} held-out rows be answered", why)
    whole = facts.rows + facts.held_out_rows
    share = ceil(100 * _ROWS_TO_TELL / whole) / 100 if whole else 1.0
    if recipe.data.held_out is None and share <= _LARGEST_SHARE and share > recipe.data.held_out_share:
        what = f"hold out {share * 100:.0f} % of the rows"
        return _setting("few-rows", "data.held_out_share", share, what, why)
    where = f"to {recipe.data.held_out}" if recipe.data.held_out else "to the data"
    return NextChange("few-rows", f"add rows {where}", why)


def _nothing_moved(case: _Case) -> NextChange | None:
    verdict, fell = case.verdict, case.facts.fell_by
    still = fell is not None and fell < _STILL
    if verdict.outcome in {BETTER, WORSE} or (verdict.identical < _MANY * max(verdict.rows, 1) and not still):
        return None
    same = f"{verdict.identical} of {verdict.rows} answers are the base's own"
    return _more(case, "nothing-moved", same if verdict.identical else "the training loss hardly fell")


def _got_worse(case: _Case) -> NextChange | None:
    if case.verdict.outcome not in {WORSE, NOT_USABLE} and not case.verdict.sign_of(-1):
        return None
    return _lower_rate(case, "worse", "answers got worse than the base's: what it knew was written over")


def _unfinished(case: _Case) -> NextChange | None:
    trained = [(step, loss) for step, loss in case.facts.held_out if step > 0]
    if len(trained) < 2 or not trained[-1][1] < trained[-2][1] * (1 - _STILL):
        return None
    why = f"the held-out loss was still falling at the end ({trained[-2][1]:.3g}, then {trained[-1][1]:.3g})"
    return _longer(case, "unfinished", why, 2.0)


def _unmoved_answers(case: _Case) -> NextChange | None:
    if case.verdict.outcome != NOT_BETTER:
        return None
    return _more(case, "nothing-moved", "the answers did not clearly get better")


_DIAGNOSES: Final[tuple[Callable[[_Case], NextChange | None], ...]] = (
    _diverged,
    _nothing_moved,
    _cut_at_the_limit,
    _rows_cut,
    _never_stops,
    _loops,
    _by_heart,
    _got_worse,
    _past_its_best,
    _too_few,
    _unfinished,
    _unmoved_answers,
)


# ---- the changes ----


def _setting(name: str, path: str, value: object, what: str, why: str) -> NextChange:
    return NextChange(name, what, why, {path: value})


def _lower_rate(case: _Case, name: str, why: str) -> NextChange | None:
    rate = case.recipe.training.learning_rate
    if rate is None:
        return None
    value = _short(rate / _STEP)
    return _setting(name, "training.learning_rate", value, f"lower the learning rate from {rate:g} to {value:g}", why)


def _fewer_epochs(case: _Case, name: str, why: str) -> NextChange | None:
    epochs, best, step = case.recipe.training.epochs, case.facts.best_step, case.facts.step
    if epochs is None or best is None or not 0 < best < step:
        return _lower_rate(case, name, why)
    value = _short(epochs * best / step)
    return _setting(name, "training.epochs", value, _train(value, "epoch", epochs), why)


def _more(case: _Case, name: str, why: str) -> NextChange | None:
    """More of what moves a model: steps where there were few, else the rate, else the rank, else steps."""
    recipe, rate = case.recipe, case.recipe.training.learning_rate
    if case.facts.step < _FEW_STEPS:
        return _longer(case, name, f"{why}, after {counted(case.facts.step, 'step')}", _STEP)
    if rate is not None and rate * _STEP <= _HIGHEST_RATE[recipe.adapter.kind] * 1.001:
        value = _short(rate * _STEP)
        what = f"raise the learning rate from {rate:g} to {value:g}"
        return _setting(name, "training.learning_rate", value, what, why)
    if recipe.adapter.kind == "lora" and recipe.adapter.rank_or_usual < 64:
        value = recipe.adapter.rank_or_usual * 2
        return _setting(name, "adapter.rank", value, f"raise the adapter's rank to {value}", why)
    return _longer(case, name, why, 2.0)


def _longer(case: _Case, name: str, why: str, times: float) -> NextChange | None:
    training = case.recipe.training
    if training.max_steps is not None:
        value: float = min(int(training.max_steps * times), 100_000_000)
        return _setting(
            name,
            "training.max_steps",
            value,
            _train(value, "step", training.max_steps),
            why,
        )
    if training.epochs is None:
        return None
    value = min(_short(training.epochs * times), _LONGEST_EPOCHS)
    return _setting(name, "training.epochs", value, _train(value, "epoch", training.epochs), why)


def _train(value: float, unit: str, before: float) -> str:
    return f"train {value:.10g} {plural(value, unit)} instead of {before:.10g}"


def _short(value: float) -> float:
    """Two digits, as a person would write it."""
    return float(f"{value:.2g}")


def from_json(found: object) -> NextChange | None:
    """What `to_json` gave, read from a file that anybody may have written; None where it is no change."""
    if not isinstance(found, Mapping) or not isinstance(found.get("set"), Mapping):
        return None
    name, what, why = (found.get(part) for part in ("name", "what", "why"))
    if not isinstance(name, str) or not isinstance(what, str) or not isinstance(why, str):
        return None
    return NextChange(name, what, why, {str(path): value for path, value in found["set"].items()})
