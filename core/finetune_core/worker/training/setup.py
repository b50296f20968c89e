"""What a run needs before its first step: device, base, tokenizer, token rows, and the trainer around them."""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from finetune_core.methods import named
from finetune_core.methods.method import Method
from finetune_core.plan.situation import DataFacts
from finetune_core.recipe.schema import Recipe
from finetune_core.worker.checkpoints import provenance
from finetune_core.worker.checkpoints.sealed import Checkpoint
from finetune_core.worker.controls import Controls
from finetune_core.worker.methods import make_trainer
from finetune_core.worker.methods.trainer import Parts, keep_adapter_in_float32, keep_in_float32, without_triton
from finetune_core.worker.model import device, speedups
from finetune_core.worker.model.adapter import check_targets, refuse_dropped_experts
from finetune_core.worker.model.device import Device
from finetune_core.worker.model.generation_config import repair
from finetune_core.worker.model.load import load_model
from finetune_core.worker.model.loss_head import refuse_another_loss
from finetune_core.worker.model.router_loss import name_experts, refuse_without_router
from finetune_core.worker.report import Reporter
from finetune_core.worker.rows.chat_template import use_template
from finetune_core.worker.rows.inputs import Base, Data, cut_rows, find_base, kept_template, read_rows
from finetune_core.worker.rows.tokenizer import load_tokenizer
from finetune_core.worker.rows.unpacked import leave_unpacked, longest, unpacked
from finetune_core.worker.rows.vocabulary import refuse_unknown_tokens
from finetune_core.worker.training.first_start import Began, began
from finetune_core.worker.training.settle import settled, settled_again
from finetune_core.worker.types import Model, TrainerOfTrl


@dataclass(frozen=True)
class Setup:
    """A run ready for its first step. `trainer` is TRL's, `provenance` what its checkpoints note of it.

    `recipe` has no value open any more; `facts` are the rows before they were cut.
    `code` is the fingerprint of the base's own code, `stops` the tokens that end a trained turn. `speedups` says of
    each way to faster steps whether it is on, or why not.
    """

    recipe: Recipe
    device: Device
    base: Base
    provenance: dict[str, Any]
    code: str | None
    tokenizer: PreTrainedTokenizerBase
    facts: DataFacts
    data: Data
    trainer: Any
    speedups: dict[str, str]

    @property
    def model(self) -> Model:
        """The model that is trained, with its adapter."""
        return self.trainer.model

    @property
    def stops(self) -> set[int]:
        """The token that ends a trained turn ends an answer too, even where the model names another."""
        return self.data.train.stops & set(self.tokenizer.get_added_vocab().values())

    @property
    def pad(self) -> int:
        """The id of the padding token."""
        return int(self.tokenizer.pad_token_id)

    def autocast(self) -> AbstractContextManager[Any]:
        """The format matrix products are computed in, as a context."""
        return autocast(self.device)


def autocast(device: Device) -> AbstractContextManager[Any]:
    """The format matrix products are computed in on this device, as a context."""
    enabled = device.autocast is not None
    return torch.autocast(device.kind, dtype=device.autocast or torch.bfloat16, enabled=enabled)


