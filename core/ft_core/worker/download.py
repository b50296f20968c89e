"""A model from the hub into the cache, with progress in bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from tqdm.auto import tqdm  # type: ignore[import-untyped]

# Weights as safetensors only, never pickles, and never code.
_WANTED = ["*.safetensors", "*.json", "*.jinja", "*.txt", "*.model", "tokenizer*", "README.md"]
_UNWANTED = ["*/*", "*.bin", "*.pt", "*.pth", "*.pkl", "*.py"]

Progress = Callable[[int, int], None]


def download(source: str, revision: str | None, progress: Progress) -> Path:
    """The snapshot folder of `source`; `progress(bytes_here, bytes_in_all)` is called as it arrives.

    Raises the hub's own errors (not found, gated, offline), which `failures.explain` puts into words.
    """
    wanted: dict[str, Any] = {"revision": revision, "allow_patterns": _WANTED, "ignore_patterns": _UNWANTED}
    files = snapshot_download(source, dry_run=True, **wanted)
    total = sum(file.file_size or 0 for file in files)
    here = sum(file.file_size or 0 for file in files if not file.will_download)
    progress(here, total)
    shown = bar(lambda done: progress(min(total, max(here, done)), total))
    return Path(snapshot_download(source, tqdm_class=shown, **wanted))


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
