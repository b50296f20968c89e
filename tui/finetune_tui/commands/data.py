"""Commands about rows: check them, show them, clean, part and mix them. Nothing is ever changed in place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from finetune_core.errors import FtError, problem
from finetune_core.text import count_text, counted, one_line, plural
from finetune_tui.commands import output
from finetune_tui.commands.common import as_json, counter, examples
from finetune_tui.commands.data_generate import generate_command, review_command

if TYPE_CHECKING:
    from finetune_core.data.checks.check import DataReport
    from finetune_core.data.rows import CanonicalRow
    from finetune_core.data.shapes.ambiguities import Question
    from finetune_core.data.shapes.recognise import Choice, Shape
    from finetune_core.data.tokens.client import Preview, TokenSpan
    from finetune_core.recipe.schema import Data

USABLE, WITH_ERRORS, REFUSED = output.FINE, 1, output.WRONG_USE
_OUT: Final = click.Path(path_type=Path, dir_okay=False)
_SHAPE_HELP: Final = "What the rows are, where it cannot be inferred from them."
_force = click.option("--force", is_flag=True, help="Replace OUT where it exists.")


def _chosen(function: Any) -> Any:  # noqa: ANN401 - a click command in the making
    """Options that say by hand what the rows are and what is done about them."""
    function = click.option(
        "--fix", "fixes", multiple=True, metavar="KIND=ACTION", help="What is done about a kind of finding."
    )(function)
    function = click.option(
        "--map", "mapping", multiple=True, metavar="PART=COLUMN", help="Which column plays which part."
    )(function)
    return click.option("--shape", default="auto", help=_SHAPE_HELP)(function)


def _filtering(function: Any) -> Any:  # noqa: ANN401 - a click command in the making
    """Options that leave rows out by their text or length."""
    count = click.IntRange(1, 2**31)
    for option in (
        click.option("--max-characters", type=count, help="Leave out rows with more text than this."),
        click.option("--min-characters", type=count, help="Leave out rows with less text than this."),
        click.option("--without", help="Leave out rows that hold this text, whatever its case."),
        click.option("--only", help="Use only rows that hold this text, whatever its case."),
    ):
        function = option(function)
    return function


@click.group("data")
def data_group() -> None:
    """Check, show, clean, split, mix and generate rows. No file is changed in place."""


data_group.add_command(generate_command)
data_group.add_command(review_command)


@data_group.command(
    epilog=examples(
        "ft-tui data check rows.jsonl",
        "ft-tui data check rows.jsonl --model ./Qwen3-0.6B --json",
        "ft-tui data check rows.jsonl --map instruction=Frage --map output=Antwort",
    )
    + "\n\n\b\nExit codes: 0 usable, 1 usable but rows have errors, 2 refused"
)
@click.argument("path")
@click.option("--held-out", help="A file of held-out rows: those that are in PATH too are reported.")
@click.option("--model", help="Count the tokens of the rows as this model sees them.")
@_chosen
@as_json
@click.pass_context
def check(
    ctx: click.Context,
    /,
    *,
    path: str,
    held_out: str | None,
    model: str | None,
    as_json: bool,
    **chosen: Any,  # noqa: ANN401
) -> None:
    """Report what the rows of PATH are, what is wrong with them, and how to mend it."""
    from finetune_core.data.checks.process import check_source

    choice = _choice(**chosen)
    _fetch(path)
    report = check_source(path, choice, held_out=held_out, progress=counter("rows looked at"))
    tokens = None if model is None or report.shape is None or report.not_offered else _tokens(path, model, choice)
    if as_json:
        output.data_json({**report.to_json(), "tokens": tokens})
    else:
        _print_report(report, tokens)
    refused = report.refused is not None or report.to_decide
    ctx.exit(REFUSED if refused else WITH_ERRORS if report.errors else USABLE)


@data_group.command(
    epilog=examples(
        "ft-tui data show rows.jsonl --row 17",
        "ft-tui data show rows.jsonl --model ./Qwen3-0.6B --as tokens",
    )
)
@click.argument("path")
@click.option("--row", "number", type=click.IntRange(1), default=1, show_default=True, help="The first row shown.")
@click.option("--count", type=click.IntRange(1, 1000), default=1, show_default=True, help="How many rows.")
@click.option("--as", "view", type=click.Choice(["data", "model", "tokens"]), default="data", show_default=True)
@click.option("--model", default="demo", show_default=True, help="Whose chat template and tokenizer are used.")
@_chosen
@as_json
def show(*, path: str, number: int, count: int, view: str, model: str, as_json: bool, **chosen: Any) -> None:  # noqa: ANN401
    """Show rows of PATH as they are, as the model will see them, or token by token."""
    from finetune_core.data.files.open import open_rows

    file = open_rows(path)
    rows = file.first(count, number)
    if not rows:
        raise problem("there is no such row", where=path, why=f"row {number} is behind the end", remedy="go lower")
    previews = [] if view == "data" else _previews(path, [row.number for row in rows], model, _choice(**chosen))
    if as_json:
        values: list[Any] = [row.value for row in rows]
        output.data_json([_preview_json(one) for one in previews] or values)
    elif view == "data":
        for row in rows:
            shown = json.dumps(row.value, indent=2, ensure_ascii=False) if row.problem is None else str(row.problem)
            output.data(f"--- {row.where}\n{shown}")
    else:
        for one in previews:
            output.data(f"--- row {one.number}\n{_as_tokens(one) if view == 'tokens' else _as_model(one)}")


@data_group.command(
    epilog=examples("ft-tui data clean rows.jsonl clean.jsonl --fix role-order=merge --fix no-assistant-end=trim")
)
@click.argument("path")
@click.argument("out", type=_OUT)
@_chosen
@_filtering
@_force
@as_json
def clean(*, path: str, out: Path, force: bool, as_json: bool, **chosen: Any) -> None:  # noqa: ANN401
    """Write the good rows of PATH to OUT, mended where --fix says so; reports every row that is left out."""
    from finetune_core.data.write import write_rows

    kept, left_out = _kept(_data(path, (), **chosen))
    written = write_rows(out, kept, replace=force)
    _say_written({"file": str(out), "rows": written, "left_out": [list(pair) for pair in left_out]}, as_json=as_json)


@data_group.command(epilog=examples("ft-tui data split rows.jsonl train.jsonl held_out.jsonl --share 0.1 --seed 7"))
@click.argument("path")
@click.argument("train", type=_OUT)
@click.argument("held_out", type=_OUT)
@click.option("--share", type=click.FloatRange(0, 0.5, min_open=True), default=0.05, show_default=True)
@click.option("--seed", type=int, default=42, show_default=True)
@_chosen
@_filtering
@_force
@as_json
def split(
    *, path: str, train: Path, held_out: Path, share: float, seed: int, force: bool, as_json: bool, **chosen: Any  # noqa: ANN401
) -> None:  # fmt: skip
    """Part the rows of PATH into TRAIN and HELD_OUT; rows that are or ask nearly the same stay on one side."""
    from finetune_core.data.checks.findings.fixes import fixed
    from finetune_core.data.split import split as part
    from finetune_core.data.write import write_rows

    kept, left_out = _kept(_data(path, (), **chosen))
    alike = fixed(kept, {}, counter("rows compared"))[2]
    trained, measured = part(kept, share, seed, alike)
    counts = {
        str(file): write_rows(file, rows, replace=force) for file, rows in ((train, trained), (held_out, measured))
    }
    _say_written({"files": counts, "left_out": [list(pair) for pair in left_out]}, as_json=as_json)


@data_group.command(epilog=examples("ft-tui data mix rows.jsonl mixed.jsonl --with general.jsonl=0.15"))
@click.argument("path")
@click.argument("out", type=_OUT)
@click.option(
    "--with", "files", multiple=True, required=True, metavar="FILE=SHARE", help="A file and its share of all."
)
@click.option("--seed", type=int, default=42, show_default=True)
@_chosen
@_filtering
@_force
@as_json
def mix(*, path: str, out: Path, files: tuple[str, ...], seed: int, force: bool, as_json: bool, **chosen: Any) -> None:  # noqa: ANN401
    """Write the rows of PATH to OUT with rows of other files behind them, each by its share of all rows."""
    from finetune_core.data.assemble import assemble
    from finetune_core.data.write import write_rows

    rows = assemble(_data(path, files, **chosen), seed)
    write_rows(out, rows.train, replace=force)
    record = rows.record()["sources"]
    _say_written({"file": str(out), "rows": len(rows.train), "sources": record}, as_json=as_json)


def _kept(data: Data) -> tuple[list[CanonicalRow], list[tuple[int, str]]]:
    """The good rows of a file as fixes and filters leave them, and (row number, reason) of the others."""
    from finetune_core.data.checks.check import usable_rows
    from finetune_core.data.filters import filter_reason
    from finetune_core.data.shapes.recognise import Choice

    usable, left_out = usable_rows(data.source, Choice.of(data))
    reasons = [filter_reason(row, data) for row in usable]
    filtered = [(row.number, reason) for row, reason in zip(usable, reasons, strict=True) if reason]
    kept = [row for row, reason in zip(usable, reasons, strict=True) if not reason]
    return kept, sorted([*left_out, *filtered])


def _data(
    path: str, files: tuple[str, ...], *, shape: str, mapping: tuple[str, ...], fixes: tuple[str, ...], **filters: Any  # noqa: ANN401
) -> Data:  # fmt: skip
    from finetune_core.recipe.check import check as problems_of
    from finetune_core.recipe.check import with_values
    from finetune_core.recipe.schema import Recipe

    choice = _choice(shape=shape, mapping=mapping, fixes=fixes)
    values = {
        "data.source": path, "data.held_out_share": 0.0, "evaluation.questions": 0, "data.mix": _shares(files),
        "data.shape": choice.shape, "data.mapping": dict(choice.mapping), "data.fixes": dict(choice.fixes),
        **{f"data.{name}": value for name, value in filters.items()},
    }  # fmt: skip
    recipe = with_values(Recipe(), values)
    found = problems_of(recipe)
    if found:
        raise FtError(found)
    return recipe.data


def _shares(files: tuple[str, ...]) -> dict[str, float]:
    shares = {}
    for typed in files:
        path, _, share = typed.rpartition("=")
        try:
            shares[path] = float(share)
        except ValueError:
            path = ""
        if not path:
            raise click.UsageError(
                f"--with {one_line(typed, 80)}: give a file and its share, such as general.jsonl=0.15"
            )
    return shares


def _choice(*, shape: str, mapping: tuple[str, ...], fixes: tuple[str, ...]) -> Choice:
    from finetune_core.data.shapes.recognise import Choice
    from finetune_core.recipe.check import with_values
    from finetune_core.recipe.schema import Recipe

    values = {"data.shape": shape, "data.mapping": _pairs(mapping, "--map"), "data.fixes": _pairs(fixes, "--fix")}
    return Choice.of(with_values(Recipe(), values).data)


def _pairs(typed: tuple[str, ...], option: str) -> dict[str, str]:
    pairs = {}
    for one in typed:
        name, sign, value = one.partition("=")
        if not (sign and name and value):
            raise click.UsageError(f"{option} {one_line(one, 80)}: give two names with = between them")
        pairs[name] = value
    return pairs


def _fetch(path: str) -> None:
    """Bring a data set of the hub to this machine, once. FtError as `finetune_core.data.files.hub.fetch`."""
    from finetune_core.data.files.hub import fetch_all

    fetch_all([path], counter("bytes fetched"))


def _model(model: str) -> tuple[Path, int | None]:
    """The folder with a model's tokenizer, and its context in tokens; a model of the hub is asked for both."""
    from finetune_core.models.find import find
    from finetune_core.plan.describe import describe, undescribed

    facts = find(model)
    if undescribed(facts):
        output.words(f"asking the hub what {one_line(model, 100)} is ...")
        facts = describe(facts) or facts
    if facts.problem is not None:
        raise FtError(facts.problem)
    if facts.path is None:
        raise problem(
            "the model is not on this machine",
            where=model,
            why="its tokenizer and chat template are needed, and it is not in the cache",
            remedy="choose a folder or a model in the cache, or `demo`",
        )
    return facts.path, facts.context


