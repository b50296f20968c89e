from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from finetune_core.data.rows import Conversation, Message
from finetune_core.data.synthetic.endpoint import Endpoint, Key
from finetune_core.data.synthetic.make import Order, Prices, Progress, generate
from finetune_core.data.synthetic.own import Own, read_own, sample_own
from finetune_core.data.synthetic.pending import read_pending
from finetune_core.data.synthetic.review import Review
from finetune_core.data.synthetic.seen import Shingles
from finetune_core.errors import FtError
from tests.core.data.synthetic.fake_endpoint import (
    Asked,
    FakeEndpoint,
    Handler,
    Reply,
    endpoint,
    fresh_row,
    good,
    row,
)

CANARY = "sk-canary-5f1e9a7b3c"
OWN_ROWS = [row(f"Where does number{n} live?", f"Number{n} lives in house {n}.") for n in range(3)]


@pytest.fixture
def own_file(tmp_path: Path) -> Path:
    file = tmp_path / "own.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in OWN_ROWS))
    return file


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "new.pending.jsonl"


async def no_wait(_seconds: float) -> None:
    return None


class Job:
    """One call, with what it told on the way."""

    def __init__(self, server: FakeEndpoint, own_file: Path, out: Path) -> None:
        self.server, self.own_file, self.out = server, own_file, out
        self.told: list[Progress] = []

    async def run(self, wanted: int = 12, *, validate: Any = None, **order: Any) -> Progress:
        seen = Shingles()
        own = read_own(str(self.own_file), seen)
        return await generate(
            Endpoint(self.server.base, "writer-1", Key(CANARY)),
            Order("Say where things grow.", wanted, **order),
            own,
            self.out,
            seen=seen,
            validate=validate,
            on_progress=self.told.append,
            wait=no_wait,
        )


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def all_bytes(folder: Path) -> list[bytes]:
    return [file.read_bytes() for file in folder.rglob("*") if file.is_file()]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def questions(path: Path) -> list[str]:
    return [one["messages"][0]["content"] for one in lines(path)]


async def test_as_many_rows_as_wanted_wait_each_marked_with_its_generator(own_file: Path, out: Path) -> None:
    with endpoint(good) as server:
        job = Job(server, own_file, out)
        done = await job.run(12, prices=Prices(1.0, 10.0))
    found = lines(out)
    assert len(found) == len({json.dumps(one["messages"]) for one in found}) == 12
    marks = found[0]["synthetic"]
    assert marks["generator"] == "writer-1"
    assert marks["endpoint"] == server.base.split("/")[2]
    assert marks["at"].startswith("20")
    assert {one["synthetic"]["batch"] for one in found} == {1, 2, 3}
    assert (done.total, done.accepted, done.made, done.rejected) == (12, 12, 12, {})
    assert (done.requests, done.tokens_in, done.tokens_out) == (4, 400, 200)
    assert done.cost == pytest.approx((400 * 1 + 200 * 10) / 1e6)
    assert [told.accepted for told in job.told] == sorted(told.accepted for told in job.told)
    assert any(told.left for told in job.told)
    assert mode(out) == 0o600


async def test_every_request_asks_for_another_kind_and_names_what_exists(own_file: Path, out: Path) -> None:
    with endpoint(good) as server:
        await Job(server, own_file, out).run(20, concurrency=1)
    topics, *asked = server.asked
    assert topics.wants_topics
    assert all("Say where things grow." in one.text for one in server.asked)
    assert all("Where does number" in one.text for one in asked)
    assert any(word in asked[0].text for word in ("herbs", "trees", "stones"))
    kinds = {one.text.split("no two alike")[1] for one in asked}
    assert len(kinds) == len(asked) == 4
    assert any(question in asked[-1].text for question in questions(out)[:15])


