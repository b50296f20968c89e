"""The checkpoints of one run while it trains: when there is room they are sealed, and the newest whole one is found."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any, Final

import torch

from finetune_core.errors import FtError, problem
from finetune_core.recipe.schema import Recipe
from finetune_core.runs.directory import RunDir
from finetune_core.runs.events import CheckpointEvent
from finetune_core.runs.recorded import sealed_steps
from finetune_core.runs.upkeep.lifecycle import run_id
from finetune_core.text import bytes_text, one_line
from finetune_core.worker.checkpoints import provenance, sealed
from finetune_core.worker.checkpoints.sealed import Checkpoint
from finetune_core.worker.failures import explain
from finetune_core.worker.model.save import save_weights
from finetune_core.worker.report import Reporter
from finetune_core.worker.types import TrainerOfTrl

# Beside a checkpoint the journal, the samples and other programs need a little: a quarter of it, and this at least.
_MARGIN: Final = 2**20
# AdamW's two moments in float32; what an unused state leaves free does no harm.
_OPTIMISER_BYTES: Final = 8


class Keeper:
    """Seals checkpoints, keeps as many as the recipe says, and finds the one to go on from."""

    def __init__(self, recipe: Recipe, reporter: Reporter) -> None:
        self.recipe = recipe
        self._report = reporter
        self._run = reporter.run
        self._last_bytes = 0
        self.spare: set[int] = set()

    def find(self) -> Checkpoint | None:
        """The newest checkpoint that is whole and of this run and recipe; what is wrong with newer ones is reported.

        Raises FtError when the recipe or a library is not what it was written with.
        """
        sealed.clear_stages(self._run.checkpoints)
        found, damaged = sealed.newest(self._run.checkpoints, run_id=run_id(self._run))
        if found is None and any(words.endswith(sealed.OF_ANOTHER_RUN) for words in damaged):
            raise _of_another_run(self._run, damaged)
        if damaged:
            instead = f"going on from {found.path.name}" if found else "starting again from the base"
            self._report.alarm("checkpoint_damaged", f"{'; '.join(damaged)}; {instead}")
        if found is not None:
            provenance.check_recipe(self.recipe, self._run, found.notes)
            changed = provenance.version_changes(found.notes)
            if changed:
                self._report.alarm("versions_changed", f"the checkpoint was written with {', '.join(changed)}")
        return found

    def refuse_sealed(self) -> None:
        """Raise FtError where a run that is to begin has checkpoints: they would be trained over, and removed."""
        steps = sealed_steps(self._run)
        if steps:
            raise problem(
                "this run has been trained before",
                where=one_line(str(self._run.checkpoints), 200),
                why=f"there is a checkpoint of step {steps[-1]}, and a new beginning would take its place",
                remedy=f"go on from it: ft-tui resume {self._run.name}; or clone the run as a new recipe",
            )

    def seal(self, trainer: TrainerOfTrl, notes: dict[str, Any]) -> str:
        """Write a checkpoint of the present step and report it. Raises FtError when it cannot be written."""
        step = int(trainer.state.global_step)
        begun = time.monotonic()
        try:
            self._require_room(trainer.model, step)
            made = sealed.seal(self._run.checkpoints, step, lambda stage: _fill(trainer, stage), notes)
        except OSError as error:
            cause, remedy = explain(error)
            raise problem("the checkpoint was not written", where=f"step {step}", why=cause, remedy=remedy) from error
        self._last_bytes = made.bytes
        self.prune()
        path = str(made.path.relative_to(self._run.path))
        seconds = time.monotonic() - begun
        self._report.event(CheckpointEvent(step=step, path=path, bytes=made.bytes, seconds=seconds))
        return f"saved {made.path.name}, {bytes_text(made.bytes)}"

    def prune(self) -> None:
        """Remove what is older than the recipe wants kept; `spare` stays."""
        keep, run = self.recipe.saving.keep, run_id(self._run)
        sealed.prune(self._run.checkpoints, keep, spare=self.spare, run_id=run)

    def at(self, step: int) -> Checkpoint | None:
        """The whole checkpoint of one step, or None."""
        return sealed.at_step(self._run.checkpoints, step)

    def need(self, model: torch.nn.Module) -> int:
        """Bytes the next checkpoint takes: as the last one, before the first by the trained weights and AdamW."""
        trained = (parameter for parameter in model.parameters() if parameter.requires_grad)
        return self._last_bytes or sum(
            parameter.numel() * (parameter.element_size() + _OPTIMISER_BYTES) for parameter in trained
        )

    def free(self) -> int:
        """Bytes free on the disk of the run."""
        return shutil.disk_usage(self._run.path).free

    def short_of(self, model: torch.nn.Module) -> str | None:
        """In words that the disk has no room for three more checkpoints; None while it has."""
        need, free = self.need(model), self.free()
        if free >= 3 * need + _MARGIN:
            return None
        return (
            f"the disk is filling up: {bytes_text(free)} are free, a checkpoint takes {bytes_text(need)}; "
            "free some space, or the next checkpoints cannot be written"
        )

    def _require_room(self, model: torch.nn.Module, step: int) -> None:
        need, free = self.need(model) * 5 // 4 + _MARGIN, self.free()
        if free < need:
            raise problem(
                "the checkpoint was not written",
                where=f"step {step}",
                why=f"it takes about {bytes_text(need)} of disk, and {bytes_text(free)} are free; the earlier ones are "
                "kept",
                remedy="free some space: the next checkpoint is tried as usual, and training goes on",
            )


def _of_another_run(run: RunDir, damaged: list[str]) -> FtError:
    return problem(
        "the checkpoints are not those of this run",
        where=one_line(str(run.checkpoints), 200),
        why=f"{'; '.join(damaged)}; beginning again would remove them",
        remedy=f"put this run's own {run.events_file.name} or checkpoints back; without checkpoints it begins again",
    )


def _fill(trainer: TrainerOfTrl, stage: Path) -> None:
    """What the trainer reads when it resumes; its own saving would add a card, and hub tokens in a pickle."""
    save_weights(trainer.model, stage, trainer.own_config)
    trainer._save_optimizer_and_scheduler(str(stage))
    trainer._save_scaler(str(stage))
    trainer._save_rng_state(str(stage))
    trainer.state.save_to_json(str(stage / "trainer_state.json"))