def _tokens(path: str, model: str, choice: Choice) -> dict[str, Any]:
    """Row lengths in tokens as a model sees them."""
    from finetune_core.data.stats import percentiles
    from finetune_core.data.tokens.client import TokenWorker

    folder, context = _model(model)
    with TokenWorker(folder, max_length=context) as worker:
        lengths = worker.lengths(path, counter("rows tokenised"), choice=choice)
    low, middle, high, top = percentiles(lengths.counts, (0, 0.5, 0.95, 1))
    looked_at = len(lengths.counts) + lengths.left_out
    total = round(sum(lengths.counts) * (lengths.rows / looked_at if lengths.sampled else 1))
    return {
        "model": model, "min": low, "p50": middle, "p95": high, "max": top, "total": total,
        "max_length": context, "truncated": lengths.truncated, "without_trained": lengths.without_trained,
        "left_out": lengths.left_out, "sampled": lengths.sampled,
        "rows_counted": looked_at,
        "gate": None if lengths.gate is None else lengths.gate.to_json(),
    }  # fmt: skip


def _previews(path: str, numbers: list[int], model: str, choice: Choice) -> list[Preview]:
    from finetune_core.data.checks.check import converted_rows
    from finetune_core.data.tokens.client import TokenWorker

    rows = converted_rows(path, set(numbers), choice)
    with TokenWorker(_model(model)[0]) as worker:
        return worker.preview(rows)


