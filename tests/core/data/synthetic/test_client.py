from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from email.utils import formatdate

import pytest

from finetune_core.data.synthetic.backoff import backoff, retry_after
from finetune_core.data.synthetic.client import ATTEMPTS, LARGEST_ANSWER, Answer, Client
from finetune_core.data.synthetic.endpoint import Endpoint, Key, key_from_environment
from finetune_core.errors import FtError
from tests.core.data.synthetic.fake_endpoint import Asked, FakeEndpoint, Handler, Reply, endpoint

CANARY = "sk-canary-5f1e9a7b3c"
MESSAGES = [{"role": "user", "content": "hello"}]


class Waits:
    """Stands for the clock: notes how long one would have waited."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.reasons: list[str] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)

    def note(self, why: str, seconds: float) -> None:
        self.reasons.append(why)


async def ask(server: FakeEndpoint, waits: Waits | None = None, **changes: object) -> Answer:
    waits = waits or Waits()
    values: dict[str, object] = {"key": Key(CANARY), "timeout": 20.0, **changes}
    # A client that never gives up must fail a test, not stop the suite.
    async with asyncio.timeout(15):
        async with Client(Endpoint(server.base, "m", **values), wait=waits, on_retry=waits.note) as client:  # type: ignore[arg-type]
            return await client.complete(MESSAGES)


def first(failure: Reply, times: int = 1) -> Reply:
    """Fails some times, then answers."""

    def reply(handler: Handler, asked: Asked, number: int) -> None:
        if number < times:
            failure(handler, asked, number)
        else:
            handler.say("fine")

    return reply


def status(code: int, text: str = "", **headers: str) -> Reply:
    body = json.dumps({"error": {"message": text or f"status {code}"}}).encode()
    return lambda handler, _asked, _number: handler.send(code, body, **headers)


async def test_one_answer_with_its_tokens_is_asked_for_as_the_api_says() -> None:
    with endpoint(lambda handler, _asked, _number: handler.say("hi", prompt_tokens=7, completion_tokens=3)) as server:
        assert await ask(server) == Answer("hi", 7, 3)
        asked = server.asked[0]
        assert asked.path == "/v1/chat/completions"
        assert asked.headers["authorization"] == f"Bearer {CANARY}"
        assert asked.body == {"model": "m", "messages": MESSAGES}


async def test_an_endpoint_without_a_key_gets_no_authorization() -> None:
    with endpoint(first(status(500), 0)) as server:
        await ask(server, key=None, temperature=0.5)
        assert "authorization" not in server.asked[0].headers
        assert server.asked[0].body["temperature"] == 0.5


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (401, "does not accept the key"),
        (403, "may not use this model"),
        (402, "credit"),
        (404, "does not know this address or model"),
        (400, "refuses the request"),
        (307, "has moved"),
    ],
)
async def test_what_cannot_pass_is_told_at_once_in_words_with_the_reason_the_endpoint_gives(
    code: int, words: str
) -> None:
    headers = {"location": "http://other.example/v1"} if code == 307 else {}
    with endpoint(status(code, "because of\x1b[31m this", **headers)) as server:
        with pytest.raises(FtError) as caught:
            await ask(server)
        assert len(server.asked) == 1
    found = caught.value.problems[0]
    assert words in found.what
    assert str(code) in found.what
    assert "\x1b" not in str(caught.value)
    assert ("other.example" if code == 307 else "because of") in found.why


async def test_a_missing_key_is_told_apart_from_a_wrong_one() -> None:
    with endpoint(status(401)) as server, pytest.raises(FtError, match="wants a key, and none is set") as caught:
        await ask(server, key=None)
    assert "export OPENAI_API_KEY" in caught.value.problems[0].remedy


async def test_too_many_requests_wait_as_long_as_retry_after_says() -> None:
    waits = Waits()
    with endpoint(first(status(429, "slow down", retry_after="17"), 2)) as server:
        assert (await ask(server, waits)).text == "fine"
        assert len(server.asked) == 3
    assert waits.seconds == [17.0, 17.0]
    assert "slow down" in waits.reasons[0]


async def test_retry_after_may_be_a_date() -> None:
    waits = Waits()
    with endpoint(first(status(429, retry_after=formatdate(time.time() + 120, usegmt=True)))) as server:
        await ask(server, waits)
    assert 115 < waits.seconds[0] <= 120


async def test_a_wait_of_an_hour_is_told_instead_of_sat_out() -> None:
    waits = Waits()
    with endpoint(status(429, "daily limit", retry_after="3600")) as server:
        with pytest.raises(FtError, match=r"asks to wait 1 h 00 min[\s\S]*daily limit"):
            await ask(server, waits)
        assert len(server.asked) == 1
    assert waits.seconds == []


async def test_used_up_credit_is_not_taken_for_too_many_requests() -> None:
    with endpoint(status(429, "insufficient_quota")) as server, pytest.raises(FtError, match="credit there is used up"):
        await ask(server)


async def test_a_server_that_keeps_failing_is_asked_a_bounded_number_of_times_ever_more_slowly() -> None:
    waits = Waits()
    with endpoint(status(500, "out of order")) as server:
        with pytest.raises(FtError, match=r"in 6 attempts[\s\S]*out of order"):
            await ask(server, waits)
        assert len(server.asked) == ATTEMPTS
    assert len(waits.seconds) == ATTEMPTS - 1
    assert all(0.7 * 2**place < seconds < 1.3 * 2**place for place, seconds in enumerate(waits.seconds))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"choices": []}',
        b'{"choices": [{"message": {"content": null}}]}',
        b"[" * 100_000,
        b'{"choices": 1' + b"0" * 5000 + b"}",
        b"\xff\xfe",
    ],
    ids=range(9),
)
async def test_an_answer_that_is_no_chat_completion_is_asked_for_again(body: bytes) -> None:
    waits = Waits()
    with endpoint(first(lambda handler, _asked, _number: handler.send(200, body))) as server:
        assert (await ask(server, waits)).text == "fine"
    assert "no chat completion" in waits.reasons[0]


async def test_a_connection_cut_in_mid_answer_is_asked_again() -> None:
    def cut(handler: Handler, _asked: Asked, _number: int) -> None:
        handler.send_response(200)
        handler.send_header("content-length", "1000")
        handler.end_headers()
        handler.wfile.write(b'{"choices": [{"mess')
        handler.close_connection = True

    waits = Waits()
    with endpoint(first(cut)) as server:
        assert (await ask(server, waits)).text == "fine"
    assert "broke off" in waits.reasons[0]


async def test_nobody_listening_is_told_with_the_place() -> None:
    with endpoint(first(status(500), 0)) as server:
        base = server.base
    waits = Waits()
    async with Client(Endpoint(base, "m"), wait=waits) as client:
        with pytest.raises(FtError, match="cannot be reached") as caught:
            await client.complete(MESSAGES)
    assert caught.value.problems[0].where in base


async def test_a_huge_answer_is_refused_before_it_is_read_to_its_end() -> None:
    sent = []

    def huge(handler: Handler, _asked: Asked, _number: int) -> None:
        handler.send_response(200)
        handler.send_header("content-length", str(10**12))
        handler.end_headers()
        while True:
            handler.wfile.write(b" " * 2**20)
            sent.append(2**20)

    with endpoint(huge) as server:
        with pytest.raises(FtError, match="too large"):
            await ask(server)
        assert len(server.asked) == 1
    assert sum(sent) < 8 * LARGEST_ANSWER


async def test_a_huge_complaint_does_not_hide_the_status() -> None:
    def wordy(handler: Handler, _asked: Asked, _number: int) -> None:
        handler.send(401, b"x" * 10**6)

    with endpoint(wordy) as server, pytest.raises(FtError, match="does not accept the key"):
        await ask(server)


async def test_a_packed_answer_is_not_unpacked() -> None:
    waits = Waits()
    packed = first(lambda handler, _asked, _number: handler.send(200, b"\x1f\x8b", content_encoding="gzip"))
    with endpoint(packed) as server:
        await ask(server, waits)
    assert "packed" in waits.reasons[0]


def slow(handler: Handler, _asked: Asked, _number: int) -> None:
    handler.send_response(200)
    handler.send_header("content-length", "100")
    handler.end_headers()
    handler.wfile.write(b"{")
    handler.wfile.flush()
    handler.server.released.wait(20)


async def test_an_answer_that_takes_too_long_is_given_up_although_bytes_keep_coming() -> None:
    waits = Waits()
    with endpoint(first(slow)) as server:
        assert (await ask(server, waits, timeout=0.2)).text == "fine"
    assert "no answer within" in waits.reasons[0]


async def test_a_request_under_way_can_be_interrupted_at_once() -> None:
    with endpoint(slow) as server:
        task = asyncio.create_task(ask(server))
        await asyncio.to_thread(server.wait_for_requests, 1)
        begun = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - begun < 1


async def test_the_key_appears_in_no_error_log_or_answer_though_the_endpoint_repeats_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    replies = [status(401, f"Incorrect key {CANARY}"), status(500, CANARY), first(status(500), 0)]
    seen = []
    for reply in replies:
        waits = Waits()
        with endpoint(reply) as server:
            try:
                seen.append(repr(await ask(server, waits)))
            except FtError as error:
                seen += [str(error), repr(error), repr(error.__cause__), repr(error.__context__)]
        seen += waits.reasons
    with endpoint(lambda handler, _asked, _number: handler.say(f"your key is {CANARY}")) as server:
        seen.append((await ask(server)).text)
    seen += [repr(Endpoint("http://h/v1", "m", Key(CANARY))), caplog.text]
    assert "[key hidden]" in seen[0]
    assert not [words for words in seen if CANARY in words]


def test_the_key_comes_from_the_environment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert key_from_environment() is None
    monkeypatch.setenv("MY_KEY", f" {CANARY}\n")
    found = key_from_environment("MY_KEY")
    assert found is not None
    assert found.reveal() == CANARY
    with pytest.raises(FtError, match="not set"):
        key_from_environment("OTHER_KEY")
    monkeypatch.setenv("MY_KEY", "schlüssel")
    with pytest.raises(FtError, match="characters no key has"):
        key_from_environment("MY_KEY")


@pytest.mark.parametrize("typed", [CANARY, "hf_abcdef", "A" * 80, ""])
def test_a_key_typed_for_its_variable_is_refused_and_not_repeated(typed: str) -> None:
    with pytest.raises(FtError) as caught:
        key_from_environment(typed)
    assert not typed or typed not in str(caught.value)


@pytest.mark.parametrize(
    "base", ["", "host/v1", "ftp://host", "http://", "http://h:99999", "http://h:x", "http://a b/v1", "http://h/\x1b[2J",
             "http://user:secret@h/v1", "https://h/v1?key=secret", "https://h/#x", "http://[::1"],
)  # fmt: skip
def test_an_address_that_is_none_or_holds_a_secret_is_refused_without_repeating_it(base: str) -> None:
    with pytest.raises(FtError) as caught:
        Endpoint(base, "m")
    assert "secret" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_an_address_is_taken_with_and_without_its_end() -> None:
    wanted = "https://host:8000/v1/chat/completions"
    bases = ("https://host:8000/v1", "https://host:8000/v1/", wanted)
    assert {Endpoint(base, "m").url for base in bases} == {wanted}
    with pytest.raises(FtError, match="no model is named"):
        Endpoint("https://host/v1", " ")


def test_a_key_over_a_network_without_encryption_is_noticed() -> None:
    assert Endpoint("http://host/v1", "m", Key(CANARY)).sends_key_in_clear
    assert not Endpoint("http://127.0.0.1:8000/v1", "m", Key(CANARY)).sends_key_in_clear
    assert not Endpoint("https://host/v1", "m", Key(CANARY)).sends_key_in_clear


async def test_a_proxy_that_cannot_be_used_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "nonsense://[")
    with pytest.raises(FtError, match="cannot be set up"):
        async with Client(Endpoint("http://example.invalid/v1", "m")):
            pass


def test_retry_after_reads_numbers_and_dates_and_ignores_the_rest() -> None:
    now = 1_800_000_000.0
    assert retry_after("2.5") == 2.5
    assert retry_after("-3") == 0
    assert retry_after(formatdate(now + 30, usegmt=True), now) == 30
    assert retry_after(formatdate(now - 30, usegmt=True), now) == 0
    assert [retry_after(text) for text in (None, "", "soon", "nan", "inf", "99 Foo 2026")] == [None] * 6


def test_waiting_grows_and_stays_bounded() -> None:
    waits = [backoff(attempt, random.Random(0)) for attempt in range(1, 2000)]
    assert waits[0] < waits[2] < waits[4]
    assert max(waits) <= 75
