"""Commands about synthetic rows: have them made, and look at them one by one."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from finetune_core.errors import FtError, problem
from finetune_core.text import count_text, counted, duration_text, one_line
from finetune_tui.commands import output
from finetune_tui.commands.common import as_json, examples, mouse_of

if TYPE_CHECKING:
    from finetune_core.data.synthetic.endpoint import Endpoint
    from finetune_core.data.synthetic.make import Order, Progress, Validate
    from finetune_core.data.synthetic.review import ReviewedRow

_FILE = click.Path(path_type=Path, dir_okay=False)
_MONEY = click.FloatRange(min=0)


@click.command(
    "generate",
    epilog=examples(
        'ft-tui data generate rows.jsonl --task "Answer support questions about bikes" --url http://localhost:8000/v1 '
        "--model Qwen3-32B --rows 200",
        "ft-tui data generate rows.jsonl --task-file task.md --url https://api.openai.com/v1 --model gpt-5-mini "
        "--rows 500 --price-in 0.25 --price-out 2 --max-cost 1.50",
        "ft-tui data review synthetic.pending.jsonl",
    ),
)
@click.argument("rows_file", metavar="ROWS", type=str)
@click.option("--task", help="What the rows teach, in words.")
@click.option("--task-file", type=_FILE, help="The same from a file.")
@click.option("--url", envvar="OPENAI_BASE_URL", required=True, help="Base URL of an OpenAI-compatible endpoint.")
@click.option("--model", required=True, help="Name of the model there.")
@click.option("--rows", "wanted", type=click.IntRange(1, 100_000), default=100, show_default=True, help="Rows in all.")
@click.option("--out", type=_FILE, default=Path("synthetic.pending.jsonl"), show_default=True, help="Where they wait.")
@click.option("--key-variable", default="OPENAI_API_KEY", show_default=True, help="Variable that holds the key.")
@click.option("--price-in", type=_MONEY, help="Price of a million tokens sent; with --price-out.")
@click.option("--price-out", type=_MONEY, help="Price of a million tokens written; with --price-in.")
@click.option("--max-cost", type=_MONEY, help="Stop when it has cost this much.")
@click.option("--per-request", type=click.IntRange(1, 50), default=5, show_default=True, help="Rows in a request.")
@click.option("--concurrency", type=click.IntRange(1, 16), default=2, show_default=True, help="Requests at a time.")
@click.option(
    "--temperature", type=click.FloatRange(0, 2), help="Sampling temperature; left to the endpoint if not set."
)
@click.option(
    "--timeout", type=click.FloatRange(1, 3600), default=300, show_default=True, help="Seconds for an answer."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Choice of topics, styles and examples.")
@as_json
@click.pass_context
def generate_command(ctx: click.Context, /, *, rows_file: str, out: Path, as_json: bool, **options: Any) -> None:  # noqa: ANN401 - click's options
    """Have new rows written by a language model, after the example of ROWS.

    The rows wait in a file of their own, marked with their generator, until `ft-tui data review` lets them join. The
    same command again goes on where it stopped. The key is taken from the environment only; the endpoint is sent the
    task and a few rows of ROWS.
    """
    _make(ctx, rows_file, out, Request(**options), as_json=as_json)


@dataclass(frozen=True)
class Request:
    """The options of `generate`, as they were typed."""

    task: str | None
    task_file: Path | None
    url: str
    model: str
    wanted: int
    key_variable: str
    price_in: float | None
    price_out: float | None
    max_cost: float | None
    per_request: int
    concurrency: int
    temperature: float | None
    timeout: float
    seed: int

    def endpoint(self) -> Endpoint:
        """Where to ask. FtError when address, model or key cannot be used."""
        from finetune_core.data.synthetic.endpoint import Endpoint, key_from_environment

        key = key_from_environment(self.key_variable)
        return Endpoint(self.url, self.model, key, self.timeout, self.temperature, self.key_variable)

    def order(self) -> Order:
        """What to ask for. FtError when the task or half of the prices is missing."""
        from finetune_core.data.synthetic.make import Order, Prices

        if (self.price_in is None) != (self.price_out is None):
            raise click.UsageError("--price-in and --price-out belong together")
        prices = None if self.price_in is None or self.price_out is None else Prices(self.price_in, self.price_out)
        return Order(
            self._task_text(), self.wanted, self.per_request, self.concurrency, self.seed, prices, self.max_cost
        )

    def _task_text(self) -> str:
        if (self.task is None) == (self.task_file is None):
            raise click.UsageError("give either --task or --task-file")
        if self.task_file is None:
            return self.task or ""
        try:
            return self.task_file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = (error.strerror if isinstance(error, OSError) else None) or "it is not UTF-8 text"
            where = one_line(str(self.task_file), 300)
            raise problem("the task cannot be read", where=where, why=why, remedy="check the file") from error


def _make(
    ctx: click.Context,
    rows_file: str,
    out: Path,
    request: Request,
    *,
    as_json: bool,
    validate: Validate | None = None,
) -> None:
    """Make rows and show how it goes; whatever ends it, what was made is reported and kept."""
    import asyncio

    from finetune_core.data.synthetic.make import generate
    from finetune_core.data.synthetic.own import read_own
    from finetune_core.data.synthetic.pending import pending_file
    from finetune_core.data.synthetic.seen import Shingles

    pending_file(out)
    endpoint, order, seen = request.endpoint(), request.order(), Shingles()
    if endpoint.sends_key_in_clear:
        output.words(f"warning: the key travels to {endpoint.host} unencrypted; use https if it offers that")
    own = read_own(rows_file, seen, seed=order.seed)
    latest: list[Progress] = []

    def show(progress: Progress) -> None:
        latest[:] = [progress]
        output.words(progress_words(progress))

    try:
        done = asyncio.run(generate(endpoint, order, own, out, seen=seen, validate=validate, on_progress=show))
    except FtError:
        if latest and latest[-1].total:
            output.words(f"what was made is kept in {out}")
        raise
    except KeyboardInterrupt:
        output.words(f"interrupted: what was made is kept in {out}; the same command goes on")
        ctx.exit(output.INTERRUPTED)
    if as_json:
        output.data_json({"file": str(out), "own_rows": own.count, **asdict(done)})
    else:
        output.data(str(out))
    short = (
        ""
        if done.total >= done.wanted
        else f"{done.total} of {counted(done.wanted, 'row')}: the limit of cost is reached. "
    )
    output.words(f"{short}Look at them one by one: ft-tui data review {out}")


def progress_words(progress: Progress) -> str:
    """How far it is, on one line."""
    parts = [f"{progress.total} of {counted(progress.wanted, 'row')}"]
    if progress.rejected:
        reasons = list(progress.rejected.items())
        named = ", ".join(f"{count} {reason}" for reason, count in reasons[:3])
        parts.append(f"{sum(progress.rejected.values())} rejected ({named}{', ...' if len(reasons) > 3 else ''})")
    about = "about " if progress.unreported else ""
    parts.append(f"{about}{count_text(progress.tokens_in + progress.tokens_out)} tokens")
    if progress.cost is not None:
        parts.append(f"cost {about}{progress.cost:.4f}")
    if progress.left and progress.total < progress.wanted:
        parts.append(f"{duration_text(progress.left)} left")
    if progress.note:
        parts.append(progress.note)
    return " | ".join(parts)


@click.command(
    "review",
    epilog=examples("ft-tui data review synthetic.pending.jsonl", "ft-tui data review synthetic.pending.jsonl --json"),
)
@click.argument("file", type=_FILE)
@as_json
@click.pass_context
def review_command(ctx: click.Context, *, file: Path, as_json: bool) -> None:
    """Look at the synthetic rows in FILE one by one: accept, edit or reject.

    Accepted rows are written to NAME.accepted.jsonl beside FILE; every decision is kept at once and can be undone.
    With --json nothing is opened: how far the review is, and its rows.
    """
    from finetune_core.data.synthetic.review import read_review

    rows = read_review(file)
    if as_json:
        output.data_json(_review_data(file, rows))
        return
    _show_review(ctx, file)
    output.words(_review_words(file, read_review(file)))


def _review_data(file: Path, rows: tuple[ReviewedRow, ...]) -> dict[str, object]:
    from finetune_core.data.synthetic.pending import as_turns, beside
    from finetune_core.data.synthetic.review import ACCEPTED, counts

    shown = [
        {"id": row.id, "state": row.state, "edited": row.edited, "messages": as_turns(row.row.messages)} for row in rows
    ]
    return {"file": str(file), "accepted_file": str(beside(file, ACCEPTED)), **asdict(counts(rows)), "rows": shown}


def _review_words(file: Path, rows: tuple[ReviewedRow, ...]) -> str:
    from finetune_core.data.synthetic.pending import beside
    from finetune_core.data.synthetic.review import ACCEPTED, counts

    found = counts(rows)
    joined = f"\nThe accepted rows: {beside(file, ACCEPTED)}" if found.accepted else ""
    return f"{found.accepted} accepted, {found.rejected} rejected, {found.waiting} wait{joined}"


def _show_review(ctx: click.Context, file: Path) -> None:
    from finetune_tui.terminal import why_no_app

    if reason := why_no_app():
        output.words(f"The rows cannot be shown: {reason}.\nWithout a terminal, --json prints them.")
        ctx.exit(output.WRONG_USE)
    from finetune_tui.app import FtApp

    code = FtApp("review", rows=file).run(mouse=mouse_of(ctx))
    if code:
        ctx.exit(code)
