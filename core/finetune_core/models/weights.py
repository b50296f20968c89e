"""Weight files, by their headers alone: how many parameters, in which format, whole or cut off."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from finetune_core.errors import FtError, problem
from finetune_core.limits import HEADER_BYTES, HEADER_TENSORS, SHARDS
from finetune_core.models.json_file import MISSING, read_json
from finetune_core.text import one_line, plural

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
# torch knows no more.
_MOST_DIMENSIONS = 16
# Bits of one stored element, by safetensors' names of formats (README of huggingface/safetensors).
_BITS: Mapping[str, int] = {
    "F64": 64, "I64": 64, "U64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16, "BF16": 16, "I16": 16, "U16": 16,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "I8": 8, "U8": 8, "BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
    "C64": 64,
}  # fmt: skip
_FORMATS = {"BF16": "bfloat16", "F16": "float16", "F32": "float32", "F64": "float64", "F8_E4M3": "float8"}
# Companions of a packed weight: scales, zero points and tables that stand for no parameters of their own.
_COMPANIONS = (
    ".absmax", ".nested_absmax", ".quant_map", ".nested_quant_map", ".SCB", ".weight_format", ".g_idx", ".qzeros",
    ".scales", "_scales", ".weight_scale", ".weight_scale_inv", ".weight_shape", ".weight_zero_point", ".weight_g_idx",
    ".input_scale", ".weight_global_scale", ".input_global_scale",
)  # fmt: skip
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
# Real tensors have a handful of dimensions; the product of a million of them would be worked on for hours.
_LARGEST = 2**48


@dataclass(frozen=True)
class Weights:
    """Parameters, the format most of them have, size of the files in bytes, and whether it has a head of its own.

    `modules` are the last names of the modules that hold a matrix, as the files have them: `q_proj`.
    """

    parameters: int
    dtype: str | None
    size_bytes: int
    has_head: bool
    modules: frozenset[str]


def read_weights(folder: Path, packed_bits: int = 4) -> Weights:
    """Read the headers of a model's safetensors files. Raises FtError for missing, cut off or unsafe files.

    `packed_bits` is the width of a weight inside GPTQ, AWQ and compressed-tensors integers.
    """
    files = _files(folder)
    formats: Counter[str] = Counter()
    names: set[str] = set()
    modules: set[str] = set()
    for path in files:
        header = read_header(path)
        tensors = {name: facts for name, facts in header.items() if name != "__metadata__"}
        for name, facts in tensors.items():
            formats[str(facts["dtype"])] += _parameters(name, facts, tensors, packed_bits)
        names |= tensors.keys()
        modules |= {name.split(".")[-2] for name, facts in tensors.items() if _is_matrix(name, facts)}
    common = formats.most_common(1)[0][0] if formats else ""
    size = sum(path.stat().st_size for path in files)
    return Weights(formats.total(), _FORMATS.get(common), size, _has_head(names), frozenset(modules))


def _is_matrix(name: str, facts: dict[str, Any]) -> bool:
    return name.endswith(".weight") and len(facts["shape"]) > 1


def read_header(path: Path) -> dict[str, Any]:
    """The header of one safetensors file: 8 bytes of length (little-endian), then JSON. Raises FtError.

    Source: README of huggingface/safetensors, "Format".
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if size < 8 or length > size - 8:
                raise _bad(path, "its header is longer than the file: it is cut off, or not a safetensors file")
            if length > HEADER_BYTES:
                raise _bad(path, f"its header has {length // 2**20} MiB, and real ones have less than 10")
            header = json.loads(stream.read(length), object_pairs_hook=_without_repeats)
    except OSError as error:
        raise _bad(path, error.strerror or str(error)) from error
    except _RepeatedError as error:
        raise _bad(path, f"its header names `{one_line(str(error), 60)}` more than once") from error
    except (ValueError, RecursionError) as error:
        raise _bad(path, "its header is not JSON") from error
    _check_header(header, path, size - 8 - length)
    return {str(name): facts for name, facts in header.items()}


class _RepeatedError(ValueError):
    """A name stands in an object twice: which of the two counts would be another matter for each reader."""


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _RepeatedError(next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1))
    return found


def _check_header(header: object, path: Path, data_bytes: int) -> None:
    if not isinstance(header, dict):
        raise _bad(path, "its header is not a JSON object")
    tensors = {name: facts for name, facts in header.items() if name != "__metadata__"}
    if len(tensors) > HEADER_TENSORS:
        raise _bad(path, f"it describes {len(tensors):,} tensors, and real files have less than 100,000")
    for name, facts in tensors.items():
        if not _is_tensor(facts):
            raise _bad(path, f"its header describes `{one_line(name, 60)}` in no known form")
    # The library demands that the tensors lie one behind the other, without gaps.
    end = 0
    for name, (begin, behind) in sorted(((n, f["data_offsets"]) for n, f in tensors.items()), key=lambda one: one[1]):
        if begin != end:
            how = "overlaps the tensor before it" if begin < end else "does not begin where the tensor before it ends"
            raise _bad(path, f"`{one_line(name, 60)}` {how}")
        end = behind
    if end > data_bytes:
        raise _bad(
            path,
            f"it is cut off: {(lack := end - data_bytes)} {plural(lack, 'byte is', 'bytes are')} missing at the end",
        )