async def test_the_same_seed_asks_the_same_and_another_seed_something_else(own_file: Path, tmp_path: Path) -> None:
    texts = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        with endpoint(good) as server:
            await Job(server, own_file, tmp_path / f"{name}.pending.jsonl").run(5, seed=seed, concurrency=1)
            texts.append([one.text for one in server.asked])
    assert texts[0] == texts[1] != texts[2]


async def test_a_second_call_goes_on_to_the_wanted_number(own_file: Path, out: Path) -> None:
    with endpoint(good) as server:
        job = Job(server, own_file, out)
        await job.run(4)
        first = lines(out)
        done = await job.run(9)
        assert lines(out)[:4] == first
        assert (done.total, done.accepted) == (9, 5)
        asked = len(server.asked)
        assert (await job.run(9)).accepted == 0
        assert len(server.asked) == asked
    assert max(one["synthetic"]["batch"] for one in lines(out)) == 2


async def test_rows_rejected_in_review_are_replaced_and_not_made_again(own_file: Path, out: Path) -> None:
    with endpoint(good) as server:
        await Job(server, own_file, out).run(4)
    with Review(out) as review:
        review.reject(review.rows[0].id, review.rows[1].id)
    gone = questions(out)[:2]

    def again(handler: Handler, asked: Asked, number: int) -> None:
        if asked.wants_topics or number > 1:
            good(handler, asked, number + 10)
        else:
            handler.say(json.dumps([row(question, "Another answer here.") for question in gone]))

    with endpoint(again) as server:
        done = await Job(server, own_file, out).run(4)
    assert done.rejected == {"duplicate": 2}
    assert len(lines(out)) == 6


async def test_repeated_and_unfit_rows_are_rejected_and_counted_by_reason(own_file: Path, out: Path) -> None:
    def mixed(handler: Handler, asked: Asked, number: int) -> None:
        if asked.wants_topics or number > 1:
            good(handler, asked, number)
            return
        near = fresh_row(7)
        near["messages"][0]["content"] += " Please"
        candidates = [OWN_ROWS[0], fresh_row(7), fresh_row(7), near, row("Empty?", ""), {"odd": 1}, fresh_row(8),
                      row("Where is the forbidden one, if anywhere?", "It is not told here.")]  # fmt: skip
        handler.say(json.dumps(candidates))

    def validate(found: Conversation) -> str | None:
        return "forbidden" if "forbidden" in found.messages[0].content else None

    with endpoint(mixed) as server:
        done = await Job(server, own_file, out).run(6, validate=validate, concurrency=1)
    assert done.rejected == {
        "duplicate": 2,
        "near duplicate": 1,
        "the answer is empty": 1,
        "no conversation": 1,
        "forbidden": 1,
    }
    assert done.made == 12
    assert len(lines(out)) == 6


async def test_an_answer_without_rows_is_counted_and_asked_for_again(own_file: Path, out: Path) -> None:
    def chatty(handler: Handler, asked: Asked, number: int) -> None:
        if number in (0, 1, 2):
            handler.say("I am sorry, I cannot write JSON.")
        else:
            good(handler, asked, number)

    with endpoint(chatty) as server:
        done = await Job(server, own_file, out).run(5, concurrency=1)
    assert done.rejected == {"no JSON in the answer": 2}
    assert done.total == 5


async def test_a_model_that_gives_nothing_new_is_told_instead_of_paid_for_ever(own_file: Path, out: Path) -> None:
    with endpoint(lambda handler, _asked, _number: handler.say(json.dumps([OWN_ROWS[0]]))) as server:
        with pytest.raises(FtError, match=r"gave no row[\s\S]*duplicate"):
            await Job(server, own_file, out).run(5)
        assert len(server.asked) < 12


async def test_a_limit_of_cost_ends_the_work(own_file: Path, out: Path) -> None:
    with endpoint(good) as server:
        done = await Job(server, own_file, out).run(
            1000, prices=Prices(1000, 1000), most_cost=0.5, concurrency=1, per_request=2
        )
    assert done.cost == pytest.approx(0.6)
    assert done.total == 6
    with pytest.raises(FtError, match="needs prices"):
        Order("x", 1, most_cost=1.0)


