"""What must be there before a trainer can be built: the base's files, its tokenizer, the token rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from finetune_core.data.assemble import RowSet, assemble
from finetune_core.data.files.open import open_rows
from finetune_core.data.rows import Text, TrainingRow
from finetune_core.data.templates import AUTO, SHIPPED, template_text
from finetune_core.data.tokens.gate_report import GateReport
from finetune_core.errors import FtError, Problem, problem
from finetune_core.files import write_atomic
from finetune_core.methods import method_of, refusal
from finetune_core.models.facts import ModelFacts
from finetune_core.models.find import find
from finetune_core.models.inspect import inspect_folder
from finetune_core.plan.prepare import model_problems
from finetune_core.plan.situation import DataFacts, TokenCount
from finetune_core.recipe.check import with_values
from finetune_core.recipe.schema import Recipe
from finetune_core.runs.directory import RunDir, read_plan
from finetune_core.runs.events import GateEvent
from finetune_core.text import counted
from finetune_core.worker.controls import Controls
from finetune_core.worker.report import Reporter
from finetune_core.worker.rows import dataset
from finetune_core.worker.rows.dataset import Tokens, Whole
from finetune_core.worker.rows.gate import Gate, ends_of
from finetune_core.worker.rows.tokenise import Encoder

_COMMIT = "model_commit"
_PACKING = "data.packing"


@dataclass(frozen=True)
class Base:
    """The base model's folder, and what is known of it.

    A result gives it as `name`: a hub id with its revision, or an absolute folder.
    """

    path: Path
    name: str
    revision: str | None
    facts: ModelFacts


@dataclass(frozen=True)
class Rows:
    """The rows as they were read, in tokens, whole; what the gate saw of them; and each file's SHA-256."""

    read: RowSet
    train: Whole
    held_out: Whole
    gate: Gate
    hashes: dict[str, str]

    def facts(self) -> DataFacts:
        """The rows in numbers, counted in tokens: what the plan is resolved from."""
        counted = TokenCount(self.train.counted(), self.held_out.counted())
        method = method_of(self.read.train[0])
        name = method.name if method is not None else None
        return DataFacts(len(self.read.train), len(self.read.held_out), method=name).with_count(counted)


@dataclass(frozen=True)
class Data:
    """Token rows to train on and held out, the held-out rows themselves, and each file's SHA-256.

    `plain` says that the rows are prompt and completion as plain text, so that typed prompts are too.
    """

    train: Tokens
    held_out: Tokens
    held_out_rows: tuple[TrainingRow, ...]
    hashes: dict[str, str]
    plain: bool


def find_base(recipe: Recipe, controls: Controls, run: RunDir, *, goes_on: bool = False) -> Base:
    """The base on this machine, downloaded if need be. Raises FtError when it cannot be used, or the hub's errors.

    Whether its rows can be packed is asked later where packing was chosen automatically, and of a run that `goes_on`
    never: it keeps its rows as it began with them.

    The commit a model of the hub has at the first start is kept in the run's plan, and taken whenever it goes on.
    """
    if goes_on or _PACKING in recipe.reasons:
        recipe = with_values(recipe, {_PACKING: "auto"})
    kept = read_plan(run).get(_COMMIT)
    revision = kept if isinstance(kept, str) else recipe.model.revision
    facts = find(recipe.model.source, revision)
    if facts.kind == "hub":
        folder = _download(recipe, revision, controls)
        facts = inspect_folder(folder, source=facts.source, kind="cache", revision=folder.name)
    # What came down is looked at as any other model before it is loaded.
    problems = model_problems(recipe, facts, needs_template=False)
    if problems or facts.path is None:
        raise FtError(problems)
    name, revision = (facts.source, facts.revision) if facts.kind == "cache" else (str(facts.path.absolute()), None)
    if revision is not None and kept is None:
        write_atomic(run.plan_file, json.dumps({**read_plan(run), _COMMIT: revision}, indent=1))
    return Base(facts.path, name, revision, facts)


def _download(recipe: Recipe, revision: str | None, controls: Controls) -> Path:
    from finetune_core.worker.hub.download import download

    def refuse(folder: Path) -> None:
        """Raise FtError when what describes the model says that it cannot be used: before its weights come."""
        described = inspect_folder(folder, source=source, kind="hub", revision=folder.name)
        if problems := model_problems(recipe, described, needs_template=False):
            raise FtError(problems)

    source = recipe.model.source
    return download(source, revision, controls.progress("preparing", f"downloading {source}", "bytes"), refuse)


def read_rows(
    recipe: Recipe,
    tokenizer: PreTrainedTokenizerBase,
    reporter: Reporter,
    controls: Controls,
    earlier: Mapping[str, str] | None,
) -> Rows:
    """Read all rows and turn them into tokens, whole: where they are cut may follow from their lengths.

    `earlier` are the hashes a checkpoint was made from; FtError when the files are others now, or no row can be used.
    """
    reporter.state("preparing", "reading rows")
    hashes = _hashes(recipe) | {"chat_template": _template_hash(tokenizer)}
    _refuse_others(recipe, hashes, earlier or {})
    rows = assemble(recipe.data, recipe.training.seed, controls.progress("preparing", "comparing rows", "rows"))
    if rows.train and (unfit := refusal(recipe.training.method, rows.train[0])) is not None:
        raise FtError(unfit)
    hashes["rows"] = _record(rows, reporter)
    _refuse_others(recipe, hashes, earlier or {})
    _report_leaks(reporter, rows)
    encoder = Encoder(tokenizer, recipe.data.train_on)
    gate = Gate(ends_of(tokenizer), recipe.data.train_on, recipe.data.max_length, encoder.unlike_prompts)
    train = dataset.encode(rows.train, encoder, controls.progress("preparing", "counting tokens", "rows"), gate)
    if not train.places:
        dataset.refuse_untrainable(train.cut(None), recipe)
    telling = controls.progress("preparing", "counting tokens of held-out rows", "rows")
    return Rows(rows, train, dataset.encode(rows.held_out, encoder, telling), gate, hashes)


