"""A data set of the hub to a folder: `python -P -m finetune_core.worker.hub.fetch_data FOLDER NAME CONFIG SPLIT`.

The files that hold the rows are kept as they are, so that a cell such as 00000 stays one; what is kept in a form that
is not read here is turned into Parquet by `datasets`. Progress and result go as JSON lines to standard output. No code
of the data set is run.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from finetune_core.child_messages import failure, say
from finetune_core.data.files.base import listed
from finetune_core.data.files.folder import open_folder
from finetune_core.data.files.hub import DONE
from finetune_core.data.files.sniff import SUFFIXES, suffix_of
from finetune_core.errors import FtError, problem
from finetune_core.models.find import hub_forbidden_by
from finetune_core.paths import HOME_VARIABLE
from finetune_core.text import one_line
from finetune_core.worker.hub.access import explained, full_disk, mend_client, verify
from finetune_core.worker.hub.download import bar

_REPOSITORY = "hf://datasets/"
_SECONDS = 20.0


def fetch(folder: Path, name: str, config: str, split: str) -> None:
    """Put the files of one split into `folder`, complete or not at all. FtError for a config or split there is not."""
    import datasets
    from huggingface_hub import HfApi

    datasets.disable_progress_bars()
    # Asked first, since `datasets` tries for half a minute to reach a hub that is not there.
    HfApi().dataset_info(name, timeout=_SECONDS)
    config = _config(name, config, [str(known) for known in datasets.get_dataset_config_names(name)])
    builder = datasets.load_dataset_builder(name, config)
    files: dict[str, Sequence[str]] = {str(key): urls for key, urls in (builder.config.data_files or {}).items()}
    split = _split(name, config, split, list(files))
    stage = folder.with_name(f".{folder.name}.{os.getpid()}")
    stage.mkdir(mode=0o700)
    try:
        if getattr(builder.config, "field", None) or not _download(name, list(map(str, files[split])), stage):
            _convert(builder, split, stage)
        about = {"name": name, "config": config, "split": split, "revision": _revision(str(files[split][0]))}
        (stage / DONE).write_text(json.dumps(about), encoding="utf-8")
        _check_rows(name, stage)
        shutil.rmtree(folder, ignore_errors=True)
        stage.rename(folder)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _config(name: str, wanted: str, known: Sequence[str]) -> str:
    """The config that was chosen, or `default`, or the only one."""
    if wanted in known:
        return wanted
    if not wanted and "default" in known:
        return "default"
    if not wanted and len(known) == 1:
        return known[0]
    raise _choose(name, "config", known, f"hub:{name}#{known[0] if known else ''}", wanted)


def _split(name: str, config: str, wanted: str, known: Sequence[str]) -> str:
    """The split that was chosen, or `train`, or the only one."""
    if wanted in known:
        return wanted
    if not wanted and "train" in known:
        return "train"
    if not wanted and len(known) == 1:
        return known[0]
    raise _choose(name, "split", known, f"hub:{name}#{config}/{known[0] if known else ''}", wanted)


def _choose(name: str, part: str, known: Sequence[str], example: str, wanted: str) -> FtError:
    what = f"the data set has no {part} `{one_line(wanted, 60)}`" if wanted else f"the data set has several {part}s"
    why = f"it has: {listed(known, 20) or 'none'}"
    return problem(what, where=f"hub:{name}", why=why, remedy=f"choose one, e.g. {one_line(example, 200)}")


def _revision(url: str) -> str:
    return url.removeprefix(_REPOSITORY).partition("@")[2].partition("/")[0]


def _download(name: str, urls: Sequence[str], stage: Path) -> bool:
    """Put the files into `stage` as they are; False when they are not such as are read here."""
    from huggingface_hub import HfApi, hf_hub_download

    inside = [url.partition("@")[2].partition("/")[2] for url in urls if url.startswith(f"{_REPOSITORY}{name}@")]
    if len(inside) < len(urls) or not all(path.lower().endswith(SUFFIXES) for path in inside):
        return False
    revision = _revision(urls[0])
    about = HfApi().get_paths_info(name, inside, repo_type="dataset", revision=revision)
    sizes = {entry.path: int(getattr(entry, "size", 0)) for entry in about}
    done, total = 0, sum(sizes.values())
    say({"bytes": 0, "size": total})
    for place, path in enumerate(inside):
        shown = _bar(done, total)
        got = hf_hub_download(name, path, repo_type="dataset", revision=revision, tqdm_class=shown)
        verify(Path(got))
        _take(Path(got), stage / f"part-{place:05d}{_endings(path)}")
        done += sizes.get(path, 0)
        say({"bytes": done, "size": total})
    return True


def _bar(before: int, total: int) -> type[Any]:
    return bar(lambda done: say({"bytes": min(before + done, total), "size": total}))


def _endings(path: str) -> str:
    """What a file's name says of its kind: `.jsonl.gz`."""
    kind, last = suffix_of(Path(path)), Path(path).suffix.lower()
    return kind if kind == last else kind + last


