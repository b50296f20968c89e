"""Asks an OpenAI-compatible endpoint for one answer, and asks again where that can help."""

from __future__ import annotations

import asyncio
import json
import random
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from finetune_core.data.synthetic.backoff import backoff, retry_after
from finetune_core.data.synthetic.endpoint import Endpoint
from finetune_core.errors import FtError, problem
from finetune_core.text import clean, duration_text, one_line

if TYPE_CHECKING:
    import httpx2

ATTEMPTS: Final = 6
LARGEST_ANSWER: Final = 4 * 2**20
LONGEST_WAIT: Final = 600.0
_LARGEST_COMPLAINT: Final = 64 * 1024
_CONNECT_SECONDS: Final = 15.0
_TRY_AGAIN: Final = frozenset({408, 409, 425, 429})

Wait = Callable[[float], Awaitable[None]]
# Called before each wait with the reason in words and the seconds.
OnRetry = Callable[[str, float], None]


@dataclass(frozen=True)
class Answer:
    """What the model wrote, and the tokens it cost (None where the endpoint does not report them)."""

    text: str
    tokens_in: int | None
    tokens_out: int | None


class _AgainError(Exception):
    """This attempt failed in a way that may pass: why, and how long the endpoint asks to wait."""

    def __init__(self, why: str, after: float | None = None) -> None:
        super().__init__(why)
        self.why, self.after = why, after