def cut_rows(rows: Rows, recipe: Recipe, reporter: Reporter) -> Data:
    """The rows cut as the recipe says; what is left out is reported as an alarm.

    FtError when none is left to train on, or when they do not pass the template gate.
    """
    longest = recipe.data.max_length
    train = rows.train.cut(longest)
    dataset.refuse_untrainable(train, recipe)
    rows.gate.max_length = longest
    _pass_gate(rows.gate.report(), recipe, reporter)
    held_out = rows.held_out.cut(longest)
    _report_left_out(reporter, rows.read.problems, train, held_out)
    first = rows.read.train[0]
    plain = isinstance(first, Text) or first.completion_only
    # What the template refuses must not be asked later either.
    asked = tuple(rows.read.held_out[place] for place in held_out.used)
    return Data(train, held_out, asked, rows.hashes, plain)


def _pass_gate(report: GateReport, recipe: Recipe, reporter: Reporter) -> None:
    """Report what the gate found. FtError when it is not passed and the recipe does not override it."""
    reporter.event(GateEvent(**report.to_json(), overridden=bool(report.failed)))
    if report.failed and recipe.data.template_gate == "enforce":
        raise FtError(report.problems())
    rows = f"{counted(report.rows, 'row')}"
    for check in report.checks:
        words = f"template gate: not so in {check.rows} of {rows}: {check.words}; {check.remedy}"
        if not check.ok and check.blocking:
            reporter.alarm(f"gate_{check.name.replace('-', '_')}", f"overridden: {words}")
        elif not check.ok:
            reporter.log(words)


def _record(rows: RowSet, reporter: Reporter) -> str:
    """Write down which rows are used and which are left out; gives the hash of those trained on."""
    record = rows.record()
    write_atomic(reporter.run.data_file, json.dumps(record, indent=1))
    train = record["train"]
    assert isinstance(train, dict)
    return str(train["sha256"])


def _report_leaks(reporter: Reporter, rows: RowSet) -> None:
    for found in rows.leaks:
        first = found.examples[0]
        reporter.alarm(
            found.kind.name.replace("-", "_"),
            f"{found.count} of {len(rows.held_out)} held-out rows: {found.kind.words} (row {first.row}: "
            f"{first.excerpt}); {found.kind.why}; data.fixes: {{{found.kind.name}: drop}} leaves them out",
        )


def kept_template(run: RunDir, named: str) -> str:
    """The chat template a recipe names; of a file, the copy that the run keeps, made at its first start.

    FtError as `template_text`.
    """
    if named == AUTO or named in SHIPPED:
        return named
    if not run.template_file.exists():
        write_atomic(run.template_file, template_text(named) or "")
    return str(run.template_file)


def _template_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    return hashlib.sha256(json.dumps(tokenizer.chat_template, sort_keys=True).encode()).hexdigest()


def _refuse_others(recipe: Recipe, hashes: Mapping[str, str], earlier: Mapping[str, str]) -> None:
    """FtError when files, rows or chat template are not those a checkpoint was made from; it may not know them all."""
    changed = [name for name, found in hashes.items() if earlier.get(name, found) != found]
    if not changed:
        return
    if changed == ["chat_template"]:
        raise problem(
            "the chat template is not what the run began with",
            where="model.chat_template",
            why="the model's folder was changed since the checkpoint was written",
            remedy="put the old tokenizer files back, or start a new run",
        )
    rows = changed == ["rows"]
    raise problem(
        "the data is not what the run began with",
        where=recipe.data.source,
        why="from the same files this version of the program makes other rows"
        if rows
        else "the contents changed since the checkpoint was written",
        remedy="go on with the version the run began with, or start a new run"
        if rows
        else "put the old file back, or start a new run",
    )


def _hashes(recipe: Recipe) -> dict[str, str]:
    files = {"source": open_rows(recipe.data.source).sha256()}
    if recipe.data.held_out is not None:
        files["held_out"] = open_rows(recipe.data.held_out, held_out=True).sha256()
    files |= {f"mix {path}": open_rows(path).sha256() for path in recipe.data.mix}
    return files


def _report_left_out(reporter: Reporter, problems: list[Problem], train: Tokens, held_out: Tokens) -> None:
    if problems:
        first = problems[0]
        reporter.alarm(
            "rows_unreadable",
            f"{counted(len(problems), 'row')} cannot be used ({first.where}: {first.what})",
        )
    for name, tokens in (("training", train), ("held-out", held_out)):
        words = tokens.left_out()
        if words:
            reporter.alarm("rows_left_out", f"{name} rows: {words}")
