"""Make synthetic rows until as many wait as are wanted; every row is on the disk before the next is looked at."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from finetune_core.data.rows import Conversation, Message
from finetune_core.data.synthetic.append import AppendFile
from finetune_core.data.synthetic.client import Answer, Client, Wait
from finetune_core.data.synthetic.endpoint import Endpoint
from finetune_core.data.synthetic.own import Own
from finetune_core.data.synthetic.parse import objects, strings
from finetune_core.data.synthetic.pending import Origin, PendingRow, as_conversation, line_of, parse_lines, pending_file
from finetune_core.data.synthetic.prompts import TAKEN, Batch, plan_batch, rows_request, topics_request
from finetune_core.data.synthetic.review import rejected_ids
from finetune_core.data.synthetic.seen import Seen
from finetune_core.errors import FtError, problem
from finetune_core.text import one_line

FRUITLESS: Final = 8
LONGEST_TASK: Final = 20_000
_CHARACTERS_A_TOKEN: Final = 3
MALFORMED: Final = "no JSON in the answer"
_REASONS: Final = 50

# Why a row is not wanted, in few words, or None.
Validate = Callable[[Conversation], str | None]


@dataclass(frozen=True)
class Prices:
    """What a million tokens cost, in any currency: those sent, those written."""

    tokens_in: float
    tokens_out: float


@dataclass(frozen=True)
class Order:
    """What is wanted: the task in words, how many rows in all, and how to ask for them.

    `wanted` counts the rows of the file that nobody has rejected, those of earlier calls included. `most_cost` ends
    the work as soon as it is reached; it needs prices.
    """

    task: str
    wanted: int
    per_request: int = 5
    concurrency: int = 2
    seed: int = 0
    prices: Prices | None = None
    most_cost: float | None = None

    def __post_init__(self) -> None:
        if min(self.wanted, self.per_request, self.concurrency) < 1:
            raise ValueError("rows wanted, rows per request and concurrency are at least 1")
        if self.most_cost is not None and self.prices is None:
            remedy = "give the prices per million tokens, too"
            raise problem("a limit of cost needs prices", where="most cost", why="it could not be kept", remedy=remedy)
        if not self.task.strip():
            raise _bad_task("the task is empty", "the model has to know what the rows teach", "describe it")
        if len(self.task) > LONGEST_TASK:
            why = f"it has {len(self.task)} characters and goes along with every request"
            raise _bad_task("the task is too long", why, f"describe it in at most {LONGEST_TASK} characters")


@dataclass(frozen=True)
class Progress:
    """How far it is. `made` rows came, of which `accepted` wait now and the others were rejected, by reason.

    `total` counts the waiting rows of earlier calls too. Tokens are as the endpoint counts them; `unreported` requests
    reported none: theirs are taken from the length of the text. `cost` is None without prices. `left` are seconds, None
    while unknown; `note` says what it waits for.
    """

    wanted: int
    total: int = 0
    made: int = 0
    accepted: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    requests: int = 0
    retries: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    unreported: int = 0
    cost: float | None = None
    elapsed: float = 0.0
    left: float | None = None
    note: str = ""


OnProgress = Callable[[Progress], None]


async def generate(
    endpoint: Endpoint,
    order: Order,
    own: Own,
    out: Path,
    *,
    seen: Seen,
    validate: Validate | None = None,
    on_progress: OnProgress | None = None,
    wait: Wait = asyncio.sleep,
) -> Progress:
    """Ask for rows until `order.wanted` wait in `out` (`NAME.pending.jsonl`), which goes on from what it holds.

    `seen` knows the user's rows already (`read_own`). Cancelling the task stops at once; what was accepted is kept.
    FtError when the endpoint is of no use, the file is not ours, or the model gives nothing new any more.
    """
    with AppendFile(pending_file(out)) as file:
        rows = _earlier(file, out)
        gone = rejected_ids(out)
        work = _Work(endpoint, order, own, file, seen, validate, on_progress)
        work.go_on_from(rows, sum(row.id not in gone for row in rows))
        try:
            async with Client(endpoint, wait=wait, on_retry=work.note_retry, seed=order.seed) as client:
                await work.run(client)
        finally:
            file.remove_if_empty()
    return work.progress


def _earlier(file: AppendFile, out: Path) -> Sequence[PendingRow]:
    rows, problems = parse_lines(file.lines(), out)
    if problems:
        raise problem(
            "the file holds lines that were not made here",
            where=problems[0].where,
            why=problems[0].why,
            remedy="name a new file, or take these lines out",
        )
    return rows


class _Work:
    """The state of one call; its methods run in one event loop."""

    def __init__(
        self,
        endpoint: Endpoint,
        order: Order,
        own: Own,
        file: AppendFile,
        seen: Seen,
        validate: Validate | None,
        on_progress: OnProgress | None,
    ) -> None:
        self._endpoint, self._order, self._own = endpoint, order, own
        self._file, self._seen, self._validate, self._on_progress = file, seen, validate, on_progress
        self._topics: list[str] = []
        self._asked = [_question(row) for row in own.examples]
        self._batch = 0
        self._in_flight = 0
        self._fruitless = 0
        self._rejected: Counter[str] = Counter()
        self._start = time.monotonic()
        self.progress = Progress(order.wanted, cost=0.0 if order.prices else None)

    def go_on_from(self, rows: Sequence[PendingRow], total: int) -> None:
        """Know the rows of earlier calls, of which `total` still count."""
        for row in rows:
            self._seen.add(row.row)
            self._asked.append(_question(row.row))
        self._batch = max((row.origin.batch for row in rows), default=0)
        self.progress = replace(self.progress, total=total)

    async def run(self, client: Client) -> None:
        """Ask with a few requests at a time until there is nothing left to do; the first failure ends all."""
        if self._done():
            return
        self._say("asking which topics there are")
        await self._find_topics(client)
        tasks = [asyncio.create_task(self._ask_on(client)) for _ in range(self._order.concurrency)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def note_retry(self, why: str, seconds: float) -> None:
        """An attempt failed and is tried again."""
        self.progress = replace(self.progress, retries=self.progress.retries + 1)
        self._say(f"waiting {seconds:.0f} s: {why}")

    async def _find_topics(self, client: Client) -> None:
        messages = topics_request(self._order.task, self._own.examples, self._order.seed + self._batch)
        answer = await self._ask(client, messages)
        self._topics = list(dict.fromkeys(one_line(text, 80) for text in strings(answer.text) if text.strip()))[:200]
        self._say()

    async def _ask_on(self, client: Client) -> None:
        while (count := self._next_count()) > 0:
            self._batch += 1
            batch = plan_batch(
                self._batch, count, self._order.seed, self._own.examples, self._topics, self._asked_sample()
            )
            self._in_flight += count
            try:
                answer = await self._ask(client, rows_request(self._order.task, batch))
            finally:
                self._in_flight -= count
            self._take(answer, batch)
            self._say()

    def _next_count(self) -> int:
        """How many rows the next request asks for; 0 when those under way are enough."""
        if self._done():
            return 0
        missing = self._order.wanted - self.progress.total - self._in_flight
        return min(self._order.per_request, missing)

    def _done(self) -> bool:
        spent = self._order.most_cost is not None and (self.progress.cost or 0.0) >= self._order.most_cost
        return spent or self.progress.total >= self._order.wanted

    def _asked_sample(self) -> list[str]:
        # What was asked last is the likeliest to be asked again: half of what can be shown is recent.
        rng = random.Random(self._batch)  # noqa: S311 - a choice of examples, guards nothing
        return list(dict.fromkeys(self._asked[-TAKEN:] + rng.sample(self._asked, min(TAKEN, len(self._asked)))))

    def _take(self, answer: Answer, batch: Batch) -> None:
        found = objects(answer.text)
        if not found:
            self._reject(MALFORMED)
        before = self.progress.accepted
        for value in found:
            if self.progress.total >= self._order.wanted:
                break
            self._judge(value, batch)
        self._fruitless = 0 if self.progress.accepted > before else self._fruitless + 1
        if self._fruitless >= FRUITLESS and not self._done():
            raise self._nothing_new()

    def _judge(self, value: dict[str, object], batch: Batch) -> None:
        self.progress = replace(self.progress, made=self.progress.made + 1)
        row = as_conversation(value)
        if not isinstance(row, str):
            row = _under(batch.system, row)
            reason = self._seen.contains(row) or (self._validate(row) if self._validate is not None else None)
            if reason is None:
                self._keep(row, batch.number)
                return
            row = one_line(reason, 80)
        self._reject(row)

    def _keep(self, row: Conversation, batch: int) -> None:
        self._file.append(line_of(row.messages, Origin.now(self._endpoint.model, self._endpoint.host, batch)))
        self._seen.add(row)
        self._asked.append(_question(row))
        self.progress = replace(self.progress, accepted=self.progress.accepted + 1, total=self.progress.total + 1)

    def _reject(self, reason: str) -> None:
        known = reason in self._rejected or len(self._rejected) < _REASONS
        self._rejected[reason if known else "other reasons"] += 1
        self.progress = replace(self.progress, rejected=dict(self._rejected.most_common()))

    async def _ask(self, client: Client, messages: Sequence[Mapping[str, str]]) -> Answer:
        answer = await client.complete(messages)
        self._count(answer, sum(len(one["content"]) for one in messages))
        return answer

    def _count(self, answer: Answer, sent: int) -> None:
        now, reported = self.progress, answer.tokens_in is not None and answer.tokens_out is not None
        tokens_in = now.tokens_in + _tokens(answer.tokens_in, sent)
        tokens_out = now.tokens_out + _tokens(answer.tokens_out, len(answer.text))
        prices = self._order.prices
        cost = None if prices is None else (tokens_in * prices.tokens_in + tokens_out * prices.tokens_out) / 1e6
        self.progress = replace(
            now,
            requests=now.requests + 1,
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            unreported=now.unreported + (not reported),
            cost=cost,
        )

    def _say(self, note: str = "") -> None:
        elapsed = time.monotonic() - self._start
        done, missing = self.progress.accepted, max(self.progress.wanted - self.progress.total, 0)
        left = elapsed / done * missing if done else None
        self.progress = replace(self.progress, elapsed=elapsed, left=left, note=note)
        if self._on_progress is not None:
            self._on_progress(self.progress)

    def _nothing_new(self) -> FtError:
        often = ", ".join(f"{reason} ({count})" for reason, count in self._rejected.most_common(3))
        return problem(
            f"{FRUITLESS} requests in a row gave no row that can be used",
            where=self._endpoint.host,
            why=f"rejected so far: {often}",
            remedy="describe the task more broadly, give more varied examples, or use a more capable model",
        )


def _under(system: str, row: Conversation) -> Conversation:
    """The row under the system turn of the user's rows, in place of any that the model has made up."""
    first = (Message("system", system),) if system else ()
    return replace(row, messages=first + tuple(turn for turn in row.messages if turn.role != "system"))


def _bad_task(what: str, why: str, remedy: str) -> FtError:
    return problem(what, where="task", why=why, remedy=remedy)


def _tokens(reported: int | None, characters: int) -> int:
    return -(-characters // _CHARACTERS_A_TOKEN) if reported is None else reported


def _question(row: Conversation) -> str:
    return next((turn.content for turn in row.messages if turn.role == "user"), "")