class Client:
    """A connection to an endpoint; use it as an async context manager. Cancelling the task ends a request at once."""

    def __init__(
        self, endpoint: Endpoint, *, wait: Wait = asyncio.sleep, on_retry: OnRetry | None = None, seed: int = 0
    ) -> None:
        self._endpoint = endpoint
        self._wait = wait
        self._on_retry = on_retry
        self._rng = random.Random(seed)  # noqa: S311 - spreads retries, guards nothing
        self._http: httpx2.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        import httpx2

        try:
            self._http = _http_client(self._endpoint)
        except (ValueError, ImportError, httpx2.InvalidURL, OSError) as error:
            remedy = "check HTTPS_PROXY, ALL_PROXY and SSL_CERT_FILE (socks proxies are not known)"
            raise self._refused("the connection cannot be set up", self._said(str(error)), remedy) from None
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    async def complete(self, messages: Sequence[Mapping[str, str]]) -> Answer:
        """One answer to these messages (role, content).

        Tries at most six times: cut connections, 5xx, 408, 429 and answers that are no JSON are tried again, after
        the time that Retry-After names or a growing one. FtError with the endpoint's words when it is of no use.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._once(messages)
            except _AgainError as again:
                if attempt == ATTEMPTS:
                    raise self._given_up(again.why) from None
                await self._pause(again, attempt)
        raise AssertionError("the last attempt returns or raises")

    async def _pause(self, again: _AgainError, attempt: int) -> None:
        seconds = backoff(attempt, self._rng) if again.after is None else again.after
        if seconds > LONGEST_WAIT:
            raise problem(
                f"the endpoint asks to wait {duration_text(seconds)}",
                where=self._endpoint.host,
                why=again.why,
                remedy="run the same command again then: it goes on where it stopped",
            )
        if self._on_retry is not None:
            self._on_retry(again.why, seconds)
        await self._wait(seconds)

    async def _once(self, messages: Sequence[Mapping[str, str]]) -> Answer:
        import httpx2

        assert self._http is not None, "the client is used inside `async with`"
        body: dict[str, object] = {"model": self._endpoint.model, "messages": list(messages)}
        if self._endpoint.temperature is not None:
            body["temperature"] = self._endpoint.temperature
        try:
            async with (
                asyncio.timeout(self._endpoint.timeout),
                self._http.stream("POST", self._endpoint.url, json=body) as response,
            ):
                return await self._read(response)
        except TimeoutError:
            raise _AgainError(f"no answer within {duration_text(self._endpoint.timeout)}") from None
        except (httpx2.InvalidURL, httpx2.LocalProtocolError) as error:
            raise self._refused("no request can be sent there", self._said(str(error)), "check the URL") from None
        except httpx2.ConnectError as error:
            # The chain is cut on purpose: what these errors carry along is the request, with its headers.
            if isinstance(error.__cause__, ssl.SSLError) or "CERTIFICATE" in str(error):
                raise self._no_certificate(str(error)) from None
            raise _AgainError(f"it cannot be reached ({self._said(str(error))})") from None
        except httpx2.RequestError as error:
            raise _AgainError(f"the connection broke off ({self._said(str(error)) or type(error).__name__})") from None

    async def _read(self, response: httpx2.Response) -> Answer:
        status = response.status_code
        if status != 200:
            data = await _body(response, _LARGEST_COMPLAINT)
            raise self._complaint(status, (data or b"").decode(errors="replace"), response.headers)
        # An answer that unpacks to gigabytes is not asked for, so a packed one is not unpacked.
        if response.headers.get("content-encoding", "identity") != "identity":
            raise _AgainError("its answer is packed, which was not asked for")
        data = await _body(response, LARGEST_ANSWER)
        if data is None:
            raise problem(
                "the endpoint's answer is too large",
                where=self._endpoint.host,
                why=f"it is longer than {LARGEST_ANSWER // 2**20} MiB, for a few rows",
                remedy="ask for fewer rows in a request, or use another model: this one does not come to an end",
            )
        return self._answer(data)

    def _answer(self, data: bytes) -> Answer:
        try:
            value = json.loads(data)
            message = value["choices"][0]["message"]
            usage = value.get("usage") or {}
            text = _content(message["content"])
        except (ValueError, RecursionError, KeyError, IndexError, TypeError, AttributeError):
            raise _AgainError(f"its answer is no chat completion ({self._said(data[:400].decode(errors='replace'))})") \
                from None  # fmt: skip
        return Answer(self._endpoint.redact(text), _count(usage, "prompt_tokens"), _count(usage, "completion_tokens"))

    def _complaint(self, status: int, text: str, headers: Mapping[str, str]) -> Exception:
        """An error status as an attempt to repeat, or as words for the user."""
        said = self._said(_words_of(text)) or "it gave no reason"
        if status == 402 or "insufficient_quota" in text:
            return self._refused(f"the credit there is used up (HTTP {status})", said, "top it up, then run this again")
        if status in _TRY_AGAIN or status >= 500:
            why = "too many requests" if status == 429 else "trouble there"
            return _AgainError(f"{why}, HTTP {status}: {said}", retry_after(headers.get("retry-after")))
        if status in (401, 403):
            return self._no_access(status, said)
        if 300 <= status < 400:
            place = self._said(headers.get("location", "")) or "elsewhere"
            remedy = "give the address it really has as URL; the key is not carried to another one"
            return self._refused(f"the endpoint has moved (HTTP {status})", f"it sends to {place}", remedy)
        if status in (404, 405):
            remedy = "check the URL (most end in /v1) and the model's name"
            return self._refused(f"the endpoint does not know this address or model (HTTP {status})", said, remedy)
        remedy = "check the model's name and the options; with a small context, give fewer or shorter rows"
        return self._refused(f"the endpoint refuses the request (HTTP {status})", said, remedy)

    def _no_access(self, status: int, said: str) -> FtError:
        variable = self._endpoint.key_variable
        if self._endpoint.key is None:
            remedy = f"set the key: read -rs {variable}; export {variable}"
            return self._refused(f"the endpoint wants a key, and none is set (HTTP {status})", said, remedy)
        what = "the endpoint does not accept the key" if status == 401 else "the key may not use this model"
        remedy = f"check that {variable} holds a valid key for this endpoint and model"
        return self._refused(f"{what} (HTTP {status})", said, remedy)

    def _no_certificate(self, text: str) -> FtError:
        remedy = "use the right host name; for a certificate of your own set SSL_CERT_FILE"
        return self._refused("the endpoint cannot prove who it is", self._said(text), remedy)

    def _given_up(self, why: str) -> FtError:
        remedy = "check URL and network, and run the same command again: it goes on where it stopped"
        return self._refused(
            f"the endpoint gave no usable answer in {ATTEMPTS} attempts", f"the last time: {why}", remedy
        )

    def _refused(self, what: str, why: str, remedy: str) -> FtError:
        return problem(what, where=self._endpoint.host, why=why, remedy=remedy)

    def _said(self, text: str) -> str:
        """Words from outside: without the key, harmless, short."""
        return one_line(clean(self._endpoint.redact(text)), 200)


def _http_client(endpoint: Endpoint) -> httpx2.AsyncClient:
    import httpx2

    headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "ft-tui"}
    if endpoint.key is not None:
        headers["Authorization"] = f"Bearer {endpoint.key.reveal()}"
    # A key must not follow a redirect to another host; a proxy of the environment knows no server on this machine.
    return httpx2.AsyncClient(
        headers=headers,
        timeout=httpx2.Timeout(None, connect=_CONNECT_SECONDS),
        follow_redirects=False,
        trust_env=not endpoint.is_local,
    )


async def _body(response: httpx2.Response, limit: int) -> bytes | None:
    """The body as it travels; None as soon as it is longer than `limit` bytes."""
    found = bytearray()
    async for block in response.aiter_raw():
        found += block
        if len(found) > limit:
            return None
    return bytes(found)


def _content(value: object) -> str:
    """The text of a message: a string, or the text parts of a list."""
    if isinstance(value, list):
        return "".join(str(part["text"]) for part in value if part.get("type") in ("text", "output_text"))
    if not isinstance(value, str):
        raise TypeError("the message has no text")
    return value


def _count(usage: object, name: str) -> int | None:
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if type(value) is int and 0 <= value < 2**40 else None


def _words_of(text: str) -> str:
    """The sentence in an error's body: {"error": {"message": ...}} and its relatives, or the body itself."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    for name in ("error", "message", "detail"):
        if isinstance(value, dict) and value.get(name):
            value = value[name]
    return value if isinstance(value, str) else text
