"""Whether the torch that is installed computes on the GPUs that are here, and what to do where it does not."""

from __future__ import annotations

from dataclasses import dataclass, field

from finetune_core.hardware.installed_torch import TorchBuild, install_command
from finetune_core.hardware.look import Gpu, Hardware
from finetune_core.hardware.torch_builds import advised, driver_for, driver_number, lacks_code, nothing_fits

_REINSTALL = "install ft-tui again as its README says: torch is missing"
_BUSY = ("out of memory", "busy or unavailable")


@dataclass(frozen=True)
class Tried:
    """What became of a tiny computation on each GPU.

    `failures` has an entry for each GPU that torch saw: None where it computed, else its error. `problem` says why
    torch could not be asked at all. `whole` is false where nothing was tried.
    """

    failures: dict[str, str | None] = field(default_factory=dict)
    problem: str | None = None
    whole: bool = True

    def error(self, gpu: Gpu) -> str | None:
        """The error on this GPU; that of torch itself where it could not be asked."""
        return self.problem or self.failures.get(gpu.uuid)

    def ran(self, gpu: Gpu) -> bool:
        """Whether the GPU computed. torch names a MIG slice by its GPU, so one that it does not name goes by all."""
        if self.problem is not None or not self.failures:
            return False
        if gpu.uuid in self.failures:
            return self.failures[gpu.uuid] is None
        return all(error is None for error in self.failures.values())


NOT_TRIED = Tried(whole=False)


@dataclass(frozen=True)
class Fit:
    """Whether torch computes on a GPU: `ok`, one sentence, and what to do where it does not."""

    ok: bool
    text: str
    remedy: str | None = None


def fits(
    gpu: Gpu, driver: str | None, build: TorchBuild | None, tried: Tried = NOT_TRIED, machine: str | None = None
) -> Fit:
    """Judge by what was tried, else by the table of builds. A GPU that computed is never called unfit.

    `machine` is the processor (`aarch64`), this one's where not given.
    """
    if build is None:
        return Fit(ok=False, text="torch is not installed, or its files do not name it", remedy=_REINSTALL)
    if tried.ran(gpu):
        return Fit(ok=True, text=f"{build.words}, computes on it")
    cause = _misfit(gpu, driver, build, machine)
    error = tried.error(gpu)
    if cause is not None:
        return Fit(ok=False, text=cause, remedy=_remedy(gpu, driver, machine))
    if error is not None and not any(words in error for words in _BUSY):
        remedy = "see what `nvidia-smi` says of it; restart the container or machine"
        return Fit(ok=False, text=f"{build.words}, does not compute on it: {error}", remedy=remedy)
    if error is not None:
        return Fit(ok=True, text=f"{build.words}, fits by its version; not tried, the GPU is taken: {error}")
    return Fit(ok=True, text=f"{build.words}, fits by its version")


def unfit(hardware: Hardware, build: TorchBuild | None, tried: Tried = NOT_TRIED) -> Fit | None:
    """What keeps torch from computing, of the first GPU it keeps it from; None where all is well or there is none."""
    found = (fits(gpu, hardware.driver, build, tried) for gpu in hardware.gpus)
    return next((fit for fit in found if not fit.ok), None)


def _misfit(gpu: Gpu, driver: str | None, build: TorchBuild, machine: str | None) -> str | None:
    """Why driver or card do not fit the build by the table; None where they do, or where it is not known."""
    if build.cuda is None:
        return f"{build.words}, computes on no NVIDIA card"
    branch, floor = driver_number(driver), driver_for(build)
    if branch is not None and branch < floor:
        return f"{build.words}, needs driver {floor} or newer; this one is {driver}"
    if gpu.compute_capability is not None and lacks_code(build, gpu.compute_capability, machine):
        shown = ".".join(map(str, gpu.compute_capability))
        return f"{build.words}, holds no code for {gpu.name} (compute capability {shown})"
    return None


def _remedy(gpu: Gpu, driver: str | None, machine: str | None) -> str:
    card = gpu.compute_capability
    if card is None:
        return "install the build of torch for this driver: https://pytorch.org/get-started/locally"
    wheel = advised(card, driver, machine)
    if wheel is None:
        return ". ".join(nothing_fits(card, driver, machine))
    return f"install its build for CUDA {wheel.cuda}: {install_command(wheel.torch, wheel.cuda)}"
