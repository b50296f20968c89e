"""What libraries look up anew at each import, kept: a sixth of the time the training stack takes to import.

transformers reads 3,300 files, twice, to find which names its models' modules export, and it and TRL ask every
installed distribution for its packages.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from finetune_core.files import read_sealed, write_sealed
from finetune_core.paths import cache_root

# Where transformers 5 defines how its names are found.
_MODULE: Final = "transformers.utils.import_utils"
_NAME: Final = "define_import_structure"
_LARGEST: Final = 16 * 1024 * 1024

# The backends that names need, each with the modules and the names they export.
Structure = dict[frozenset[str], dict[str, set[str]]]


@contextmanager
def quick_imports() -> Iterator[None]:
    """Inside, names of transformers and packages of distributions are looked up once, where the libraries allow it."""
    finder = _AfterImport(_MODULE, _keep_structure)
    listed = importlib.metadata.packages_distributions
    sys.meta_path.insert(0, finder)
    importlib.metadata.packages_distributions = _kept_packages(listed)
    try:
        yield
    finally:
        importlib.metadata.packages_distributions = listed
        with suppress(ValueError):
            sys.meta_path.remove(finder)


def _kept_packages(listed: Callable[[], Mapping[str, list[str]]]) -> Callable[[], Mapping[str, list[str]]]:
    """The function, asked once for as long as nothing is installed or removed."""

    @cache
    def packages() -> Mapping[str, list[str]]:
        kept = cache_root() / "packages" / f"{_packages_key()}.json"
        found = read_sealed(kept, _LARGEST)
        if found is None or not isinstance(found.get("packages"), dict):
            found = {"packages": {name: list(distributions) for name, distributions in listed().items()}}
            with suppress(OSError):
                _write(kept, found)
        return found["packages"]  # type: ignore[no-any-return]

    return packages


def _packages_key() -> str:
    """Another one once a distribution comes to a folder where Python looks for them, or goes."""
    dates = []
    for entry in sys.path:
        with suppress(OSError):
            # An empty entry is the folder one stands in.
            dates.append((str(Path(entry).absolute()), Path(entry).stat().st_mtime_ns))
    return hashlib.sha256(repr((sys.version, dates)).encode()).hexdigest()[:32]


class _AfterImport(MetaPathFinder):
    """Calls a function with a module once that was imported, before anything is imported from it."""

    def __init__(self, name: str, then: Callable[[ModuleType], None]) -> None:
        self._name = name
        self._then = then

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The usual spec of the one module, with the call behind its execution; None of any other."""
        spec = PathFinder.find_spec(fullname, path, target) if fullname == self._name else None
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            self._then(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _keep_structure(module: ModuleType) -> None:
    """Let transformers read the folder of its models at most once, and not at all where the answer is kept."""
    define = getattr(module, _NAME, None)
    if define is None:
        return
    models = Path(str(module.__file__)).parents[1] / "models"

    @cache
    def structure() -> Structure:
        kept = cache_root() / "transformers" / f"{_key(models)}.json"
        found = _read(kept)
        if found is None:
            found = define(str(models))
            with suppress(OSError):
                _write(kept, _as_rows(found))
        return found

    def quick(module_path: Any, prefix: str | None = None) -> Any:  # noqa: ANN401 - as the function it stands for
        folder = Path(os.fspath(module_path))
        if models not in (folder, folder.parent if folder.name == "__init__.py" else None):
            return define(module_path, prefix)
        begin = f"{prefix}." if prefix else ""
        return {
            needs: {begin + name: set(names) for name, names in modules.items()}
            for needs, modules in structure().items()
        }

    setattr(module, _NAME, quick)


def _key(models: Path) -> str:
    """Another one for another version, place or list of models, and for a copy somebody works on."""
    version = importlib.metadata.version("transformers")
    folders = models.iterdir() if ".dev" in version else [models]
    dates = [(str(folder), folder.stat().st_mtime_ns) for folder in folders]
    return hashlib.sha256(repr((version, sorted(dates))).encode()).hexdigest()[:32]


def _read(path: Path) -> Structure | None:
    found = read_sealed(path, _LARGEST)
    if found is None:
        return None
    with suppress(TypeError, ValueError, AttributeError, KeyError):
        return {
            frozenset(needs): {name: set(names) for name, names in modules.items()}
            for needs, modules in found["structure"]
        }
    return None


def _as_rows(structure: Structure) -> dict[str, Any]:
    rows = [
        [sorted(needs), {name: sorted(names) for name, names in modules.items()}]
        for needs, modules in structure.items()
    ]
    return {"structure": rows}


def _write(path: Path, data: Mapping[str, Any]) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_sealed(path, data)