async def test_tokens_the_endpoint_does_not_tell_are_estimated_and_said_so(own_file: Path, out: Path) -> None:
    def silent(handler: Handler, asked: Asked, number: int) -> None:
        content = json.dumps(["a"] if asked.wants_topics else [fresh_row(number)])
        message = {"choices": [{"message": {"content": content}}], "usage": None}
        handler.send(200, json.dumps(message).encode())

    with endpoint(silent) as server:
        done = await Job(server, own_file, out).run(1)
    assert done.unreported == 2
    assert done.tokens_in > 100
    assert done.tokens_out > 10


async def test_a_first_call_that_makes_nothing_leaves_no_file(own_file: Path, out: Path, tmp_path: Path) -> None:
    with endpoint(failing_after(0, 401)) as server, pytest.raises(FtError):
        await Job(server, own_file, out).run(5)
    assert len(all_bytes(tmp_path)) == 1


@pytest.mark.parametrize("task", [" ", "x" * 20_001])
def test_a_task_that_says_nothing_or_too_much_is_refused(task: str) -> None:
    with pytest.raises(FtError, match="the task is"):
        Order(task, 1)


def failing_after(number: int, code: int) -> Reply:
    def reply(handler: Handler, asked: Asked, at: int) -> None:
        if at < number:
            good(handler, asked, at)
        else:
            handler.send(code, b"{}")

    return reply


async def test_a_failure_in_the_middle_keeps_what_was_made_and_a_later_call_goes_on(own_file: Path, out: Path) -> None:
    with endpoint(failing_after(3, 401)) as server, pytest.raises(FtError, match="does not accept the key"):
        await Job(server, own_file, out).run(30)
    kept = lines(out)
    assert 5 <= len(kept) < 30
    with endpoint(lambda handler, asked, number: good(handler, asked, number + 50)) as server:
        await Job(server, own_file, out).run(30)
    assert lines(out)[: len(kept)] == kept
    assert len(lines(out)) == 30


async def test_an_interruption_in_a_slow_answer_keeps_what_was_made(own_file: Path, out: Path) -> None:
    def then_slow(handler: Handler, asked: Asked, number: int) -> None:
        if number < 2:
            good(handler, asked, number)
        else:
            handler.server.released.wait(20)

    with endpoint(then_slow) as server:
        task = asyncio.create_task(Job(server, own_file, out).run(50, concurrency=1))
        await asyncio.to_thread(server.wait_for_requests, 3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 2)
    assert len(lines(out)) == 5


async def test_no_more_requests_than_allowed_are_under_way_at_once(own_file: Path, out: Path) -> None:
    under_way, most = 0, 0

    def counted(handler: Handler, asked: Asked, number: int) -> None:
        nonlocal under_way, most
        with handler.server.guard:
            under_way += 1
            most = max(most, under_way)
        # On a busy machine the third may come late; one more than allowed would come as well.
        for _ in range(200):
            handler.server.released.wait(0.02)
            if most >= 3:
                break
        with handler.server.guard:
            under_way -= 1
        good(handler, asked, number)

    with endpoint(counted) as server:
        await Job(server, own_file, out).run(40, concurrency=3)
    assert most == 3


async def test_the_key_is_in_no_file_and_in_no_row(own_file: Path, out: Path, tmp_path: Path) -> None:
    def telltale(handler: Handler, asked: Asked, number: int) -> None:
        found = [fresh_row(number * 100 + place) for place in range(asked.wanted)]
        for one in found:
            one["messages"][1]["content"] += handler.headers["authorization"]
        handler.say(json.dumps(found or ["a"]))

    with endpoint(telltale) as server:
        job = Job(server, own_file, out)
        await job.run(5)
        assert not [one for one in server.asked if CANARY in json.dumps(one.body)]
    written = all_bytes(tmp_path)
    assert any(b"[key hidden]" in data for data in written)
    assert not [data for data in written if CANARY.encode() in data]
    assert CANARY not in repr(job.told)


