"""What a hub can do wrong, for the stand-ins that tests ask: each fault answers a request in place of the server."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler

Fault = Callable[[BaseHTTPRequestHandler, str], bool]


def answering(code: int, *, at: str = "", **headers: str) -> Fault:
    """This status for each address that holds `at`."""

    def fault(pages: BaseHTTPRequestHandler, path: str) -> bool:
        if at not in path:
            return False
        pages.send_response(code)
        for name, value in (headers | {"Content-Length": "0"}).items():
            pages.send_header(name.replace("_", "-"), value)
        pages.end_headers()
        return True

    return fault


def cutting(at: str, content: bytes, etag: str, *, times: int, reset: bool) -> Fault:
    """Half of a file's bytes although all are promised, the first times it is asked for; then a reset, or the end."""
    left = times

    def fault(pages: BaseHTTPRequestHandler, path: str) -> bool:
        nonlocal left
        if at not in path or pages.command != "GET" or left == 0:
            return False
        left -= 1
        start = int((pages.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        rest = content[start:]
        pages.send_response(206 if start else 200)
        pages.send_header("Content-Length", str(len(rest)))
        pages.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        pages.send_header("ETag", etag)
        pages.end_headers()
        pages.wfile.write(rest[: len(rest) // 2])
        pages.wfile.flush()
        pages.close_connection = True
        if reset:
            # Closing without lingering sends RST instead of an orderly end.
            pages.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        pages.connection.close()
        return True

    return fault
