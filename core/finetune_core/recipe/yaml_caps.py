"""What YAML of a recipe may be at most, so that a few bytes of it cannot take minutes or gigabytes."""

from __future__ import annotations

from io import StringIO

from ruamel.yaml import YAML
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent

from finetune_core.errors import problem
from finetune_core.limits import YAML_BYTES, YAML_DEPTH, YAML_PARTS
from finetune_core.text import one_line

# A whole recipe with its reasons has some two hundred.


def reason(error: Exception) -> str:
    """Why text is not YAML, in short; Python's words about thousands of digits are for programmers."""
    text = one_line(str(error), 200)
    return "it holds a number with thousands of digits" if "integer string conversion" in text else text or "not YAML"


def refuse_tricks(text: str, where: str) -> None:
    """FtError for text that is too long, too deep or of too many parts, or names a part of itself to repeat it.

    YAMLError where it is no YAML.
    """
    if len(text.encode(errors="surrogatepass")) > YAML_BYTES:
        raise problem(
            "the recipe is too large",
            where=where,
            why=f"it is over {YAML_BYTES // 1024} KiB",
            remedy="a recipe holds settings only; put rows into a data file and name it in data.source",
        )
    depth = 0
    for number, event in enumerate(YAML(typ="safe", pure=True).parse(StringIO(text))):
        line = f"{where}:{event.start_mark.line + 1}"
        if isinstance(event, AliasEvent) or getattr(event, "anchor", None) is not None:
            raise problem(
                "aliases (&name, *name) are not allowed",
                where=line,
                why="a few of them can expand to billions of values",
                remedy="write the value out; text that begins with & or * goes in quotes",
            )
        if getattr(event, "tag", None) is not None:
            raise problem(
                "tags (!name) are not allowed",
                where=line,
                why="they make something else of a value than it looks like",
                remedy="leave the tag out; a text that looks like a number or a date is put in quotes",
            )
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if depth > YAML_DEPTH:
            raise problem(
                "the recipe is nested too deeply",
                where=line,
                why=f"more than {YAML_DEPTH} levels",
                remedy="a recipe has sections and fields only",
            )
        if number > YAML_PARTS:
            raise problem(
                "the recipe has too many parts",
                where=line,
                why=f"more than {YAML_PARTS:,} keys and values",
                remedy="a recipe holds settings only; put rows into a data file and name it in data.source",
            )
