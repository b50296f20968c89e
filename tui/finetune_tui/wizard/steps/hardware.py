"""The first step: what this machine has, and where the run shall be computed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import ClassVar, Final

from textual import work
from textual.app import ComposeResult
from textual.containers import HorizontalGroup
from textual.content import Content
from textual.message import Message
from textual.widget import Widget

from finetune_core.hardware.installed_torch import installed_torch
from finetune_core.hardware.look import Hardware, Host, look
from finetune_core.hardware.torch_fit import NOT_TRIED, Fit, Tried, unfit
from finetune_core.plan.gpu_check import try_kernel
from finetune_core.text import bytes_text, clean, memory_text, one_line
from finetune_tui.widgets.cells import Line, bar
from finetune_tui.widgets.choice_row import ChoiceRow
from finetune_tui.widgets.field_form import FieldForm, Typed, problem_words
from finetune_tui.widgets.flow_cells import FlowCells
from finetune_tui.widgets.gpu_table import GpuCard, GpuTable
from finetune_tui.widgets.words import Line as OneLine
from finetune_tui.widgets.words import Words
from finetune_tui.wizard.session import HARDWARE, Session, guides_of
from finetune_tui.wizard.step import FactsChanged, Step

LOOK_EVERY: Final = 3.0
_DEVICES: Final = (("auto", "auto"), ("cuda", "GPU"), ("cpu", "CPU"))
CPU_WORDS: Final = (
    "Training on the CPU works, and is slow: expect a hundred to a thousand times the time of a data-centre GPU. "
    "The demo takes under a minute. A model of half a billion parameters with a few hundred short rows takes an "
    "evening; beyond that, rent a GPU."
)


class HardwareStep(Step):
    """GPUs, host, disk; which of them the run uses."""

    NUMBER: ClassVar[int] = HARDWARE
    DEFAULT_CSS = """
    HardwareStep .line { height: 1; }
    HardwareStep .line-label { width: 12; }
    HardwareStep #host { height: auto; margin-top: 1; }
    HardwareStep #device-reason { color: $text-muted; margin-left: 12; margin-bottom: 1; }
    HardwareStep #device-problem { margin-left: 12; }
    HardwareStep #no-gpu { margin-bottom: 1; }
    HardwareStep #torch-fit { margin-bottom: 1; }
    """

    @dataclass
    class Seen(Message):
        """The machine was looked at."""

        hardware: Hardware

    @dataclass
    class Computed(Message):
        """Something tiny was computed on each GPU, or not."""

        tried: Tried

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._looking = False
        self._tried: Tried | None = None

    def parts(self) -> ComposeResult:
        """The choice first, then what there is to choose from."""
        with HorizontalGroup(classes="line"):
            yield OneLine("Train on", classes="line-label")
            yield ChoiceRow(_DEVICES, "auto", id="field-hardware-device")
        yield Words("Looking at the machine …", id="device-reason")
        yield Words(id="device-problem")
        yield OneLine(id="driver", classes="dim")
        yield Words(id="torch-fit")
        yield GpuTable()
        yield Words(id="no-gpu")
        yield FlowCells(id="host")
        yield FieldForm(guides_of(HARDWARE, "first"), self.session.draft.texts)

    def on_mount(self) -> None:
        """Look now, and again as long as the page is in view."""
        self._look()
        self.set_interval(LOOK_EVERY, self._look_again)

    def _look_again(self) -> None:
        if self.is_shown and not self._looking:
            self._look()

    def _look(self) -> None:
        self._looking = True
        self._look_in_thread()

    @work(thread=True, group="hardware", exit_on_error=False)
    def _look_in_thread(self) -> None:
        self.post_message(self.Seen(look()))

    def on_hardware_step_seen(self, message: Seen) -> None:
        """New figures: inform the wizard when a choice could come out differently, else only this page."""
        self._looking = False
        old, self.session.hardware = self.session.hardware, message.hardware
        if self._tried is None and message.hardware.gpus:
            self._tried = NOT_TRIED
            self._compute_in_thread(message.hardware)
        if old is None or _identity(old) != _identity(message.hardware):
            self.post_message(FactsChanged())
        else:
            self.show()

    @work(thread=True, group="kernel", exit_on_error=False)
    def _compute_in_thread(self, hardware: Hardware) -> None:
        self.post_message(self.Computed(try_kernel(hardware)))

    def on_hardware_step_computed(self, message: Computed) -> None:
        """What was judged by versions is now known."""
        self._tried = message.tried
        self.show()

    def first_focus(self) -> Widget:
        """The choice of the device."""
        return self.query_one("#field-hardware-device")

    def show(self) -> None:
        """Bring the page up to date; only what changed is drawn."""
        if not (self.built and self.display):
            return
        session = self.session
        self.query_one("#field-hardware-device", ChoiceRow).show(session.recipe.hardware.device)
        problems = session.problems()
        found = (*problems.get("hardware.device", ()), *problems.get("hardware.gpus", ()))
        self.query_one("#device-problem", Words).say(problem_words(found))
        self.query_one(FieldForm).show(session.draft.texts, session.viewer())
        if session.hardware is None:
            return
        self.query_one("#device-reason", Words).say("" if found else self._reason(session.hardware))
        self._show_machine(session.hardware)

    def _reason(self, hardware: Hardware) -> str:
        if not hardware.gpus:
            return "The CPU: there is no GPU to choose."
        reason = self.session.device_reason
        return one_line(reason[:1].upper() + reason[1:] + ".", 300)

    def _show_machine(self, hardware: Hardware) -> None:
        self.query_one("#driver", OneLine).say(_driver_words(hardware))
        self.query_one(GpuTable).show_gpus(hardware.gpus, self._chosen(hardware))
        fit = unfit(hardware, installed_torch(), self._tried or NOT_TRIED)
        self.query_one("#torch-fit", Words).say(_fit_words(fit))
        self.query_one("#no-gpu", Words).say(_no_gpu_words(hardware, on_cpu=self.session.device == "cpu"))
        lines = host_lines(hardware.host)
        self.query_one("#host", FlowCells).show(lambda _width, _height: lines)

    def _chosen(self, hardware: Hardware) -> list[str]:
        named = self.session.recipe.hardware.gpus
        return [gpu.uuid for gpu in hardware.gpus if gpu.uuid in named or str(gpu.index) in named]

    def on_choice_row_chosen(self, event: ChoiceRow.Chosen) -> None:
        """Another device."""
        if event.control.id == "field-hardware-device":
            event.stop()
            self.post_message(Typed("hardware.device", "" if event.value == "auto" else event.value))

    def on_gpu_card_toggled(self, event: GpuCard.Toggled) -> None:
        """Take a GPU, or give it back; none taken means the freest one."""
        hardware = self.session.hardware
        if hardware is None:
            return
        # One at a time: a run is computed on one GPU.
        given_back = event.uuid in self._chosen(hardware)
        self.post_message(Typed("hardware.gpus", "" if given_back else json.dumps([event.uuid])))


def _identity(hardware: Hardware) -> tuple[object, ...]:
    """What choices depend on: memory counts in steps of 256 MiB, below that it only flickers."""
    gpus = tuple((gpu.uuid, gpu.memory_free >> 28) for gpu in hardware.gpus)
    return gpus, hardware.problem, hardware.host.memory_available >> 28


def _driver_words(hardware: Hardware) -> str:
    if not hardware.gpus:
        return ""
    cuda = f", CUDA up to {hardware.cuda}" if hardware.cuda else ""
    return one_line(
        f"NVIDIA driver {hardware.driver or 'unknown'}{cuda}. Space takes a GPU; none taken: the freest.", 200
    )


def _fit_words(fit: Fit | None) -> Content:
    """Why torch does not compute on a GPU, and what to do."""
    if fit is None:
        return Content()
    todo = f" To do: {clean(fit.remedy)}." if fit.remedy else ""
    return Content.assemble(("This GPU cannot be used yet. ", "bold $error"), f"{clean(fit.text)}.{todo}")


def _no_gpu_words(hardware: Hardware, *, on_cpu: bool) -> Content:
    parts: list[str | tuple[str, str]] = (
        [] if hardware.gpus else [("No GPU. ", "bold"), f"{clean(hardware.problem or 'None was found.')}\n"]
    )
    return Content.assemble(*parts, CPU_WORDS if on_cpu else "")


def host_lines(host: Host) -> list[Line]:
    """CPU, memory and disk of the machine as lines."""
    used = host.memory_total - host.memory_available
    share = used / host.memory_total if host.memory_total else 0.0
    full = 1 - host.disk_free / host.disk_total if host.disk_total else 0.0
    return [
        (("CPU      ", "dim"), (f"{one_line(host.cpu, 60)}, {host.cores} cores", "")),
        (
            ("Memory   ", "dim"),
            *bar(share, 20, "warn" if share > 0.9 else "accent"),
            (f" {memory_text(host.memory_available)} of {memory_text(host.memory_total)} free", ""),
        ),
        (
            ("Disk     ", "dim"),
            *bar(full, 20, "warn" if full > 0.9 else "accent"),
            (f" {bytes_text(host.disk_free)} of {bytes_text(host.disk_total)} free  ", ""),
            (one_line(str(host.disk_path), 60), "dim"),
        ),
    ]
