"""What a run announces before its first step: its plan, and what was measured beside it."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

from finetune_core.files import write_atomic
from finetune_core.hardware.look import look
from finetune_core.plan.advice.advice import situation
from finetune_core.plan.speed.calibration import remember
from finetune_core.runs.directory import read_plan
from finetune_core.runs.events import PlanEvent, ProbeEvent
from finetune_core.worker.memory.preflight import Probed
from finetune_core.worker.model.adapter_targets import adapted, in_words, without_adapter
from finetune_core.worker.model.load import parameter_counts
from finetune_core.worker.report import Reporter
from finetune_core.worker.training.setup import Setup


def report_plan(ready: Setup, report: Reporter) -> int:
    """The `plan` event: everything known before the first step. Gives the steps of the run."""
    training = ready.recipe.training
    micro, accumulation = training.micro_batch or 1, training.accumulation or 1
    sequences = len(ready.trainer.train_dataset)
    per_epoch = math.ceil(math.ceil(sequences / micro) / accumulation)
    total = training.max_steps or math.ceil((training.epochs or 1.0) * per_epoch)
    parameters, trainable = parameter_counts(ready.model)
    adapters, none = adapted(ready.model), without_adapter(ready.model)
    if adapters:
        report.log(in_words(adapters, none))
    report.event(
        PlanEvent(
            total_steps=total,
            model_commit=ready.base.revision,
            model_code=ready.code,
            price_per_hour=ready.recipe.hardware.price_per_hour,
            steps_per_epoch=per_epoch,
            epochs=total / per_epoch,
            rows=len(ready.data.train),
            held_out_rows=len(ready.data.held_out),
            sequences=sequences,
            effective_batch=micro * accumulation,
            parameters=parameters,
            trainable_parameters=trainable,
            device=ready.device.name,
            dtype=str(ready.device.dtype).removeprefix("torch."),
            tokens=ready.data.train.total,
            memory_total=ready.device.memory_total,
            levers=ready.speedups,
            adapters=adapters,
            no_adapter=none if adapters else [],
        )
    )
    return total


def report_probe(ready: Setup, found: Probed, report: Reporter) -> None:
    """Put what was measured beside the plan, and keep the speed for later plans on this device."""
    measured = {**asdict(found), "tokens_per_s": found.tokens_per_s}
    report.event(ProbeEvent(**measured))
    predicted = read_plan(report.run)
    write_atomic(report.run.plan_file, json.dumps({**predicted, "measured": measured}, indent=1))
    cut = ready.facts.cut(ready.recipe.data.max_length)
    remember(situation(ready.recipe, look(), ready.base.facts, cut), found.tokens_per_s, found.tokens)
