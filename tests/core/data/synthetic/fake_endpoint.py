"""A real HTTP server on this machine that answers as an OpenAI-compatible endpoint does, or fails as they do."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WORDS = ("amber", "basil", "cedar", "delta", "ember", "fjord", "grove", "heron", "ivory", "jasper", "kelp", "linen",
         "maple", "nickel", "olive", "pearl", "quartz", "raven", "slate", "topaz", "umber", "violet", "willow",
         "xenon", "yarrow", "zephyr")  # fmt: skip


class Asked:
    """One request the server got."""

    def __init__(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> None:
        self.path, self.headers, self.body = path, headers, body

    @property
    def text(self) -> str:
        return str(self.body["messages"][-1]["content"])

    @property
    def wants_topics(self) -> bool:
        return "JSON array of strings" in self.text

    @property
    def wanted(self) -> int:
        found = re.search(r"Write (\d+) new examples", self.text)
        return int(found[1]) if found else 0


# Writes the response; the number counts requests from 0.
Reply = Callable[["Handler", Asked, int], None]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeEndpoint

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        asked = Asked(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
        with self.server.guard:
            number = len(self.server.asked)
            self.server.asked.append(asked)
            self.server.guard.notify_all()
        self.server.reply(self, asked, number)

    def send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"content-length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def say(self, content: object, **usage: int) -> None:
        """A chat completion with this content."""
        usage = usage or {"prompt_tokens": 100, "completion_tokens": 50}
        message = {"role": "assistant", "content": content}
        self.send(200, json.dumps({"choices": [{"message": message}], "usage": usage}).encode())

    def log_message(self, *_: Any) -> None:
        """The tests tell what matters."""


class FakeEndpoint(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, reply: Reply) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.reply = reply
        self.guard = threading.Condition()
        self.asked: list[Asked] = []
        # Set to let slow answers come to an end.
        self.released = threading.Event()

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def wait_for_requests(self, count: int) -> None:
        """Until as many requests have come; call it in a thread."""
        with self.guard:
            assert self.guard.wait_for(lambda: len(self.asked) >= count, 20)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle is what some tests are about."""


@contextmanager
def endpoint(reply: Reply) -> Iterator[FakeEndpoint]:
    server = FakeEndpoint(reply)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


def row(question: str, answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def fresh_row(number: int) -> dict[str, Any]:
    """A row that shares no three words with that of another number."""
    first, second, third = (WORDS[number // 26**place % 26] for place in range(3))
    return row(
        f"Where does {first}{number} {second} {third} grow?",
        f"{first}{number} grows{number} near{number} {second}{number} in{number} spring{number}.",
    )


def good(handler: Handler, asked: Asked, number: int) -> None:
    """Topics, or as many new rows as were asked for."""
    if asked.wants_topics:
        handler.say(json.dumps(["herbs", "trees", "stones"]))
    else:
        handler.say(json.dumps([fresh_row(number * 100 + place) for place in range(asked.wanted)]))