def _is_tensor(facts: object) -> bool:
    if not isinstance(facts, dict) or not isinstance(facts.get("dtype"), str) or facts["dtype"] not in _BITS:
        return False
    shape, offsets = facts.get("shape"), facts.get("data_offsets")
    return (
        isinstance(shape, list)
        and isinstance(offsets, list)
        and len(shape) <= _MOST_DIMENSIONS
        and len(offsets) == 2
        and all(isinstance(n, int) and 0 <= n < _LARGEST for n in (*shape, *offsets))
        # As the safetensors library demands: what a tensor is said to hold lies in the file, too.
        and math.prod(shape) * _BITS[facts["dtype"]] == 8 * (offsets[1] - offsets[0])
    )


def _parameters(name: str, facts: dict[str, Any], tensors: Mapping[str, Any], packed_bits: int) -> int:
    """How many parameters of the model a stored tensor stands for."""
    if name.endswith(_COMPANIONS) or ".quant_state." in name:
        return 0
    count: int = math.prod(facts["shape"])
    bits = _BITS[facts["dtype"]]
    four_bit = name.endswith("_blocks") or any(
        f"{name}.quant_state.bitsandbytes__{kind}" in tensors for kind in ("nf4", "fp4")
    )
    if four_bit:
        return count * bits // 4
    if name.endswith((".qweight", ".weight_packed")):
        return count * bits // packed_bits
    return count


def _files(folder: Path) -> list[Path]:
    if (folder / INDEX).is_file():
        return list(_shards(folder))
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    raise refuse_files([path.name for path in folder.iterdir()], folder) or _no_weights(folder)


def holds_weights(folder: Path) -> bool:
    """Whether there are weights in any form, usable or not. Never raises."""
    try:
        return any(path.suffix in {".safetensors", ".gguf", *_PICKLES} for path in folder.iterdir())
    except OSError:
        return False


def names_of_weights(folder: Path) -> list[str]:
    """The files that hold the weights, by the index where there is one, whether they are there or not.

    Raises FtError for an index that lists none, or files elsewhere.
    """
    return _listed(folder) if (folder / INDEX).is_file() else [SINGLE]


@dataclass(frozen=True)
class Announced:
    """What an index says of weights that are still to come; None where it does not."""

    parameters: int | None
    size_bytes: int | None
    has_head: bool


def announced_weights(folder: Path) -> Announced | None:
    """What the index of a model's weight files says of them; None where there is none. Raises FtError for a bad one.

    `total_size` and `total_parameters` are what transformers writes into it when it saves a model in several files.
    """
    if not (folder / INDEX).is_file():
        return None
    _listed(folder)
    index = read_json(folder / INDEX)
    about = index.get("metadata")
    said = {name: value for name, value in about.items() if _is_count(value)} if isinstance(about, dict) else {}
    return Announced(said.get("total_parameters"), said.get("total_size"), _has_head(index["weight_map"]))


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < _LARGEST


def _has_head(names: Iterable[str]) -> bool:
    return any(name.endswith(("lm_head.weight", "embed_out.weight", "output.weight")) for name in names)


def _listed(folder: Path) -> list[str]:
    index = read_json(folder / INDEX)
    mapping = index.get("weight_map")
    names = sorted({str(name) for name in mapping.values()}) if isinstance(mapping, dict) else []
    if not names or len(names) > SHARDS:
        raise _bad(folder / INDEX, "it lists no weight files")
    unsafe = [name for name in names if PurePosixPath(name).name != name or not name.endswith(".safetensors")]
    if unsafe:
        raise _bad(folder / INDEX, f"it names `{one_line(unsafe[0], 60)}`, which is no weight file of this folder")
    return names


def _shards(folder: Path) -> Iterator[Path]:
    names = _listed(folder)
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        shown = one_line(", ".join(missing[:3]), 120) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise problem(
            f"{len(missing)} of {len(names)} weight files are missing",
            where=one_line(str(folder), 300),
            why=f"the index lists {shown}; the download or copy was not finished",
            remedy="download or copy the model again",
            kind=MISSING,
        )
    yield from (folder / name for name in names)


def refuse_files(names: Sequence[str], where: Path | str) -> FtError | None:
    """Why weights that are there in these files only cannot be used; None where it is not for their form."""
    names = [name for name in names if "/" not in name]
    if any(name.endswith(".safetensors") for name in names):
        return None
    pickles = sorted(name for name in names if name.endswith(_PICKLES))
    shown = one_line(str(where), 300)
    if pickles:
        return problem(
            f"the weights are pickles only ({one_line(', '.join(pickles[:3]), 100)})",
            where=shown,
            why="loading a pickle runs whatever code its author put into it",
            remedy="take the model's safetensors version, or convert it on a machine you can lose",
        )
    if any(name.endswith(".gguf") for name in names):
        return problem(
            "the weights are in GGUF form",
            where=shown,
            why="GGUF files are quantised for running a model and cannot be tuned",
            remedy="choose the original model that the GGUF file was made from (its model card names it)",
        )
    return None


def _no_weights(folder: Path) -> FtError:
    broken = sorted(path.name for path in folder.glob("*.safetensors"))
    why = f"it holds {one_line(', '.join(broken[:3]), 100)}, but no {SINGLE} or {INDEX}" if broken else "none was found"
    return problem(
        "there are no weights",
        where=one_line(str(folder), 300),
        why=why,
        remedy="download the model again; a partial copy has the config without its *.safetensors files",
        kind=MISSING,
    )


def _bad(path: Path, why: str) -> FtError:
    return problem(
        f"{one_line(path.name, 80)} cannot be used",
        where=one_line(str(path), 300),
        why=why,
        remedy="download or copy the model again",
    )
