"""Valid documents made invalid: by bits and blocks, and by the values of JSON and the lines of YAML.

All from one `random.Random`, so that an input is known by its seed and number.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

_TOKENS = (
    b"\0", b"\0" * 64, b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\xc3\x28", b"\xed\xa0\x80", b"\xf4\x90\x80\x80",
    b"\x80", b"\x1b[2J", b"\r", b"\n", b"\r\n", b"\n\n", b"\t", b"\xe2\x80\xa8", b"\x85", b"\x1a", b'"', b'""', b'"""',
    b"'", b"\\", b"\\u", b"\\ud800", b"\\u0000", b"{", b"}", b"[", b"]", b"[]", b"{}", b",", b",,", b":", b";", b"|",
    b"null", b"true", b"NaN", b"-Infinity", b"1e999", b"-", b"-0", b"1" * 400, b"9" * 4400, b"18446744073709551616",
    b"0x10", b"__proto__", b"../../../etc/passwd", b"/dev/zero", b"%s%n", b"{" * 300, b"[" * 990, b"[" * 20_000,
    b'{"a":' * 3000, b"# ", b"--- ",
)  # fmt: skip
_DEEP = (3, 33, 40, 201, 300, 700, 950)
_MOST = 2**20


def values(chance: Random) -> object:
    """A value of JSON that some reader may not expect."""
    kind = chance.randrange(9)
    if kind == 0:
        return _nested(chance)
    if kind == 1:
        return chance.choice((10**30, 10**308, 10**400, -(10**400), 10**4299, 2**63, 2**64, 2**1023, -(2**63) - 1))
    return chance.choice(
        (None, True, False, 0, 1, -1, 2**31, 2**53 + 1, 0.5, -0.0, 1e308, 5e-324, float("nan"), float("inf"), "", " ",
         "0", "NaN", "Infinity", "\0", "a\0b", "\ud800", "\udcff", "\x1b]52;c;QUJD\x07", "\u202e", "\u2028",
         "x" * 5000, "../..", "/", ".", "/dev/zero", "é" * 300, "step-²", "1e9", "true", [], {}, [None], [[]], [{}],
         {"": None}, [1, "a", None], {"a": {"b": []}}, {"role": 1}, [["a", "b"]], [1] * 300, [0.1] * 3,
         [{"role": "user", "content": "hi"}])
    )  # fmt: skip


def _nested(chance: Random) -> object:
    value: object = chance.choice((None, 1, "a", {}))
    as_list = chance.random() < 0.5
    for _ in range(chance.choice(_DEEP)):
        value = [value] if as_list else {"a": value}
    return value


# Bytes


def as_bytes(data: bytes, chance: Random, other: bytes = b"") -> bytes:
    """Bytes with one change that knows nothing of what they mean; `other` is a document to take pieces from."""
    return chance.choice(_OF_BYTES)(data, chance, other)[:_MOST]


def _place(data: bytes, chance: Random) -> tuple[int, int]:
    begin = chance.randrange(len(data) + 1)
    return begin, min(len(data), begin + int(2 ** (chance.random() * 10)))


def _flipped(data: bytes, chance: Random, _other: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 8)) if data else 0):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _overwritten(data: bytes, chance: Random, _other: bytes) -> bytes:
    begin, end = _place(data, chance)
    byte = chance.choice((b"\0", b"\xff", b"\x7f", b"\x80", b" "))
    new = byte * (end - begin) if chance.random() < 0.5 else chance.randbytes(end - begin)
    return data[:begin] + new + data[end:]


def _cut(data: bytes, chance: Random, _other: bytes) -> bytes:
    begin, end = _place(data, chance)
    return chance.choice((data[:begin], data[begin:], data[:begin] + data[end:]))


def _inserted(data: bytes, chance: Random, _other: bytes) -> bytes:
    begin, _ = _place(data, chance)
    return data[:begin] + chance.choice(_TOKENS) + data[begin:]


def _spliced(data: bytes, chance: Random, other: bytes) -> bytes:
    (begin, _), (first, last) = _place(data, chance), _place(other, chance)
    return data[:begin] + chance.choice((other[first:], other[first:last] + data[begin:]))


def _repeated(data: bytes, chance: Random, _other: bytes) -> bytes:
    begin, end = _place(data, chance)
    return data[:end] + data[begin:end] * chance.choice((1, 2, 10, 300)) + data[end:]


_DIGITS = re.compile(rb"-?\d+(?:\.\d+)?")


def _number(data: bytes, chance: Random, _other: bytes) -> bytes:
    found = list(_DIGITS.finditer(data[:4096]))
    if not found:
        return data
    place = chance.choice(found)
    big = (b"-1", b"0", b"1e400", b"-1e-400", b"99999999999999999999", b"9" * 400, b"9" * 4301, b"0.1.2", b"\xd9\xa3")
    return data[: place.start()] + chance.choice(big) + data[place.end() :]


_OF_BYTES: Sequence[Callable[[bytes, Random, bytes], bytes]] = (
    _flipped, _flipped, _overwritten, _cut, _inserted, _inserted, _spliced, _repeated, _number,
)  # fmt: skip


# JSON


