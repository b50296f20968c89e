"""The recipe: the single description of a run.

To add a setting, add one line here. Its help, unit and range are given where it is defined; the form, the
command line, the YAML comments and the README take them from there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from finetune_core.recipe.fields import AutoBool, AutoFloat, AutoInt, AutoStr, FieldGuide, Section, guide_of, setting

RECIPE_VERSION = 1
DEMO = "demo"
ALL_LINEAR = "all-linear"
USUAL_RANK = 16


def _no_control_characters(value: str | None) -> str | None:
    if value is not None and any(ord(character) < 32 and character not in "\n\t" for character in value):
        raise ValueError("control characters are not allowed")
    return value


def _index_to_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Text = Annotated[str, AfterValidator(_no_control_characters)]
AutoText = Annotated[AutoStr, AfterValidator(_no_control_characters)]
Path = Annotated[str, AfterValidator(_no_control_characters), Field(max_length=4096)]

# In YAML an index is a number: [0].
GpuName = Annotated[Text, BeforeValidator(_index_to_text)]


class Model(Section):
    """Which model is tuned."""

    source: Path = setting(
        DEMO, "A model folder, a model id on the hub, or `demo` for the one that ships.", level="first", names_file=True
    )
    revision: Text | None = setting(None, "Branch, tag or commit on the hub; the newest when empty.")
    chat_template: Text = setting(
        "auto",
        "How turns are written: the model's own template (auto), one that ships (chatml, plain), or a .jinja file.",
        names_file=True,
    )
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = setting(
        "auto", "Number format of the weights in memory; bfloat16 where the device computes in it.", shapes_step=True
    )


class Quantization(Section):
    """How the frozen base is compressed in memory."""

    method: Literal["auto", "none", "int8", "nf4"] = setting(
        "auto",
        "Compress the frozen base: nf4 needs about a quarter of the memory of 16 bits, int8 half.",
        level="first",
        shapes_step=True,
    )
    double: bool = setting(True, "Quantise the scales of nf4 too: saves 0.4 bits a parameter.", shapes_step=True)

    @property
    def packed(self) -> bool:
        """Whether the base is compressed; on auto it is not."""
        return self.method in {"int8", "nf4"}


class Adapter(Section):
    """What is trained: a low-rank adapter, or every weight."""

    kind: Literal["lora", "none"] = setting(
        "lora", "`lora` trains a small adapter; `none` trains every weight.", level="first", shapes_step=True
    )
    rank: AutoInt = setting(
        None,
        "Rank r of the adapter's matrices: more can learn more and needs more memory.",
        ge=1,
        le=1024,
        level="first",
        shapes_step=True,
    )
    alpha: AutoFloat = setting(
        None, "LoRA alpha; the adapter's output is scaled by alpha / rank.", gt=0, le=4096, level="first"
    )
    dropout: float = setting(
        0.0, "Share of adapter inputs dropped in training; 0 is fastest.", ge=0, lt=1, shapes_step=True
    )
    target_modules: Text | list[Text] = setting(
        ALL_LINEAR,
        "Layers that get an adapter: `all-linear`, or a list of module names such as q_proj.",
        shapes_step=True,
    )

    @property
    def rank_or_usual(self) -> int:
        """The rank, and while it is on auto the usual one."""
        return self.rank or USUAL_RANK


class Data(Section):
    """What it learns from."""

    source: Path = setting(
        DEMO,
        "A file or folder of rows (JSON, CSV, Parquet, text ...), `hub:owner/name#config/split`, or `demo`.",
        level="first",
        names_file=True,
    )
    shape: Literal[
        "auto",
        "messages",
        "sharegpt",
        "alpaca",
        "prompt-completion",
        "preference",
        "unpaired-preference",
        "prompt-only",
        "text",
    ] = setting("auto", "What the rows are; inferred from what they hold unless you choose.", level="first")
    mapping: dict[str, Text] = setting(
        dict,
        "Which column plays which part, such as {instruction: Frage, output: Antwort}; inferred when empty.",
        level="first",
    )
    fixes: dict[str, Literal["drop", "keep", "trim", "merge"]] = setting(
        dict, "What is done about rows with a finding, by its kind, such as {near-duplicate: drop}."
    )
    held_out: Path | None = setting(
        None, "A file of held-out rows; when empty, rows are split off the source.", names_file=True
    )
    held_out_share: float = setting(
        0.05, "Share of the rows held out for evaluation when no file is given.", ge=0, le=0.5, level="first"
    )
    only: Text | None = setting(None, "Use only rows that hold this text, whatever its case.")
    without: Text | None = setting(None, "Leave out rows that hold this text, whatever its case.")
    min_characters: int | None = setting(
        None, "Leave out rows with less text than this, all turns together.", unit="characters", ge=1, le=2**31
    )
    max_characters: int | None = setting(
        None, "Leave out rows with more text than this, all turns together.", unit="characters", ge=1, le=2**31
    )
    mix: dict[Path, float] = setting(
        dict,
        "Other files to mix in against forgetting, each with its share of all training rows: {general.jsonl: 0.15}.",
        names_file=True,
    )
    max_length: AutoInt = setting(
        None,
        "Longest row; longer ones are cut at the end.",
        unit="tokens",
        ge=16,
        le=1_048_576,
        level="first",
        shapes_step=True,
    )
    packing: Literal["auto", "none", "bfd"] = setting(
        "auto",
        "bfd puts several rows in one sequence without padding (best-fit decreasing, rows stay whole); none pads.",
        shapes_step=True,
    )
    train_on: Literal["assistant", "all"] = setting(
        "assistant",
        "Tokens the loss is taken on: the assistant's turns (or the completion), or everything.",
        level="first",
        methods=("sft",),
    )
    template_gate: Literal["enforce", "override"] = setting(
        "enforce",
        "No run starts when the chat template loses turns, or teaches other than the answers; `override` starts it.",
        methods=("sft",),
    )


class Training(Section):
    """How it is trained."""

    method: Literal["auto", "sft", "cpt"] = setting(
        "auto",
        "What the rows train: sft answers to prompts, cpt raw text as it stands; follows from the rows.",
        shapes_step=True,
    )
    epochs: AutoFloat = setting(
        None,
        "Passes over the training rows; leave out when steps are given.",
        unit="epochs",
        gt=0,
        le=1000,
        level="first",
    )
    max_steps: int | None = setting(None, "Optimiser steps, instead of epochs.", unit="steps", ge=1, le=100_000_000)
    learning_rate: AutoFloat = setting(None, "Peak step size of the optimiser.", gt=0, le=1, level="first")
    schedule: Literal["cosine", "linear", "constant", "constant_with_warmup"] = setting(
        "cosine", "How the learning rate changes over the run."
    )
    warmup: float = setting(0.03, "Share of the steps over which the learning rate rises from 0.", ge=0, lt=1)
    micro_batch: AutoInt = setting(
        None,
        "Sequences computed at once: more is faster and needs more memory.",
        unit="sequences",
        ge=1,
        le=4096,
        level="first",
        shapes_step=True,
        may_change=True,
    )
    accumulation: AutoInt = setting(
        None,
        "Micro-batches summed before a step; effective batch = micro-batch x accumulation x GPUs.",
        ge=1,
        le=65536,
        level="first",
        shapes_step=True,
        may_change=True,
    )
    optimizer: Literal["adamw", "adamw_8bit", "sgd"] = setting(
        "adamw",
        "adamw_8bit keeps its states in 8 bits: a quarter of the memory; matters in full fine-tuning.",
        shapes_step=True,
    )
    weight_decay: float = setting(0.0, "Pull of the trained weights towards zero, per step.", ge=0, le=1)
    max_grad_norm: float = setting(1.0, "Gradients are scaled down to this norm; 0 never scales.", ge=0, le=1000)
    router_loss: float = setting(
        0.0,
        "Weight of a mixture's loss for even use of its experts, added to that of the tokens; 0 leaves it out.",
        ge=0,
        le=1,
        shapes_step=True,
    )
    seed: int = setting(42, "Seed of the shuffle, of the adapter's start and of dropout.", ge=0, le=2**32 - 1)
    activation_checkpointing: AutoBool = setting(
        None,
        "Recompute activations instead of keeping them: far less memory, about 1.4 times the time.",
        shapes_step=True,
        may_change=True,
    )
    float32_weights: AutoBool = setting(
        None,
        "Full fine-tuning keeps float32 weights beside 16-bit products: no update is rounded away; twice the memory.",
        shapes_step=True,
    )
    attention: Literal["auto", "varlen", "flash", "sdpa", "eager"] = setting(
        "auto",
        "How attention is computed: varlen and flash need no mask for packed rows; flash needs flash-attn installed.",
    )
    compile: AutoBool = setting(
        None, "Compile each layer when the run starts: a minute or so, then steps in about 0.85 of the time on a GPU."
    )


class Samples(Section):
    """Answers written during the run, base beside tuned."""

    may_change = True

    prompts: list[Text] = setting(list, "Questions asked at every sampling; held-out rows when empty.")
    count: int = setting(
        4, "Held-out rows that are asked when no prompts are given; 0 asks none.", unit="rows", ge=0, le=64
    )
    every_steps: AutoInt = setting(None, "Steps between two samplings.", unit="steps", ge=1)
    max_new_tokens: int = setting(128, "Longest answer.", unit="tokens", ge=1, le=8192)
    temperature: float = setting(0.0, "0 always takes the likeliest token; higher is more varied.", ge=0, le=5)


class Evaluation(Section):
    """How it is measured against the base."""

    may_change = True

    every_steps: AutoInt = setting(None, "Steps between two measurements of the held-out loss.", unit="steps", ge=1)
    patience: int | None = setting(
        None,
        "Stop after so many measurements without a better held-out loss, and keep the best; never when empty.",
        unit="measurements",
        ge=1,
        le=1000,
    )
    questions: int = setting(
        100,
        "Held-out rows answered by base and tuned model for the verdict; 0 compares losses only.",
        unit="rows",
        ge=0,
        le=10_000,
        methods=("sft",),
    )
    max_new_tokens: int = setting(256, "Longest answer in the verdict.", unit="tokens", ge=1, le=8192, methods=("sft",))
    fact_field: Text | None = setting(
        None, "Column of the held-out rows that holds the text a right answer must contain.", methods=("sft",)
    )


class Saving(Section):
    """Checkpoints."""

    may_change = True

    every_steps: AutoInt = setting(None, "Steps between two checkpoints.", unit="steps", ge=1)
    keep: int = setting(2, "Checkpoints kept; the oldest goes when a newer one is complete.", ge=1, le=1000)


class Hardware(Section):
    """Where it runs."""

    may_change = True

    device: Literal["auto", "cuda", "cpu"] = setting("auto", "Train on the GPU or the CPU.", level="first")
    gpus: list[GpuName] = setting(
        list, "UUIDs or indices of the GPUs to use, such as [0]; the freest one when empty.", level="first"
    )
    price_per_hour: float | None = setting(
        None, "What an hour on this machine costs, in your currency, for the estimate of a run's cost.", gt=0, le=10_000
    )


class Output(Section):
    """What comes out."""

    may_change = True

    name: AutoText = setting(None, "Name of the run, seen in lists and in its folder.", level="first")


class Recipe(Section):
    """One run, whole."""

    version: Literal[1] = setting(RECIPE_VERSION, "Version of this file's form.")
    model: Model = setting(Model, "Which model is tuned.")
    quantization: Quantization = setting(Quantization, "How the frozen base is compressed in memory.")
    adapter: Adapter = setting(Adapter, "What is trained: a low-rank adapter, or every weight.")
    data: Data = setting(Data, "What it learns from.")
    training: Training = setting(Training, "How it is trained.")
    samples: Samples = setting(Samples, "Answers written during the run, base beside tuned.")
    evaluation: Evaluation = setting(Evaluation, "How it is measured against the base.")
    saving: Saving = setting(Saving, "Checkpoints.")
    hardware: Hardware = setting(Hardware, "Where it runs.")
    output: Output = setting(Output, "What comes out.")
    reasons: dict[str, str] = setting(dict, "Why each automatic value was chosen, by field.")

    def get(self, path: str) -> object:
        """The value at a dotted path such as `training.learning_rate`. KeyError for an unknown path."""
        section, _, name = path.partition(".")
        if section not in SECTIONS or name not in SECTIONS[section].model_fields:
            raise KeyError(path)
        return getattr(getattr(self, section), name)


SECTIONS: dict[str, type[Section]] = {
    name: info.annotation
    for name, info in Recipe.model_fields.items()
    if isinstance(info.annotation, type) and issubclass(info.annotation, Section)
}


def guides() -> Iterator[FieldGuide]:
    """Every field of the recipe with its help, in the order of the file."""
    for section, kind in SECTIONS.items():
        for name, info in kind.model_fields.items():
            yield guide_of(f"{section}.{name}", info, kind)


GUIDES: dict[str, FieldGuide] = {guide.path: guide for guide in guides()}