def _as_model(preview: Preview) -> str:
    if preview.problem is not None:
        return str(preview.problem)
    return "".join(f"▌{span.text}▐" if span.trained else span.text for span in preview.spans)


def _as_tokens(preview: Preview) -> str:
    if preview.problem is not None:
        return str(preview.problem)
    lines = [_token_line(piece) for piece in preview.pieces]
    return "\n".join([f"{counted(preview.tokens, 'token')}, {preview.trained} trained", *lines])


def _token_line(piece: TokenSpan) -> str:
    mark = "trained" if piece.trained else "       "
    return f"{mark}  {' '.join(map(str, piece.ids)):>8}  {json.dumps(piece.text, ensure_ascii=False)}"


def _preview_json(preview: Preview) -> dict[str, Any]:
    return {
        "row": preview.number,
        "problem": None if preview.problem is None else vars(preview.problem),
        "text": preview.rendered,
        "tokens": preview.tokens,
        "trained": preview.trained,
        "pieces": [{"text": one.text, "ids": list(one.ids), "trained": one.trained} for one in preview.pieces],
    }


def _print_report(report: DataReport, tokens: dict[str, Any] | None) -> None:
    if report.refused is not None:
        output.show_problems([report.refused])
        return
    shape = report.shape
    assert shape is not None
    container = report.container.words if report.container is not None else ""
    output.data(f"{report.source}: {report.rows:,} {plural(report.rows, 'row')}, {container}")
    _print_shape(shape)
    for name, counts in (("turns a row", dict(report.tally.turn_groups())), ("turns by role", report.tally.roles)):
        if counts and report.tally.roles:
            output.data(f"{name}: " + ", ".join(f"{word}: {count:,}" for word, count in counts.items()))
    for found in report.findings:
        rows = f", {found.count:,} {plural(found.count, 'row')}" if found.of_rows else ""
        output.data(f"{found.kind.severity}: {found.kind.name}{rows}: {found.words or found.kind.words}")
        for example in found.examples[:3]:
            place = f" {example.field}" if example.field else ""
            output.data(f"    row {example.row}{place}: {example.excerpt}")
        output.data(f"    why: {found.kind.why}\n    fix: {found.fix}")
    if report.not_offered is not None and not report.to_decide:
        output.show_problems([report.not_offered], kind="note")
    if tokens is not None:
        figures = ", ".join(f"{name} {count_text(tokens[name])}" for name in ("min", "p50", "p95", "max", "total"))
        whose = f" of a sample of {counted(tokens['rows_counted'], 'row')}" if tokens["sampled"] else ""
        longer = f"{counted(tokens['truncated'], 'row')} longer than {tokens['max_length']}"
        output.data(f"tokens{whose}: {figures}; {longer}")
        gate = tokens["gate"]
        for one in gate["checks"] if gate is not None else ():
            mark = "ok  " if one["ok"] else "FAIL" if one["blocking"] else "note"
            output.data(
                f"gate {mark}: {one['words']}" + ("" if one["ok"] else f": not in {counted(one['rows'], 'row')}")
            )
    end = ", once it is decided how they are read" if report.to_decide else ""
    output.data(f"{report.usable:,} {plural(report.usable, 'row')} can be used, {report.errors:,} cannot{end}")


