"""JSON of a model folder, which a stranger may have written: read with caps, refused where it asks for code."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from finetune_core.errors import FtError, problem
from finetune_core.files import OddFile, read_capped
from finetune_core.limits import JSON_BYTES, JSON_DEPTH
from finetune_core.text import one_line

# The kind of a problem that is over once the rest of the model has come.
MISSING = "missing"
# The kind of a problem that is over once the user has looked at the model's code and consented to it.
CODE = "code"
READ_BY_TRANSFORMERS = (
    "config.json",
    "tokenizer_config.json",
    "generation_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.json",
)
_SHOWN_FILES = 4
_MODEL_TYPE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
# `Auto...` would load whatever else the folder holds, and other names are no tokenizers at all.
_TOKENIZER_CLASS = re.compile(r"(?!Auto)[A-Za-z0-9_]{0,64}(?:Tokenizer|TokenizerFast|Backend)")
_KERNELS = re.compile(r"_?(?:attn|experts)_implementation(?:_internal)?")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file a stranger may have written. Raises FtError when it is missing or none."""
    try:
        value = json.loads(read_capped(path, JSON_BYTES))
    except FileNotFoundError as error:
        raise problem(
            f"there is no {path.name}",
            where=one_line(str(path.parent), 300),
            why="a model folder holds one, and nothing else says what the model is",
            remedy="choose a folder in the Hugging Face form (config.json, *.safetensors, tokenizer), or a model id",
            kind=MISSING,
        ) from error
    except OSError as error:
        raise bad_file(path, error.strerror or str(error)) from error
    except OddFile as error:
        raise bad_file(path, str(error)) from error
    except (ValueError, RecursionError) as error:
        raise bad_file(path, f"it is not JSON ({one_line(str(error), 100)})") from error
    if not isinstance(value, dict):
        raise bad_file(path, "it is not a JSON object")
    return value


def refuse_tricks(values: dict[str, Any], path: Path) -> None:
    """FtError for JSON that is too deep, or asks at any depth for code, foreign kernels or names that are none."""
    for key, value, depth in entries(values):
        if depth > JSON_DEPTH:
            raise bad_file(path, f"it is nested deeper than {JSON_DEPTH} levels")
        if key == "model_type" and not (isinstance(value, str) and (value == "" or _MODEL_TYPE.fullmatch(value))):
            raise bad_file(path, f"`model_type: {one_line(str(value), 60)}` is no name of a model type")
        if key == "tokenizer_class" and not (value is None or _names_tokenizer(value)):
            raise bad_file(path, f"`tokenizer_class: {one_line(str(value), 60)}` is no name of a tokenizer")
        if key == "trust_remote_code" and value:
            raise needs_code(path, "it sets trust_remote_code")
        if _KERNELS.fullmatch(key) and (wanted := _repository(value)):
            raise needs_code(path, f"`{key}: {one_line(wanted, 60)}` names compiled code on the hub")


def _names_tokenizer(value: object) -> bool:
    return isinstance(value, str) and _TOKENIZER_CLASS.fullmatch(value) is not None


def _repository(value: object) -> str | None:
    """What names a repository of the hub in the setting of an implementation: text, or one for each part."""
    parts = value.values() if isinstance(value, dict) else (value,)
    return next((part for part in parts if isinstance(part, str) and "/" in part), None)


def entries(values: dict[str, Any]) -> Iterator[tuple[str, Any, int]]:
    """Every key at any depth with its value; without recursion, since the depth is the stranger's to choose."""
    waiting: list[tuple[Any, int]] = [(values, 1)]
    while waiting:
        value, depth = waiting.pop()
        inner = value.items() if isinstance(value, dict) else (("", item) for item in value)
        for key, item in inner:
            yield key, item, depth
            if isinstance(item, dict | list):
                waiting.append((item, depth + 1))


def code_files(values: dict[str, Any]) -> tuple[str, ...]:
    """The Python files that `auto_map` names at any depth: `modeling_x.py`, or `modeling_x.py of owner/name`."""
    return tuple(dict.fromkeys(_file_of(name) for name in code_classes(values)))


def code_classes(values: dict[str, Any]) -> tuple[str, ...]:
    """The classes that `auto_map` names at any depth, as written: `modeling_x.X`, `owner/name--modeling_x.X`."""
    maps = [value for key, value, _ in entries(values) if key == "auto_map"]
    return tuple(dict.fromkeys(name for found in maps for name in _class_names(found)))


def _class_names(auto_map: object) -> list[str]:
    """The classes of an auto_map: of a mapping's values, which are text or, for tokenizers, two texts or None."""
    values = auto_map.values() if isinstance(auto_map, dict) else [auto_map]
    listed = (item for value in values for item in (value if isinstance(value, list) else [value]))
    return [item for item in listed if isinstance(item, str)]


def _file_of(name: str) -> str:
    repository, _, inside = name.rpartition("--")
    module = inside.rpartition(".")[0] or inside
    return f"{one_line(module, 60)}.py" + (f" of {one_line(repository, 60)}" if repository else "")


def bad_file(path: Path, why: str) -> FtError:
    """The error of a file that cannot be used."""
    return problem(
        f"{path.name} cannot be used",
        where=one_line(str(path), 300),
        why=why,
        remedy="get the folder again from where it came from, or choose another model",
    )


def needs_code(
    path: Path, why: str, files: tuple[str, ...] = (), *, remedy: str | None = None, kind: str = ""
) -> FtError:
    """The error of a model that runs only with code of a stranger; `files` are those with the code.

    Where consent would help, `remedy` says how it is given, and `kind` is CODE.
    """
    shown = ", ".join(files[:_SHOWN_FILES]) + (f" and {more} more" if (more := len(files) - _SHOWN_FILES) > 0 else "")
    never = "is never run" if remedy is None else "is never run unless you have looked at it and said so"
    return problem(
        f"the model needs code that comes with it ({shown})" if files else "the model needs code that comes with it",
        where=one_line(str(path), 300),
        why=f"{why}; code that comes with weights can do all that you can do, and {never}",
        remedy=remedy
        or "choose a model whose architecture is part of transformers, or this one converted to such a one",
        kind=kind,
    )
