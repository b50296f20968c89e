"""A model from the hub into the cache, with progress in bytes."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from glob import escape
from pathlib import Path
from typing import Any, Final

from huggingface_hub import HfApi, snapshot_download
from tqdm.auto import tqdm  # type: ignore[import-untyped]

from finetune_core.errors import FtError, Problem, gather, problem
from finetune_core.models.config import ADAPTER
from finetune_core.models.find import hub_cache
from finetune_core.models.hub_card import REFUSED
from finetune_core.models.trust import wants_code
from finetune_core.models.weights import INDEX, SINGLE, names_of_weights, refuse_files
from finetune_core.text import bytes_text, one_line
from finetune_core.worker.hub.access import full_disk, mend_client, verify

# Weights as safetensors only, never pickles, and code only where the user has consented to some of this model.
_DESCRIBING: Final = ("*.json", "*.jinja", "*.txt", "*.model", "tokenizer*", "README.md")
_CODE: Final = "*.py"
_UNWANTED: Final = ("*/*", "*.bin", "*.pt", "*.pth", "*.pkl", "*.pickle", "*.ckpt", "*.safetensors", "*.gguf")

# How long the hub may take to say what a repository holds.
_ANSWER_SECONDS: Final = 15.0

Progress = Callable[[int, int], None]


def download(
    source: str, revision: str | None, progress: Progress, refuse: Callable[[Path], None] | None = None
) -> Path:
    """The snapshot folder of `source`; `progress(bytes_here, bytes_in_all)` is called as its weights arrive.

    What describes the model comes first: `refuse(folder)` may look at it and raise before gigabytes follow. All is of
    one commit, and compared with the hub's hashes. Raises the hub's own errors (not found, gated, offline), which
    `failures.explain` puts into words, and FtError where it has no weights that can be used or the disk no room.
    """
    try:
        folder, _ = describe(source, revision, code=wants_code(source), limit=None)
        if refuse is not None:
            refuse(folder)
        _fetch_weights(source, folder, progress)
    except OSError as error:
        if full_disk(error) is None:
            raise
        raise _no_room(source, "the disk ran full while it was downloaded") from error
    return folder


def describe(source: str, revision: str | None, *, code: bool, limit: int | None) -> tuple[Path, int | None]:
    """The snapshot folder of `source` with all that describes the model, and the bytes of its weights, which stay.

    With `code` its Python files come too. Raises the hub's own errors. Raises FtError for a repository without a model
    that can be tuned, a file that is not what the hub has, or files that would take more than `limit` bytes.
    """
    mend_client()
    about = HfApi().model_info(source, revision=revision, timeout=_ANSWER_SECONDS, files_metadata=True)
    sizes = {file.rfilename: file.size for file in about.siblings or ()}
    _require_model(source, [*sizes])
    wanted: dict[str, Any] = {
        "allow_patterns": [*_DESCRIBING, _CODE] if code else [*_DESCRIBING],
        "ignore_patterns": [*_UNWANTED] if code else [*_UNWANTED, _CODE],
    }
    files = snapshot_download(source, revision=revision, dry_run=True, **wanted)
    missing = [file for file in files if file.will_download]
    size = sum(file.file_size or 0 for file in missing)
    if limit is not None and size > limit:
        raise problem(
            "what describes this model is too large to be fetched unasked",
            where=one_line(source, 100),
            why=f"its files beside the weights take {bytes_text(size)}; those of other models take a tenth of"
            f" {bytes_text(limit)}",
            remedy="look at its page on the hub; its download, when a run starts, is not limited",
        )
    # A branch may move meanwhile: all is of the commit that was looked at.
    folder = Path(snapshot_download(source, revision=files[0].commit_hash if files else about.sha, **wanted))
    _verify([folder / file.filename for file in missing])
    return folder, _size_of_weights(folder, sizes)


def _size_of_weights(folder: Path, sizes: Mapping[str, int | None]) -> int | None:
    """Bytes of the files that the index names; None where it is damaged, or the hub does not say."""
    with suppress(FtError):
        found = [sizes.get(name) for name in names_of_weights(folder)]
        return None if None in found else sum(size or 0 for size in found)
    return None


def _fetch_weights(source: str, folder: Path, progress: Progress) -> None:
    commit = folder.name
    wanted = [escape(name) for name in names_of_weights(folder)]
    files = snapshot_download(source, revision=commit, dry_run=True, allow_patterns=wanted)
    total = sum(file.file_size or 0 for file in files)
    missing = [file for file in files if file.will_download]
    here = total - sum(file.file_size or 0 for file in missing)
    _require_room(source, total - here)
    progress(here, total)
    shown = bar(lambda done: progress(min(total, max(here, done)), total))
    snapshot_download(source, revision=commit, tqdm_class=shown, allow_patterns=wanted)
    _verify([Path(file.local_path) for file in missing])


def _verify(files: Sequence[Path]) -> None:
    """Verify all, so that every bad one is fetched again. Raises FtError with those that are not what the hub has."""
    problems: list[Problem] = []
    for path in files:
        gather(problems, partial(verify, path))
    if problems:
        raise FtError(problems)


def _require_model(source: str, names: Sequence[str]) -> None:
    """Raise FtError for a repository of the hub whose files cannot be tuned, by their names alone."""
    # An adapter is refused for what it is, by what it says of its base.
    if ("config.json" in names and {SINGLE, INDEX} & {*names}) or ADAPTER in names:
        return
    form = refuse_files(names, source)
    found = (
        form.problems[0]
        if form is not None
        else Problem(
            "this repository holds no model in the form of transformers",
            one_line(source, 100),
            f"config.json, and weights as {SINGLE} or {INDEX}, are not all among its {len(names)} files",
            "choose the model's own repository, or one that was converted to that form",
        )
    )
    raise FtError(replace(found, kind=REFUSED))


def _require_room(source: str, size: int) -> None:
    place = hub_cache()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if size > free:
        raise _no_room(source, f"{bytes_text(size)} are still to come, and {bytes_text(free)} are free")


def _no_room(source: str, why: str) -> FtError:
    return problem(
        f"the disk has no room for {one_line(source, 100)}",
        where=one_line(str(hub_cache()), 200),
        why=why,
        remedy="free some space, or name a folder on a larger disk in HF_HUB_CACHE; then start again: files that came"
        " whole are kept",
    )


def bar(count: Callable[[int], None]) -> type[Any]:
    """A class of progress bars for the hub's library: shows nothing, and calls `count` with the bytes counted."""

    class Bar(tqdm):  # type: ignore[misc]
        """A progress bar that shows nothing and passes on the bytes it counts."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - tqdm's own
            kwargs.pop("name", None)
            self._counts_bytes = kwargs.get("unit") == "B"
            super().__init__(*args, **(kwargs | {"disable": False, "file": _Nowhere()}))

        def update(self, n: float | None = 1) -> None:
            super().update(n)
            if self._counts_bytes:
                count(int(self.n))

    return Bar


class _Nowhere:
    """A stream that keeps nothing; a disabled tqdm would not count."""

    def write(self, _text: str) -> int:
        return 0

    def flush(self) -> None:
        """Nothing is held back."""