def _print_shape(shape: Shape) -> None:
    """What the rows are, what of them is not used, and what is to be decided."""
    from finetune_core.data.shapes.unused import unused_words

    output.data(f"shape: {shape.name} ({shape.evidence}), trainable as {shape.trainable_as}")
    if shape.unused:
        output.data(unused_words(shape.unused))
    if shape.question:
        _print_question(shape.question)


def _print_question(question: Question) -> None:
    output.data(f"to decide: {question.text}")
    for answer in question.answers:
        ways = "".join(f" --map {part}={column}" for part, column in answer.mapping.items())
        taken = " (proposed)" if answer is question.answers[0] else ""
        output.data(f"    {answer.words}{taken}: --shape {answer.shape}{ways}")


def _say_written(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        output.data_json(found)
        return
    for file, rows in found.get("files", {found.get("file"): found.get("rows")}).items():
        output.data(f"{file}: {rows:,} {plural(rows, 'row')}")
    left_out: list[Any] = found.get("left_out", [])
    for number, kind in left_out[:20]:
        output.words(f"left out: row {number}, {kind}")
    if len(left_out) > 20:
        output.words(f"and {len(left_out) - 20} more; --json lists all")
    for source in found.get("sources", []):
        rows = source["rows"]
        output.words(f"{source['source']}: {source['used']:,} of {rows:,} {plural(rows, 'row')}")
