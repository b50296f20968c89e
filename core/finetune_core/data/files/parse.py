"""One row's bytes as an object, or why they are none."""

from __future__ import annotations

import json
from functools import lru_cache

from orjson import JSONDecodeError, loads
from pydantic_core import from_json

from finetune_core.data.files.row_offsets import Fault
from finetune_core.text import one_line

BOM = b"\xef\xbb\xbf"
DEPTH_CAP = 200
_CUT = "the file was cut off while it was written or copied"
_TOO_DEEP = Fault(
    "the row is nested too deeply", f"it has more than {DEPTH_CAP} brackets within each other", "remove the row"
)


def parse(data: bytes) -> dict[str, object] | Fault:
    """One row's bytes as an object, or why they are none. Never raises."""
    try:
        value = from_json(data, allow_inf_nan=False)
    except ValueError:
        # The quick parser is stricter than needed, and brief about its reasons.
        return _parse_slowly(data)
    if isinstance(value, dict) and not _may_repeat(data, value):
        return value
    return _parse_slowly(data)


def names_if_sound(view: memoryview, begin: int, end: int) -> tuple[str, ...] | None:
    """The names of the row between two places, if a quicker parser finds it sound; None where `parse` has to be asked.

    Two faults are not noticed: a name that stands twice, and brackets nested deeper than `DEPTH_CAP` but not than
    1024. The values are not kept: this parser makes floats of long numbers.
    """
    try:
        value = loads(view[begin:end])
    except JSONDecodeError:
        return None
    return tuple(value) if isinstance(value, dict) else None


def _may_repeat(data: bytes, value: dict[str, object]) -> bool:
    """Whether a name may stand twice in the row; a name is rarely seen in quotes elsewhere, so few rows are."""
    for name in value:  # noqa: SIM110 - half the time of any(): every row goes through here
        if data.count(quoted(name)) > 1:
            return True
    return False


@lru_cache(maxsize=1024)
def quoted(name: str) -> bytes:
    """A name as it mostly stands in a row; one with escapes in it is not noticed to be repeated."""
    return b'"' + name.encode() + b'"'


def _parse_slowly(data: bytes) -> dict[str, object] | Fault:
    if not data.strip(b"\0 \t\r\n"):
        return Fault("the row is made of zero bytes", _CUT, "copy the file again")
    try:
        text = data.removeprefix(BOM).decode()
        value = json.loads(text, parse_constant=_constant, object_pairs_hook=_once)
    except UnicodeDecodeError as error:
        return not_text(data, error)
    except json.JSONDecodeError as error:
        return _not_json(data, error)
    except RecursionError:
        return _TOO_DEEP
    except _RepeatedError as error:
        return error.fault
    except ValueError as error:
        return Fault("a number in the row cannot be read", one_line(str(error), 120), "write it as text, in quotes")
    if _too_deep(value, data):
        return _TOO_DEEP
    if isinstance(value, dict):
        return value
    if _is_turns(value):
        # A line, or an element, that is a conversation by itself.
        return {"messages": value}
    kind = {list: "a list", str: "a text", type(None): "null"}.get(type(value), "a number or true/false")
    return Fault(f"the row is {kind}, not an object", "rows have named fields", 'write the row as {"name": value, ...}')


def _is_turns(value: object) -> bool:
    """Whether a value is a list of turns: objects that each say who speaks."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(turn, dict) and ("role" in turn or "from" in turn) for turn in value)
    )


def not_text(data: bytes, error: UnicodeDecodeError) -> Fault:
    """The fault of bytes that are not UTF-8."""
    byte = error.start + 1 + (len(BOM) if data.startswith(BOM) else 0)
    why = f"byte {byte} of the row is not UTF-8"
    return Fault("the row is not text", why, "save the file as UTF-8 (if Windows wrote it: iconv -f cp1252 -t utf-8)")


class _RepeatedError(Exception):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        shown = one_line(name, 40)
        why = f"the field `{shown}` stands twice in one object, and only one of its values could be used"
        self.fault = Fault("a field of the row is repeated", why, f"remove one `{shown}`, or rename it")


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        raise _RepeatedError(next(name for name, _ in pairs if name in seen or seen.add(name)))  # type: ignore[func-returns-value]
    return made


def _too_deep(value: object, data: bytes) -> bool:
    """Whether brackets are nested deeper than `DEPTH_CAP`; how deep Python itself reads differs by version."""
    if data.count(b"[") + data.count(b"{") <= DEPTH_CAP:
        return False
    level = [value]
    for _ in range(DEPTH_CAP + 1):
        level = [inner for item in level if isinstance(item, dict | list) for inner in _inside(item)]
    return bool(level)


def _inside(item: dict[str, object] | list[object]) -> list[object]:
    return list(item.values()) if isinstance(item, dict) else item


def _constant(name: str) -> None:
    if name != "NaN":
        raise ValueError(f"{name} is not a number JSON knows")
    # Table tools write a missing value as NaN.


def _not_json(data: bytes, error: json.JSONDecodeError) -> Fault:
    why = f"{one_line(error.msg, 80)}, at character {error.pos + 1}"
    ends_early = error.msg.startswith("Unterminated") or error.pos >= len(error.doc.rstrip())
    if ends_early and not data.endswith(b"\n"):
        return Fault("the row ends in the middle", f"{why}; {_CUT}", "copy the file again, or remove this row")
    remedy = "mend the row, or remove it; a row has to be complete on one line, with names and texts in double quotes"
    return Fault("the row is not JSON", why, remedy)
