"""The result: an adapter (or a whole model) in safetensors with its tokenizer, loadable without this program."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peft import PeftModel
from peft.utils import CONFIG_NAME
from transformers import PreTrainedTokenizerBase

from finetune_core.files import publish_folder, sync_tree
from finetune_core.runs.directory import RunDir
from finetune_core.worker.types import Model


def save_weights(model: Any, folder: Path, config: Any) -> None:  # noqa: ANN401 - a model or a PEFT wrapper, a config
    """What was trained, in safetensors; never asks the network. A whole model is saved with this `config`."""
    if isinstance(model, PeftModel):
        # "auto" would ask the hub whether the base's vocabulary was changed; it never is here.
        model.save_pretrained(str(folder), save_embedding_layers=False)
        _put_sets_in_order(folder, model.peft_config.values())
    else:
        with _configured(model, config):
            model.save_pretrained(str(folder))


def _put_sets_in_order(folder: Path, configs: Iterable[Any]) -> None:
    """Write the sets of an adapter's config, which have another order in every process, sorted: equal bytes."""
    path = folder / CONFIG_NAME
    sets = {name for config in configs for name, value in vars(config).items() if isinstance(value, set | frozenset)}
    found = json.loads(path.read_text(encoding="utf-8"))
    ordered = {name: sorted(value) if name in sets and value else value for name, value in found.items()}
    # As PEFT writes it.
    path.write_text(json.dumps(ordered, indent=2, sort_keys=True), encoding="utf-8")


@contextmanager
def _configured(model: Model, config: Any) -> Iterator[None]:  # noqa: ANN401 - a transformers config
    """With this config in place of the one that training changed: the cache off, a router's loss, the attention."""
    before, model.config = model.config, config
    try:
        yield
    finally:
        model.config = before


def save_result(
    run: RunDir,
    model: Model,
    tokenizer: PreTrainedTokenizerBase,
    *,
    base: str,
    revision: str | None,
    config: Any,  # noqa: ANN401 - a transformers config
    stops: Collection[int] = (),
) -> tuple[str, int]:
    """Write `result/` in one step; gives (adapter or model, bytes). `base` is what the adapter's config names.

    A whole model has the base's own `config`: what training set in it is none of the result. Its generation config
    names the `stops` too, tokens that end an answer as it was trained.
    """
    stage = run.path / ".result"
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir(mode=0o700)
    try:
        kind = "adapter" if isinstance(model, PeftModel) else "model"
        if isinstance(model, PeftModel):
            for adapter in model.peft_config.values():
                adapter.base_model_name_or_path = base
                adapter.revision = revision
        if kind == "model":
            _stop_at(model.generation_config, stops)
        save_weights(model, stage, config)
        tokenizer.save_pretrained(str(stage))
        sync_tree(stage)
        publish_folder(stage, run.result)
    except BaseException:
        shutil.rmtree(stage, ignore_errors=True)
        raise
    return kind, sum(path.stat().st_size for path in run.result.rglob("*") if path.is_file())


def _stop_at(config: Any, ends: Collection[int]) -> None:  # noqa: ANN401 - transformers' generation config
    """Let programs that load the model stop where it was trained to end an answer."""
    named = config.eos_token_id
    known = named if isinstance(named, list) else [] if named is None else [named]
    config.eos_token_id = [*known, *sorted(set(ends) - set(known))] or None