def _take(got: Path, place: Path) -> None:
    """A file of the hub's cache as one of ours, without a second copy where the disk allows."""
    try:
        os.link(got.resolve(), place)
    except OSError:
        shutil.copyfile(got, place)


def _check_rows(name: str, stage: Path) -> None:
    """FtError when no rows can be read from the files."""
    try:
        open_folder(stage)
    except FtError as error:
        raise FtError([replace(found, where=f"hub:{name}") for found in error.problems]) from error


def _convert(builder: Any, split: str, stage: Path) -> None:  # noqa: ANN401 - datasets has no types
    """Let `datasets` read the split, and write it as Parquet."""
    builder.download_and_prepare()
    builder.as_dataset(split).to_parquet(str(stage / "part-00000.parquet"))


def explain(name: str, error: Exception) -> FtError:
    """The failure of a fetch in words."""
    what, why, remedy = _words(error, one_line(f"{type(error).__name__}: {error}", 300))
    return problem(what, where=one_line(f"hub:{name}", 200), why=why, remedy=remedy)


def _words(error: BaseException, text: str) -> tuple[str, str, str]:
    kinds: set[str] = set()
    seen: BaseException | None = error
    while seen is not None:
        kinds.add(type(seen).__name__)
        seen = seen.__cause__ or seen.__context__
    if (place := full_disk(error)) is not None:
        remedy = f"free some space, or move what is kept with HF_HUB_CACHE and {HOME_VARIABLE}; then start again"
        return "the disk is full", f"{place} ran full while the data set was fetched", remedy
    # Said of a repository that is there: beneath lie files that were looked for in vain.
    if kinds & {"EmptyDatasetError", "DataFilesNotFoundError"}:
        return "the data set holds no files of rows", text, "choose another one"
    if (words := explained(error, "data set")) is not None:
        return words[0], text, words[1]
    if "DatasetNotFoundError" in kinds and "gated" in text:
        remedy = "accept its licence on its page, then give a token of that account in HF_TOKEN"
        return "the hub refuses this data set: it is gated (403)", text, remedy
    if "DatasetNotFoundError" in kinds:
        return "the hub knows no such data set", text, "check the spelling"
    remedy = "download its files yourself (hf download --repo-type dataset), then choose the folder"
    return "the data set cannot be fetched", text, remedy


def _check_allowed(name: str) -> None:
    forbidden = hub_forbidden_by()
    if forbidden is not None:
        why, remedy = f"{forbidden} is set", f"unset {forbidden}, or choose a file on this machine"
        raise problem("the hub may not be asked", where=f"hub:{name}", why=why, remedy=remedy)


def main() -> None:
    """Fetch what the arguments name. What libraries print goes to standard error."""
    folder, name, config, split = sys.argv[1:5]
    say({"bytes": 0, "size": 0})
    try:
        _check_allowed(name)
        mend_client()
        fetch(Path(folder), name, config, split)
    except FtError as error:
        say(failure(error))
    except Exception as error:  # noqa: BLE001 - whatever a library raises is put into words
        say(failure(explain(name, error)))
    else:
        say({"done": {}})


if __name__ == "__main__":
    main()
