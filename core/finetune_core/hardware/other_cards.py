"""Cards that are not NVIDIA's, named with what to do: this program trains on NVIDIA's cards and on the CPU."""

from __future__ import annotations

import contextlib
import platform
from pathlib import Path
from typing import Final

from finetune_core.hardware.installed_torch import TorchBuild

# PCI vendors (pci-ids.ucw.cz).
_AMD: Final = "0x1002"
_INTEL: Final = "0x8086"
_NVIDIA: Final = "0x10de"
_HOST: Final = "Take a host with an NVIDIA GPU; here training runs on the CPU."


def vendors(root: Path = Path("/")) -> frozenset[str]:
    """The PCI vendors of the graphics cards the kernel shows, as `0x1002`."""
    found = set()
    with contextlib.suppress(OSError):
        for file in (root / "sys/class/drm").glob("card*/device/vendor"):
            with contextlib.suppress(OSError):
                found.add(file.read_text(errors="replace").strip().lower())
    return frozenset(found)


def other_card(build: TorchBuild | None, root: Path = Path("/")) -> str | None:
    """The card of another maker and what to do, where there is one; None else. `build` is the torch that is here."""
    found = vendors(root)
    if (root / "dev/kfd").exists() or _AMD in found:
        return _amd(build)
    if _NVIDIA in found:
        return None
    if _INTEL in found:
        return (
            "An Intel graphics processor is here. torch has a build for some of Intel's (xpu), which this program "
            f"neither installs nor uses. {_HOST}"
        )
    return None


def _amd(build: TorchBuild | None) -> str:
    """What is known of AMD's cards: torch serves them under the name `cuda`; this program was never tried there."""
    if build is not None and build.hip:
        torch = f"torch {build.version} here is built for ROCm {build.hip} and may compute on it"
    else:
        torch = "torch's builds for ROCm compute on many of AMD's cards (the one here is no such build)"
    untried = "this program sees GPUs by NVIDIA's library, and was never tried on ROCm"
    return f"An AMD card is here. {torch}, but {untried}. {_HOST}"


def in_wsl() -> bool:
    """Whether this Linux runs inside Windows (WSL): its kernel's name says so."""
    return "microsoft" in platform.release().lower()


WSL_DRIVER: Final = (
    "This is Linux inside Windows (WSL): the driver is that of Windows. Install NVIDIA's newest driver there, run "
    "`wsl --update` in Windows, and install none in here."
)
