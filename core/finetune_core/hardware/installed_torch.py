"""The torch that is installed here, read from its files: what it was built for, without importing it."""

from __future__ import annotations

import importlib.util
import re
import shlex
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

_INDEX: Final = "https://download.pytorch.org/whl"


@dataclass(frozen=True)
class TorchBuild:
    """Version of torch, and the CUDA or the ROCm it was built for; both None for a build for the CPU alone."""

    version: str
    cuda: str | None
    hip: str | None

    @property
    def published(self) -> bool:
        """Whether the version is written as PyTorch writes its releases: `2.13.0`, `2.13.0+cu130`."""
        return re.fullmatch(r"\d+\.\d+\.\d+(\+(cu\d+|cpu|rocm[\d.]+|xpu))?", self.version) is not None

    @property
    def words(self) -> str:
        """`torch 2.13.0+cu130, built for CUDA 13.0`."""
        made_for = f"CUDA {self.cuda}" if self.cuda else f"ROCm {self.hip}" if self.hip else "the CPU only"
        return f"torch {self.version}, built for {made_for}"


def numbers(text: str) -> tuple[int, ...]:
    """The numbers in a version, up to a plus sign: (2, 13, 0) of `2.13.0+cu130`."""
    return tuple(int(part) for part in re.findall(r"\d+", text.partition("+")[0]))


@cache
def installed_torch() -> TorchBuild | None:
    """The build of torch this Python would import; None where there is none, or its files do not name it."""
    return read_torch()


def read_torch() -> TorchBuild | None:
    """As `installed_torch`, read again at each call."""
    try:
        spec = importlib.util.find_spec("torch")
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None:
        return None
    try:
        text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    return TorchBuild(_value(text, "__version__") or "unknown", _value(text, "cuda"), _value(text, "hip"))


def _value(text: str, name: str) -> str | None:
    found = re.search(rf"^{name}\b[^=\n]*=\s*['\"]([^'\"]+)['\"]", text, re.MULTILINE)
    return found.group(1) if found else None


def install_command(version: str, cuda: str) -> str:
    """The command that puts PyTorch's wheel of this version for this CUDA in place of the torch that is here."""
    tag = "cu" + "".join(cuda.split(".")[:2])
    python = shlex.quote(sys.executable)
    pip = f"{python} -m pip install" if importlib.util.find_spec("pip") else f"uv pip install --python {python}"
    return f"{pip} 'torch=={version}+{tag}' --index-url {_INDEX}/{tag}"