def as_json(data: bytes, chance: Random) -> bytes:
    """A JSON document with one value, name or type changed, or a name twice."""
    root = [json.loads(data)]
    holder, key = _somewhere(root, chance)
    kind = chance.randrange(8)
    if kind == 0 and isinstance(holder, dict):
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[str(values(chance)) if chance.random() < 0.5 else "x"] = holder.pop(key)
    elif kind == 2:
        other, place = _somewhere(root, chance)
        holder[key] = json.loads(json.dumps(other[place]))
    elif kind == 3:
        holder[key] = chance.choice(([holder[key]], {"a": holder[key]}, json.dumps(holder[key]), [holder[key]] * 50))
    else:
        holder[key] = values(chance)
    return _written(root[0], chance)


def _somewhere(root: list[Any], chance: Random) -> tuple[Any, Any]:
    """A holder and the key of one of its values, anywhere in a document."""
    holder: Any = root
    key: Any = 0
    while (inner := holder[key]) and isinstance(inner, dict | list) and chance.random() < 0.8:
        holder, key = inner, chance.choice(list(inner)) if isinstance(inner, dict) else chance.randrange(len(inner))
    return holder, key


def _written(value: object, chance: Random) -> bytes:
    text = json.dumps(value, ensure_ascii=chance.random() < 0.7, separators=chance.choice(((",", ":"), (", ", ": "))))
    if isinstance(value, dict) and value and chance.random() < 0.1:
        name = json.dumps(chance.choice(list(value)))
        text = f"{{{name}: {json.dumps(values(chance))}, {text[1:]}"
    return text.encode(errors="surrogatepass")


def as_json_line(data: bytes, chance: Random) -> bytes:
    """JSON Lines with one of its lines changed."""
    lines = data.split(b"\n")
    place = chance.randrange(len(lines))
    if lines[place].strip():
        lines[place] = as_json(lines[place], chance)
    return b"\n".join(lines)


# YAML

_SCALARS = (
    "", "~", "null", "1", "-1", "0", "1e999", "-.inf", ".nan", "0o9", "0x1G", "0b2", "1_000", "9" * 400, "9" * 4400,
    "yes", "2001-13-45", "2001-12-14t21:59:43.10-05:00", "2001-12-14 21:59:43 +99:99", "12:30:45", "'", '"', '"\\x1b"',
    '"\\ud800"', '"\\U00110000"', "[", "{", "]", "[]", "{}", "[[]]", "{a: {b: c}}", "[1, a, ~]", "{1: 2}", "{[1]: 2}",
    "{? : 1}", "|", ">", "|9\n      x", "&a x", "*a", "&a [*a]", "!!binary x", "!!binary aGk=", "!!timestamp x",
    "!!int x", "!!float x", "!!bool x", "!!null x", "!!set {a, b}", "!!omap [a: 1]", "!!pairs [a: 1]",
    "!!python/object/apply:os.system [id]", "!x y", "!<x> y", "!!str 1", "!!map []", "!!seq {}", "% x", "@x", "`x",
    "\t- x", "a: b: c", "- - - x", "? x", "x" * 3000, "auto", "demo", "!!int 1:2:3", "!!float 1:2.5", "=", "<<",
    "\x07", "\ufeff", "\x85", "\u2028", "[" * 40, "[" * 3000, "{a: " * 50, "[" * 31 + "]" * 31, "{version: 1}", "'0'",
    "[a, a]", "{a: 1, a: 2}", "{~: ~}", "{true: 1}", "{1.5: x}", "{2001-01-01: x}",
)  # fmt: skip
_LINES = (
    "---", "...", "%YAML 1.1", "%YAML 9.9", "%TAG ! tag:x,2000:", "<<: {version: 2}", "? [a]\n: b", "- x",
    "version: 1", ": x", "1: 2", "~: 1", "[a]: 1", "{a: 1}: 2", "data:", "data: {}", "reasons: {a.b: 1}",
    "? a\n: {x: 1}", "!!set {a}", "\tx: 1", "&a", "true: x", "1.5: x", "2001-01-01: x", "null: x", "'': x", '"\\0": x',
    "training:\n  1: 2", "data:\n  ~: x", "data:\n  [1]: x",
)  # fmt: skip


def as_yaml(data: bytes, chance: Random) -> bytes:
    """A YAML document with one scalar, line or indent changed."""
    lines = data.decode(errors="replace").split("\n")
    place = chance.randrange(len(lines))
    line, kind = lines[place], chance.randrange(7)
    if kind <= 2:
        lines[place] = f"{line.partition(':')[0]}: {chance.choice(_SCALARS)}"
    elif kind == 3:
        lines.insert(place, chance.choice(("", "  ", "    ")) + chance.choice(_LINES))
    elif kind == 4:
        lines[place] = " " * chance.randrange(7) + line.strip()
    elif kind == 5:
        other = chance.randrange(len(lines))
        lines[place], lines[other] = lines[other], chance.choice((line, lines[other]))
    else:
        head, sign, rest = line.partition(": ")
        lines[place] = (
            head + sign + chance.choice(("!!str ", "!!int ", "&a ", "!x ", "- ", "? ", '"', "'", "[", "{")) + rest
        )
    return "\n".join(lines).encode(errors="surrogatepass")
