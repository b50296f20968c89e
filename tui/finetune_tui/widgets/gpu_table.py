"""The GPUs of this machine, to look at and to choose from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.containers import VerticalGroup
from textual.message import Message

from finetune_core.hardware.look import Gpu, GpuProcess
from finetune_core.text import memory_text, one_line
from finetune_tui.run_words import glyph
from finetune_tui.widgets.cells import Line, bar, fitted
from finetune_tui.widgets.flow_cells import FlowCells

PROCESSES_SHOWN = 6
_BAR_WIDTH = 20


def gpu_lines(gpu: Gpu, *, chosen: bool, focused: bool, width: int) -> list[Line]:
    """One GPU as lines: name and abilities, memory, load, and who uses it."""
    mark = "[x]" if chosen else "[ ]"
    name = one_line(gpu.name, 40)
    capability = ".".join(map(str, gpu.compute_capability)) if gpu.compute_capability else "unknown"
    pointer = glyph("▸", ">") if focused else " "
    title: Line = (
        (f"{pointer}{mark} GPU {gpu.index} ", "strong"),
        (name, "strong"),
        (f"  compute capability {capability}, bf16 {'yes' if gpu.bf16 else 'no'}", ""),
    )
    share = gpu.memory_used / gpu.memory_total if gpu.memory_total else 0.0
    memory: Line = (
        ("     memory ", "dim"),
        *bar(share, _BAR_WIDTH, "warn" if share > 0.9 else "accent"),
        (f" {memory_text(gpu.memory_used)} of {memory_text(gpu.memory_total)} used", ""),
    )
    return [title, memory, (("     now    ", "dim"), (_load(gpu), "")), *_processes(gpu.processes, width)]


def _load(gpu: Gpu) -> str:
    parts = [
        "use unknown" if gpu.utilisation is None else f"{gpu.utilisation} % busy",
        "" if gpu.temperature is None else f"{gpu.temperature} °C",
        _power(gpu),
        "" if gpu.processes else "nobody uses it",
    ]
    return "  ".join(part for part in parts if part)


def _power(gpu: Gpu) -> str:
    if gpu.power_watts is None:
        return ""
    limit = f" of {gpu.power_limit_watts:.0f}" if gpu.power_limit_watts is not None else ""
    return f"{gpu.power_watts:.0f}{limit} W"


def _processes(processes: Sequence[GpuProcess], width: int) -> list[Line]:
    lines = [fitted((("     ", ""), (_process(one), "")), width) for one in processes[:PROCESSES_SHOWN]]
    more = len(processes) - PROCESSES_SHOWN
    return [*lines, ((f"     and {more} more", "dim"),)] if more > 0 else lines


def _process(process: GpuProcess) -> str:
    user = one_line(process.user or "user unknown", 16)
    name = one_line(process.name or "name unknown", 30)
    memory = "memory unknown" if process.memory_bytes is None else memory_text(process.memory_bytes)
    return f"pid {process.pid}  {user}  {name}  {memory}"


class GpuCard(FlowCells, can_focus=True):
    """One GPU; space, Enter or a click takes it, or gives it back."""

    DEFAULT_CSS = """
    GpuCard { margin-bottom: 1; }
    GpuCard:focus { background: $boost; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space,enter", "take", "Take this GPU", show=False),
        Binding("down", "app.focus_next", show=False),
        Binding("up", "app.focus_previous", show=False),
    ]

    @dataclass
    class Toggled(Message):
        """The user took a GPU or gave it back."""

        uuid: str

    def __init__(self, gpu: Gpu) -> None:
        super().__init__()
        self.gpu = gpu
        self.chosen = False
        self.show(self._lines_of)

    def _lines_of(self, width: int, _height: int) -> list[Line]:
        return gpu_lines(self.gpu, chosen=self.chosen, focused=self.has_focus, width=width)

    def on_focus(self) -> None:
        """Point at the card."""
        self.redraw()

    def on_blur(self) -> None:
        """No longer point at it."""
        self.redraw()

    def on_click(self) -> None:
        """A click is the same as the space bar."""
        self.action_take()

    def action_take(self) -> None:
        """Ask for this GPU to be taken or given back."""
        self.post_message(self.Toggled(self.gpu.uuid))


class GpuTable(VerticalGroup):
    """A card for each GPU."""

    def show_gpus(self, gpus: Sequence[Gpu], chosen: Iterable[str]) -> None:
        """`chosen` are UUIDs."""
        taken = set(chosen)
        cards = list(self.query(GpuCard))
        if [card.gpu.uuid for card in cards] != [gpu.uuid for gpu in gpus]:
            self.remove_children()
            cards = [GpuCard(gpu) for gpu in gpus]
            self.mount_all(cards)
        for card, gpu in zip(cards, gpus, strict=True):
            card.gpu, card.chosen = gpu, gpu.uuid in taken
            card.redraw()
