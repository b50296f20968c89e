"""What a folder of rows is: shards of one kind, or a data set that `datasets` saved."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from finetune_core.data.files.base import Container, RowFile, listed, refused, unreadable
from finetune_core.data.files.shards import Shards
from finetune_core.data.files.sniff import SUFFIXES, open_file, suffix_of
from finetune_core.data.files.table_file import ArrowFile
from finetune_core.text import one_line

STATE, INFO, DICT = "state.json", "dataset_info.json", "dataset_dict.json"
_NO_ROWS = {STATE, INFO, DICT, "dataset_infos.json"}
_NO_ROWS_STEMS = ("readme", "license", "licence", "changelog", "contributing", "citation")
_DEFAULT_SPLIT = "train"
_SPLITS = ("train", "training", "test", "testing", "validation", "valid", "val", "dev", "eval", "evaluation")
_NUMBERED = re.compile(r"(\d+)[-_]of[-_](\d+)")
_SMALL_FILE = 2**20


def open_folder(path: Path) -> RowFile:
    """The rows of a folder. FtError, with the way out, when they are not all there or not of one kind."""
    try:
        names = sorted(entry.name for entry in path.iterdir())
    except OSError as error:
        raise unreadable(path, error) from error
    if DICT in names:
        return _of_dict(path)
    if STATE in names and INFO in names:
        return _saved(path)
    return _shards(path, [name for name in names if not name.startswith((".", "_")) and (path / name).is_file()])


def _of_dict(path: Path) -> RowFile:
    """A saved DatasetDict: the split `train`, or the way to another one."""
    splits = _json(path / DICT).get("splits")
    known = [name for name in splits if isinstance(name, str)] if isinstance(splits, list) else []
    if _DEFAULT_SPLIT not in known:
        what = f"the saved data set has no split `{_DEFAULT_SPLIT}`"
        remedy = f"choose the folder of one of them: {listed(known)}" if known else "save it anew"
        raise refused(path, what, f"it has {listed(known) or 'none'}", remedy)
    return _saved(path / _DEFAULT_SPLIT, _DEFAULT_SPLIT)


def _saved(path: Path, split: str = "") -> RowFile:
    """A data set that `datasets` saved with save_to_disk."""
    listing = _json(path / STATE).get("_data_files")
    entries = listing if isinstance(listing, list) else []
    names = [str(entry["filename"]) for entry in entries if isinstance(entry, dict) and "filename" in entry]
    if not names or any(Path(name).name != name for name in names):
        why = f"{STATE} names no files in this folder"
        raise refused(path, "the saved data set cannot be read", why, "save it anew with save_to_disk")
    missing = [name for name in names if not (path / name).is_file()]
    if missing:
        why = f"{STATE} names {len(names)} shards; not there: {listed(missing)}"
        raise refused(path, "shards of the saved data set are missing", why, "copy the whole folder again")
    return Shards(path, [ArrowFile(path / name, Container("arrow")) for name in names], split)


def _json(path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as stream:
            value = json.loads(stream.read(_SMALL_FILE))
    except OSError as error:
        raise unreadable(path, error) from error
    except (ValueError, RecursionError) as error:
        why = one_line(f"{path.name}: {error}", 200)
        raise refused(
            path.parent, "the saved data set cannot be read", why, "save it anew with save_to_disk"
        ) from error
    return value if isinstance(value, dict) else {}


def _shards(path: Path, names: Sequence[str]) -> RowFile:
    wanted = [name for name in names if _may_hold_rows(name) and (path / name).stat().st_size]
    if not wanted:
        raise _nothing(path)
    _check_one_kind(path, wanted)
    split, chosen = _one_split(path, wanted)
    _check_complete(path, chosen)
    files = [open_file(path / name) for name in sorted(chosen, key=_natural)]
    kinds = {(file.container.kind, file.container.compression) for file in files}
    if len(kinds) > 1:
        raise _mixed(path, {file.container.words: file.name for file in files})
    return Shards(path, files, split)


def _may_hold_rows(name: str) -> bool:
    stem = name.casefold().split(".")[0]
    return name not in _NO_ROWS and stem not in _NO_ROWS_STEMS and name.lower().endswith(SUFFIXES)


def _nothing(path: Path) -> Exception:
    inside = sorted(entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    what = "this folder holds no files of rows"
    if inside:
        why, remedy = (
            f"it holds folders: {listed(inside)}",
            f"choose one of them, e.g. {one_line(str(path / inside[0]), 200)}",
        )
        return refused(path, what, why, remedy, "not-rows")
    remedy = "choose a file of rows, or a folder of such files"
    return refused(path, what, f"looked for {', '.join(SUFFIXES)}", remedy, "not-rows")


def _check_one_kind(path: Path, names: Sequence[str]) -> None:
    by_kind: dict[str, str] = {}
    for name in names:
        by_kind.setdefault(".jsonl" if (kind := suffix_of(Path(name))) == ".ndjson" else kind, name)
    if len(by_kind) > 1:
        raise _mixed(path, by_kind)


def _mixed(path: Path, by_kind: dict[str, str]) -> Exception:
    kinds = listed([f"{kind} ({one_line(name, 40)})" for kind, name in by_kind.items()])
    remedy = "choose one of the files, or move those of one kind into a folder of their own"
    return refused(path, "the folder holds files of different kinds", f"it holds {kinds}", remedy)


def _one_split(path: Path, names: Sequence[str]) -> tuple[str, list[str]]:
    """The split to read and its files, where the names speak of splits: `train` of several; else all files."""
    by_split: dict[str, list[str]] = defaultdict(list)
    for name in names:
        words = re.split(r"[^a-z]+", name.casefold())
        by_split[next((word for word in words if word in _SPLITS), "")].append(name)
    if len(by_split) == 1:
        return "", list(names)
    for split in ("train", "training"):
        if split in by_split:
            return split, by_split[split]
    why = f"their names speak of {listed(sorted(filter(None, by_split)))}, and none of `{_DEFAULT_SPLIT}`"
    raise refused(path, "the folder holds several splits", why, "choose one file, or part the splits into folders")


def _check_complete(path: Path, names: Sequence[str]) -> None:
    """Refuse a set of shards that name their number (`-00000-of-00003`) when some are not there."""
    numbers: dict[tuple[str, int], set[int]] = defaultdict(set)
    for name in names:
        if found := _NUMBERED.search(name):
            numbers[name[: found.start()], int(found[2])].add(int(found[1]))
    for (start, total), there in numbers.items():
        first = min(1, *there)
        missing = [number for number in range(first, min(total, 100_000) + first) if number not in there]
        if missing and len(there) + len(missing) == total:
            shown = listed([f"{start}{number:05d}-of-{total:05d}" for number in missing])
            why = f"their names speak of {total}; not there: {shown}"
            raise refused(path, "shards of the folder are missing", why, "copy or download the missing files")


def _natural(name: str) -> list[tuple[int, str]]:
    """A key that puts `part-10` behind `part-9`."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"([0-9]+)", name)]
