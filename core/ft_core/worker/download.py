"""A model from the hub into the cache, with progress in bytes."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from huggingface_hub import snapshot_download
from tqdm.auto import tqdm  # type: ignore[import-untyped]

from ft_core.errors import FtError, problem
from ft_core.models.find import hub_cache
from ft_core.models.trust import wants_code
from ft_core.text import bytes_text, one_line
from ft_core.worker.hub import full_disk, mend_client, verify

# Weights as safetensors only, never pickles, and code only where the user has consented to some of this model.
_DESCRIBING: Final = ("*.json", "*.jinja", "*.txt", "*.model", "tokenizer*", "README.md")
_WANTED: Final = ("*.safetensors", *_DESCRIBING)
_CODE: Final = "*.py"
_UNWANTED: Final = ("*/*", "*.bin", "*.pt", "*.pth", "*.pkl")

Progress = Callable[[int, int], None]


def download(source: str, revision: str | None, progress: Progress) -> Path:
    """The snapshot folder of `source`; `progress(bytes_here, bytes_in_all)` is called as it arrives.

    What comes is one commit's, and compared with the hub's hashes. Raises the hub's own errors (not found, gated,
    offline), which `failures.explain` puts into words, and FtError where the disk has no room for it.
    """
    mend_client()
    try:
        return _download(source, revision, progress)
    except OSError as error:
        if full_disk(error) is None:
            raise
        raise _no_room(source, "the disk ran full while it was downloaded") from error


def _download(source: str, revision: str | None, progress: Progress) -> Path:
    wanted = _patterns(_WANTED, code=wants_code(source))
    files = snapshot_download(source, revision=revision, dry_run=True, **wanted)
    total = sum(file.file_size or 0 for file in files)
    missing = [file for file in files if file.will_download]
    here = total - sum(file.file_size or 0 for file in missing)
    _require_room(source, total - here)
    progress(here, total)
    shown = bar(lambda done: progress(min(total, max(here, done)), total))
    # A branch may move while its files come: those of the commit that was looked at are taken.
    commit = files[0].commit_hash if files else revision
    folder = Path(snapshot_download(source, revision=commit, tqdm_class=shown, **wanted))
    for file in missing:
        verify(Path(file.local_path))
    return folder


def _patterns(wanted: Sequence[str], *, code: bool) -> dict[str, Any]:
    """Which files of a repository are fetched; with `code` its Python files too."""
    if code:
        return {"allow_patterns": [*wanted, _CODE], "ignore_patterns": [*_UNWANTED]}
    return {"allow_patterns": [*wanted], "ignore_patterns": [*_UNWANTED, _CODE]}


def fetch_code(source: str, revision: str | None) -> Path:
    """The snapshot folder of `source` with its Python files and all that describes the model, but no weights.

    Raises the hub's own errors, and FtError for a file that is not what the hub has.
    """
    mend_client()
    wanted = _patterns(_DESCRIBING, code=True)
    wanted["ignore_patterns"] += ["*.safetensors", "*.safetensors.index.json"]
    files = snapshot_download(source, revision=revision, dry_run=True, **wanted)
    folder = Path(snapshot_download(source, revision=revision, **wanted))
    for file in files:
        if file.will_download:
            verify(folder / file.filename)
    return folder


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


def bar(tell: Callable[[int], None]) -> type[Any]:
    """A class of progress bars for the hub's library: shows nothing, and calls `tell` with the bytes counted."""

    class Bar(tqdm):  # type: ignore[misc]
        """A progress bar that shows nothing and tells the bytes it counts."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - tqdm's own
            kwargs.pop("name", None)
            self._counts_bytes = kwargs.get("unit") == "B"
            super().__init__(*args, **(kwargs | {"disable": False, "file": _Nowhere()}))

        def update(self, n: float | None = 1) -> None:
            super().update(n)
            if self._counts_bytes:
                tell(int(self.n))

    return Bar


class _Nowhere:
    """A stream that keeps nothing; a disabled tqdm would not count."""

    def write(self, _text: str) -> int:
        return 0

    def flush(self) -> None:
        """Nothing is held back."""
