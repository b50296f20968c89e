"""The recipe as YAML: read with the place of every mistake, written with the help and the reasons as comments."""

from __future__ import annotations

import errno
import json
import re
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node

from finetune_core.errors import FtError, problem
from finetune_core.files import write_atomic
from finetune_core.limits import YAML_BYTES
from finetune_core.recipe.fields import EMPTY
from finetune_core.recipe.read_recipe import Given, settle
from finetune_core.recipe.schema import GUIDES, SECTIONS, Recipe
from finetune_core.recipe.yaml_caps import reason, refuse_tricks
from finetune_core.text import one_line

# Begins as no number, date or null does, not even `.5`, `.inf` or `~`: nothing else than text can be read from it.
_PLAIN = re.compile(r"(?:[A-Za-z/]|\.\.?/|~/)[\w./+~-]*\Z", re.ASCII)
_RESERVED = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}
_NOT_PRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff\ufffe\uffff]")
# YAML 1.2, section 7.4.2: a key of more than 1024 characters has to be announced.
_LONGEST_PLAIN_KEY = 1000

Positions = dict[tuple[str, ...], int]


def load(path: Path) -> Recipe:
    """Read a recipe file. Raises FtError with every problem, each with its file and line."""
    return read(path).whole()


def read(path: Path) -> Given:
    """What a recipe file gives, as far as it can be understood. Raises FtError when it is unreadable or not YAML."""
    try:
        data = _content(path)
    except OSError as error:
        raise problem(
            "the recipe cannot be read",
            where=one_line(str(path), 200),
            why=error.strerror or str(error),
            remedy="check the path; `ft-tui recipe new FILE` writes a fresh recipe",
        ) from error
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise problem(
            "the recipe is not UTF-8 text",
            where=one_line(str(path), 200),
            why=f"byte {error.start} is not UTF-8",
            remedy="save the file as UTF-8",
        ) from error
    return _given(text, one_line(str(path), 200))


def _content(path: Path) -> bytes:
    """The file's bytes, one more than the most at most. Raises OSError, also for a pipe, which would be waited for.

    The pipes of `<(command)` and of standard input have a writer: they are read.
    """
    if path.is_fifo() and not path.is_relative_to("/dev") and not path.is_relative_to("/proc"):
        raise OSError(errno.ESPIPE, "it is a pipe, and no file")
    with path.open("rb") as stream:
        return stream.read(YAML_BYTES + 1)


def parse(text: str, where: str) -> Recipe:
    """A recipe from YAML text; `where` names it in messages. Raises FtError with every problem."""
    return _given(text, where).whole()


def _given(text: str, where: str) -> Given:
    data, positions = _read(text, where)

    def place(path: tuple[str, ...]) -> str:
        return f"{where}:{_line(positions, path)}"

    given = settle(data, place)
    problems = sorted(given.problems, key=lambda item: int(item.where.rpartition(":")[2]))
    places = {path: _field_place(where, positions, path) for path in GUIDES}
    return replace(given, problems=tuple(problems), places=places)


def _field_place(where: str, positions: Positions, path: str) -> str:
    """The file and line of a field, or of its section where the field is left out; the file where both are."""
    keys = tuple(path.split("."))
    return f"{where}:{_line(positions, keys)}" if keys[:1] in positions else where


def save(recipe: Recipe, path: Path) -> None:
    """Write the recipe with its comments, atomically."""
    write_atomic(path, dump(recipe))


def dump(recipe: Recipe, *, comments: bool = True) -> str:
    """The recipe as YAML; with comments, each field carries its help and, where it was chosen, the reason."""
    # Not in pydantic's JSON mode: that would lose a file's name that is not UTF-8 (surrogates) where it is a key.
    values = recipe.model_dump()
    lines = [f"version: {values['version']}"]
    for section, kind in SECTIONS.items():
        if comments:
            lines += ["", f"# {Recipe.model_fields[section].description}"]
        lines.append(f"{section}:")
        for name in kind.model_fields:
            lines += _field_lines(f"{section}.{name}", values[section][name], recipe.reasons, comments=comments)
    lines += _reason_lines(recipe.reasons, comments=comments)
    return "\n".join(lines) + "\n"


def _field_lines(path: str, value: object, reasons: dict[str, str], *, comments: bool) -> list[str]:
    shown = EMPTY if value is None else _scalar(value)
    line = f"  {path.partition('.')[2]}: {shown}"
    if not comments:
        return [line]
    guide = GUIDES[path]
    notes = "; ".join(part for part in (" | ".join(guide.choices), guide.range, guide.unit) if part)
    help_line = f"  # {guide.help}{f' [{notes}]' if notes else ''}"
    reason = reasons.get(path)
    return [help_line, f"{line}  # because {one_line(reason, 300)}" if reason else line]


def _reason_lines(reasons: dict[str, str], *, comments: bool) -> list[str]:
    if not reasons:
        return ["reasons: {}"]
    head = ["", f"# {Recipe.model_fields['reasons'].description}"] if comments else []
    return [*head, "reasons:", *(f"  {_pair(path, reason)}" for path, reason in reasons.items())]


def _scalar(value: object) -> str:
    """YAML 1.2 of a scalar, or a list or mapping of them: JSON, with plain words left unquoted."""
    if isinstance(value, str) and _PLAIN.match(value) and value.lower() not in _RESERVED:
        return value
    if isinstance(value, list):
        return "[" + ", ".join(_scalar(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(_pair(key, item) for key, item in value.items()) + "}"
    return _NOT_PRINTABLE.sub(lambda match: f"\\u{ord(match.group()):04x}", json.dumps(value, ensure_ascii=False))


def _pair(key: str, value: object) -> str:
    """A key and its value as YAML; a long key is announced by `?`, as YAML demands."""
    name = _scalar(key)
    return f"? {name}\n  : {_scalar(value)}" if len(name) > _LONGEST_PLAIN_KEY else f"{name}: {_scalar(value)}"


def _read(text: str, where: str) -> tuple[Any, Positions]:
    yaml = YAML(typ="safe", pure=True)
    try:
        refuse_tricks(text, where)
        node = YAML(typ="safe", pure=True).compose(StringIO(text))
        data = yaml.load(StringIO(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _broken(where if mark is None else f"{where}:{mark.line + 1}", error.problem or "not YAML") from error
    except (YAMLError, ValueError, RecursionError) as error:
        raise _broken(where, reason(error)) from error
    return ({} if data is None else data), _positions(node)


def _broken(where: str, why: str) -> FtError:
    return problem(
        "the recipe is not valid YAML",
        where=where,
        why=one_line(why, 200),
        remedy="mend this line; check its indent and colon",
    )


def _positions(node: Node | None, path: tuple[str, ...] = ()) -> Positions:
    found: Positions = {}
    if isinstance(node, MappingNode):
        for key, value in node.value:
            here = (*path, str(key.value))
            found[here] = key.start_mark.line + 1
            found |= _positions(value, here)
    return found


def _line(positions: Positions, path: tuple[str, ...]) -> int:
    for length in range(len(path), 0, -1):
        if path[:length] in positions:
            return positions[path[:length]]
    return 1
