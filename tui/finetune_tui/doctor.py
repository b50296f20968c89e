"""The environment report: what this machine has, what would go wrong, and what to do about it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from finetune_core.errors import FtError
from finetune_core.hardware.installed_torch import installed_torch
from finetune_core.hardware.look import Gpu, Hardware, look
from finetune_core.hardware.other_cards import in_wsl
from finetune_core.hardware.torch_builds import INT8_CAPABILITY, NF4_CAPABILITY
from finetune_core.hardware.torch_fit import fits
from finetune_core.models.find import hub_cache, hub_endpoint, hub_forbidden_by
from finetune_core.paths import HOME_VARIABLE, home
from finetune_core.plan.gpu_check import try_kernel
from finetune_core.plan.hub_login import token_found_in
from finetune_core.runs.start.launch import logout_risk
from finetune_core.text import bytes_text, counted, memory_text, one_line

Level = Literal["ok", "warn", "fail"]
_GLYPHS: Final[dict[Level, str]] = {"ok": "✓ ok  ", "warn": "! warn", "fail": "✗ fail"}
_STACK: Final = ("torch", "transformers", "peft", "trl", "accelerate", "datasets", "bitsandbytes", "textual")
_DISTRIBUTION: Final = "finetune-tui"
_OLDEST_PYTHON: Final = (3, 11)
_DISK_WANTED: Final = 10 * 10**9
_MEMORY_WANTED: Final = 4 * 2**30
_SMALLEST: Final = (60, 18)
_COMFORTABLE: Final = (80, 24)


@dataclass(frozen=True)
class Check:
    """One line of the report; `remedy` is given whenever the level is not ok."""

    name: str
    level: Level
    text: str
    remedy: str | None = None

    @property
    def mark(self) -> str:
        """Glyph and word of the level."""
        return _GLYPHS[self.level]


def examine() -> list[Check]:
    """Look at everything. Never raises for what it finds, and never imports the training stack."""
    hardware = look()
    parts = (
        *(_python(), _packages(), _gpus(hardware), _torch_build(hardware), _host(hardware)),
        *(_folders(), _hub(), _token(), _terminal(), _logout()),
    )
    return [check for part in parts for check in part]


def as_data(checks: list[Check]) -> dict[str, Any]:
    """The report for `--json`; `ok` is false when any line fails."""
    return {"ok": all(check.level != "fail" for check in checks), "checks": [asdict(check) for check in checks]}


def as_text(checks: list[Check]) -> str:
    """The report for people: glyph and word, name, finding, and the remedy under it."""
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"{check.mark}  {check.name:<{width}}  {one_line(check.text, 300)}")
        if check.remedy:
            lines.append(" " * (len(check.mark) + width + 4) + "fix: " + one_line(check.remedy, 400))
    return "\n".join(lines)


def _python() -> Iterator[Check]:
    text = f"{platform.python_version()} at {sys.executable}, {platform.platform(terse=True)}"
    if sys.version_info < _OLDEST_PYTHON:
        yield Check("python", "fail", text, "install Python 3.11 or newer")
    else:
        yield Check("python", "ok", text)
    if in_wsl():
        text = "Linux inside Windows (WSL): runs end when Windows restarts, sleeps or ends it"
        remedy = "keep Windows awake while a run goes on; `ft-tui resume` goes on from its last checkpoint"
        yield Check("system", "warn", text, remedy)


def _packages() -> Iterator[Check]:
    for name in (_DISTRIBUTION, *_STACK):
        try:
            yield Check(name, "ok", importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            needed: Level = "warn" if name == "bitsandbytes" else "fail"
            yield Check(name, needed, "not installed", "install ft-tui again: pip install -c constraints.txt -e .")


def _gpus(hardware: Hardware) -> Iterator[Check]:
    driver = f"driver {hardware.driver or 'unknown'}, CUDA up to {hardware.cuda or 'unknown'}"
    if hardware.problem or not hardware.gpus:
        yield Check("GPU", "warn", hardware.problem or "none is seen", "without a GPU, runs use the CPU: fit for the "
                    "demo and very small models")  # fmt: skip
    else:
        yield Check("driver", "ok", driver)
    for gpu in hardware.gpus:
        yield _gpu(gpu)


def _gpu(gpu: Gpu) -> Check:
    capability = ".".join(map(str, gpu.compute_capability)) if gpu.compute_capability else "unknown"
    text = (
        f"{gpu.name}, {memory_text(gpu.memory_free)} free of {memory_text(gpu.memory_total)}, "
        f"compute capability {capability}, bf16 {'yes' if gpu.bf16 else 'no'}"
    )
    users = ", ".join(f"{one.user or 'someone'} (pid {one.pid}, {one.name or 'unknown'})" for one in gpu.processes)
    if users:
        return Check(f"GPU {gpu.index}", "warn", f"{text}; in use by {users}", "wait for it, or choose another GPU")
    return Check(f"GPU {gpu.index}", "ok", text)


def _torch_build(hardware: Hardware) -> Iterator[Check]:
    build = installed_torch()
    if build is None or not hardware.gpus:
        yield Check("torch build", "ok" if build else "fail", build.words if build else "torch is not installed",
                    None if build else "install ft-tui again, as its README says")  # fmt: skip
        return
    tried = try_kernel(hardware)
    for gpu in hardware.gpus:
        fit = fits(gpu, hardware.driver, build, tried)
        yield Check(f"torch on GPU {gpu.index}", "ok" if fit.ok else "fail", fit.text, fit.remedy)
        yield from _quantisation(gpu)


def _quantisation(gpu: Gpu) -> Iterator[Check]:
    """What bitsandbytes computes on this card, where that is not all of it."""
    card = gpu.compute_capability
    if card is None or card >= INT8_CAPABILITY:
        return
    missing = "int8" if card >= NF4_CAPABILITY else "nf4, int8 and the 8-bit optimizer"
    lowest = ".".join(map(str, INT8_CAPABILITY if card >= NF4_CAPABILITY else NF4_CAPABILITY))
    yield Check("bitsandbytes", "warn", f"{missing}: not on GPU {gpu.index}; they need compute capability {lowest}",
                "leave quantization.method and training.optimizer on another value there")  # fmt: skip


def _host(hardware: Hardware) -> Iterator[Check]:
    host = hardware.host
    memory = f"{memory_text(host.memory_available)} free of {memory_text(host.memory_total)}"
    enough = host.memory_available >= _MEMORY_WANTED
    yield Check("CPU", "ok", f"{host.cpu}, {host.cores} cores")
    yield Check("memory", "ok" if enough else "warn", memory, None if enough else "close other programs: loading a "
                "model needs its size in memory")  # fmt: skip


def _folders() -> Iterator[Check]:
    place = "set by FT_TUI_HOME" if os.environ.get(HOME_VARIABLE) else "the default; FT_TUI_HOME moves it"
    try:
        folder = home()
        free = shutil.disk_usage(folder).free
        writable = os.access(folder, os.W_OK | os.X_OK)
    except FtError as error:
        found = error.problems[0]
        yield Check("runs in", "fail", f"cannot be used: {found.where}: {found.why}", found.remedy)
        return
    except OSError as error:
        yield Check("runs in", "fail", f"cannot be used: {error}", "set FT_TUI_HOME to a folder you can write to")
        return
    if writable:
        yield Check("runs in", "ok", f"{folder} ({place})")
    else:
        yield Check("runs in", "fail", f"{folder} cannot be written", "set FT_TUI_HOME to a folder you can write to")
    enough = free >= _DISK_WANTED
    yield Check("disk", "ok" if enough else "warn", f"{bytes_text(free)} free there", None if enough else "free some "
                "space: checkpoints and models take several GB")  # fmt: skip


def _hub() -> Iterator[Check]:
    cache, offline = hub_cache(), hub_forbidden_by()
    count = sum(1 for _ in cache.glob("models--*")) if cache.is_dir() else 0
    yield Check("model cache", "ok", f"{cache}: {counted(count, 'model')}")
    asked = f"{hub_endpoint()}, asked when a model is not in the cache; HF_HUB_OFFLINE=1 forbids it"
    yield Check("model hub", "ok", f"never asked, {offline} is set" if offline else asked)


def _token() -> Iterator[Check]:
    """Where a token of the hub is found; never what it is."""
    found = token_found_in()
    yield Check(
        "hub token", "ok", f"found in {found}" if found else "none; gated models ask for one: ft-tui models login"
    )


def _terminal() -> Iterator[Check]:
    from finetune_tui.terminal import why_no_app

    reason = why_no_app()
    columns, lines = shutil.get_terminal_size()
    text = f"TERM={os.environ.get('TERM', '')}, {columns}x{lines}, {_colours()}"
    text += ", in tmux" if os.environ.get("TMUX") else ", in screen" if os.environ.get("STY") else ""
    if reason:
        yield Check("terminal", "warn", f"{text}; the app cannot be shown: {reason}", "use --plain, or a terminal")
    elif columns < _SMALLEST[0] or lines < _SMALLEST[1]:
        yield Check("terminal", "warn", text, f"make it at least {_SMALLEST[0]}x{_SMALLEST[1]}")
    elif columns < _COMFORTABLE[0] or lines < _COMFORTABLE[1]:
        yield Check("terminal", "ok", f"{text}; {_COMFORTABLE[0]}x{_COMFORTABLE[1]} shows more")
    else:
        yield Check("terminal", "ok", text)
    encoding = (getattr(sys.__stdout__, "encoding", None) or "unknown").lower()
    if encoding.replace("-", "") == "utf8":
        yield Check("characters", "ok", "UTF-8")
    else:
        yield Check("characters", "warn", encoding, "set LANG=C.UTF-8, else lines and curves are garbled")


def _colours() -> str:
    if os.environ.get("NO_COLOR"):
        return "no colours (NO_COLOR)"
    if os.environ.get("COLORTERM", "").lower() in {"truecolor", "24bit"}:
        return "16 million colours"
    return "256 colours" if "256" in os.environ.get("TERM", "") else "16 colours"


def _logout() -> Iterator[Check]:
    risk = logout_risk()
    if risk is None:
        yield Check("logout", "ok", "runs survive it")
    else:
        yield Check("logout", "warn", f"{risk.what}: {risk.why}", risk.remedy)