def set_up(recipe: Recipe, report: Reporter, controls: Controls, resumed: Checkpoint | None) -> Setup:
    """Data first, whose faults are found within seconds; then, once they settle the recipe, model and trainer.

    Raises FtError.
    """
    notes = resumed.notes if resumed else {}
    report.state("preparing", "looking for the model")
    chosen = device.choose(recipe)
    base = find_base(recipe, controls, report.run, goes_on=resumed is not None)
    provenance.check_base(base.path, notes)
    code = provenance.code_used(base.path, report.log)
    device.set_threads(base.facts.parameters)
    tokenizer = use_template(load_tokenizer(base.path), kept_template(report.run, recipe.model.chat_template))
    rows = read_rows(recipe, tokenizer, report, controls, notes.get("data") if resumed else None)
    facts = rows.facts()
    recipe = settled(recipe, base, facts, report)
    chosen = device.choose(recipe)
    # A run of an earlier version says nothing of its method: its rows do.
    method = named(facts.method or recipe.training.method)
    data = cut_rows(rows, recipe, report)
    # Whole rows need not wait in memory while the model is loaded.
    del rows
    no_triton = _without_triton(chosen, report)
    packed = recipe.quantization.packed
    words = f"quantising the model to {recipe.quantization.method}" if packed else "loading model"
    report.state("preparing", words)
    model = load_model(base.path, recipe, chosen)
    refuse_unknown_tokens(model, tokenizer, data.train, data.held_out)
    check_targets(recipe, model)
    refuse_dropped_experts(recipe, model)
    own_config = copy.deepcopy(model.config)
    name_experts(model.config)
    _repair_generation(model, recipe, report)
    speedups.set_precision(chosen)
    earlier = began(notes, packed=recipe.data.packing != "none")
    taken, found = _attend(model, recipe, chosen, report, data, earlier)
    if earlier is None and found != recipe:
        found = settled_again(found, base, facts, report)
    recipe = found
    known = provenance.notes(recipe, report.run, base.path)
    start = earlier or Began(packed=recipe.data.packing != "none")
    parts = Parts(model, recipe, chosen, report.run.checkpoints, tokenizer, data.train)
    trainer = _trainer(parts, method)
    if earlier is None:
        refuse_another_loss(trainer.model, partial(autocast, chosen))
        if recipe.training.router_loss:
            refuse_without_router(trainer.model, partial(autocast, chosen))
    trainer.rises_from_zero, trainer.own_config = start.rises_from_zero, own_config
    taken |= _more_levers(trainer.model, recipe, chosen, no_triton)
    _log_levers(taken, report)
    if not start.narrow_adapter or chosen.autocast == torch.float16:
        keep_adapter_in_float32(trainer.model)
    if chosen.autocast == torch.float16:
        keep_in_float32(trainer.model)
    known |= start.notes()
    return Setup(recipe, chosen, base, known, code, tokenizer, facts, data, trainer, taken)


def _repair_generation(model: Model, recipe: Recipe, report: Reporter) -> None:
    """What cannot be written again would cost a whole model its checkpoints and its result."""
    if recipe.adapter.kind != "none" or (gone := repair(model.generation_config)) is None:
        return
    report.alarm(
        "generation_config",
        f"the base's generation_config contradicts itself and is saved without what has no effect: {gone}",
    )


def _attend(
    model: Model,
    recipe: Recipe,
    chosen: Device,
    report: Reporter,
    data: Data,
    earlier: Began | None,
) -> tuple[dict[str, str], Recipe]:
    """Set how attention is computed; gives that in words, and the recipe, unpacked where rows would see each other.

    A run that goes on keeps its rows as it began with them. Raises FtError where the user asked for packed rows.
    """
    if earlier is not None and not earlier.packed and recipe.data.packing != "none":
        recipe = unpacked(recipe, data.train)
    found = speedups.set_attention(model, recipe, chosen, partial(autocast, chosen), longest(recipe, data.train))
    if found.together is not None and earlier is not None:
        report.alarm("rows_see_each_other", f"{found.together}; they stay packed, since the run began so")
    elif found.together is not None:
        recipe = leave_unpacked(recipe, data.train, found.together, report)
        found = speedups.set_attention(model, recipe, chosen)
    taken = {"attention": found.how}
    if (left_out := speedups.dropped(model)) is not None:
        taken["attention dropout"] = left_out
    return taken, recipe


def _without_triton(chosen: Device, report: Reporter) -> str | None:
    why = without_triton() if chosen.kind == "cuda" else None
    if why:
        report.log(f"the loss is computed without Triton, which takes a little longer: {why}")
    return why


def _trainer(parts: Parts, method: Method) -> TrainerOfTrl:
    made = make_trainer(method, parts)
    if hasattr(text := parts.model.config.get_text_config(), "output_router_logits"):
        # Asked for in each step; what else the model computes has no loss of its router.
        text.output_router_logits = False
    return made


def _more_levers(model: torch.nn.Module, recipe: Recipe, chosen: Device, no_triton: str | None) -> dict[str, str]:
    taken = {
        "casts spared": speedups.spare_casts(model, chosen),
        "compiled layers": speedups.compile_layers(model, recipe, no_triton),
    }
    return {name: how for name, how in taken.items() if how is not None}


def _log_levers(taken: dict[str, str], report: Reporter) -> None:
    for name, how in taken.items():
        if how != speedups.ON:
            report.log(f"{name}: {how}")