async def test_rows_come_under_the_system_turn_of_the_users_rows(tmp_path: Path, out: Path) -> None:
    file = tmp_path / "own.jsonl"
    system = {"role": "system", "content": "You are a gardener."}
    file.write_text(json.dumps({"messages": [system, *OWN_ROWS[0]["messages"]]}) + "\n")

    def with_another(handler: Handler, asked: Asked, number: int) -> None:
        one = fresh_row(number)
        one["messages"].insert(0, {"role": "system", "content": "You are a pirate."})
        handler.say(json.dumps(["a"] if asked.wants_topics else [one]))

    with endpoint(with_another) as server:
        await Job(server, file, out).run(2)
        assert "You are a gardener." in server.asked[-1].text
    assert [one["messages"][0] for one in lines(out)] == [system, system]
    assert [turn["role"] for turn in lines(out)[0]["messages"]] == ["system", "user", "assistant"]


async def test_a_file_with_other_rows_is_never_added_to(own_file: Path, tmp_path: Path) -> None:
    with endpoint(good) as server:
        with pytest.raises(FtError, match=r"synthetic\.pending\.jsonl|own\.pending\.jsonl"):
            await Job(server, own_file, own_file).run(1)
        foreign = tmp_path / "rows.pending.jsonl"
        foreign.write_text(json.dumps(OWN_ROWS[0]) + "\n")
        before = foreign.read_bytes()
        with pytest.raises(FtError, match=r"not made here[\s\S]*not marked"):
            await Job(server, own_file, foreign).run(1)
        assert foreign.read_bytes() == before
        assert server.asked == []


def test_own_rows_are_all_known_and_a_bounded_sample_serves_as_examples(tmp_path: Path) -> None:
    file = tmp_path / "many.jsonl"
    many = [row(f"question number {n}", "answer") for n in range(1000)]
    file.write_text("".join(json.dumps(one) + "\n" for one in [*many, row("x", "y" * 9000), {"instruction": 3}]))
    seen = Shingles()
    own = read_own(str(file), seen)
    assert (len(own.examples), own.count, own.unusable) == (200, 1001, 1)
    assert max(one.number for one in own.examples) > 500
    assert seen.contains(Conversation(1, (Message("user", "Question number 999"), Message("assistant", "z"))))


def test_rows_that_are_all_too_long_cannot_serve_as_examples(tmp_path: Path) -> None:
    file = tmp_path / "long.jsonl"
    file.write_text(json.dumps(row("x", "y" * 9000)) + "\n")
    with pytest.raises(FtError, match="no row can serve as an example"):
        read_own(str(file), Shingles())
    assert sample_own([], Shingles()) == Own((), 0)


_CHILD = """
import asyncio, sys
from pathlib import Path
from finetune_core.data.synthetic.endpoint import Endpoint
from finetune_core.data.synthetic.make import Order, generate
from finetune_core.data.synthetic.own import read_own
from finetune_core.data.synthetic.seen import Shingles
base, own, out = sys.argv[1:]
seen = Shingles()
asyncio.run(generate(Endpoint(base, "m"), Order("t", 100000), read_own(own, seen), Path(out), seen=seen,
                     on_progress=lambda told: print(told.total, flush=True)))
"""


def test_kill_9_loses_no_row_that_was_told_and_leaves_none_torn(own_file: Path, out: Path) -> None:
    with endpoint(good) as server:
        command = [sys.executable, "-c", _CHILD, server.base, str(own_file), str(out)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            told = 0
            while told < 40:
                told = int(child.stdout.readline())
            os.kill(child.pid, signal.SIGKILL)
            told = max([told, *(int(line) for line in child.stdout if line.endswith("\n"))])
    rows, problems = read_pending(out)
    assert not problems
    assert len(rows) >= told
