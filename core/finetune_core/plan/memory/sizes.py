"""The sizes memory and speed are computed from: those of the model, and of what is trained."""

from __future__ import annotations

from dataclasses import dataclass, replace

from finetune_core.models.facts import ModelFacts
from finetune_core.models.layer_costs import Figures
from finetune_core.plan.memory.layer_activations import Block, block_of, known
from finetune_core.recipe.schema import ALL_LINEAR, Recipe

DEFAULT_LENGTH = 2048
# Bytes of an adapter's parameter: float32 on every base, so that no update is rounded away.
ADAPTER_WIDTH = 4


@dataclass(frozen=True)
class Sizes:
    """Shapes of the model, and counts of parameters. Widths are bytes per number.

    `mixture` is how many experts a layer has, and how many of them a token meets.
    `linear` are parameters of linear layers, which quantisation compresses; `experts` those of experts, which it does
    not; both of all layers. `active` are the parameters of the layers that one token meets. `adapter` counts the
    adapter's parameters, `delta` those of a layer's experts that have one: PEFT writes out their change in full.
    `through` are the numbers that go into and come out of the linear layers that one token meets, in all layers.
    `figures` are those of an architecture that was traced as a whole.
    """

    block: Block
    model_type: str | None
    hidden: int
    intermediate: int
    layers: int
    heads: int
    key_heads: int
    queries: int
    keys: int
    vocabulary: int
    tied: bool
    mixture: tuple[int, int] | None
    parameters: int
    head: int
    linear: int
    experts: int
    active: int
    largest: int
    through: int
    adapter: int
    adapted: frozenset[str]
    delta: int
    rank: int
    weight_width: int
    compute_width: int
    trained_width: int
    figures: Figures | None = None

    @property
    def full(self) -> bool:
        """Whether every weight is trained."""
        return not self.rank

    @property
    def trained(self) -> int:
        """Parameters that are trained."""
        return self.parameters if self.full else self.adapter


def sizes(model: ModelFacts, recipe: Recipe, device: str) -> Sizes | None:
    """The sizes of this model under this recipe on `device` (cuda or cpu); None when its shapes are unknown."""
    hidden, intermediate, layers = model.hidden, model.intermediate, model.layers
    heads, head_dim, vocabulary = model.heads, model.head_dim, model.vocabulary
    if not (hidden and intermediate and layers and heads and head_dim and vocabulary):
        return None
    block = block_of(model.model_type)
    mixture = (model.experts, model.experts_per_token) if model.experts and model.experts_per_token else None
    key_heads = model.kv_heads or heads
    queries, keys = heads * head_dim, key_heads * head_dim
    inner = (model.shared_width or 0) if mixture else intermediate
    layer = _linear_layers(block, hidden, inner, queries, keys)
    expert = 3 * hidden * (model.expert_width or 0) if mixture else 0
    in_linear, in_experts = sum(a * b for a, b in layer.values()), expert * (model.experts or 0)
    head = vocabulary * hidden
    parameters = model.parameters or (
        layers * (in_linear + in_experts + block.norms * hidden) + hidden + head * (1 if model.tied else 2)
    )
    full = recipe.adapter.kind == "none"
    adapted = frozenset() if full else _adapted(layer, recipe)
    delta = in_experts if adapted and block.adapted and recipe.adapter.target_modules == ALL_LINEAR else 0
    rank = 0 if full else recipe.adapter.rank_or_usual
    adapter = sum(rank * (a + b) for name, (a, b) in layer.items() if name in adapted)
    if delta:
        adapter += _on_experts(rank, hidden, model.expert_width or 0, model.experts or 0)
    weight_width, compute_width = _widths(recipe, device)
    others = parameters - head * (1 if model.tied else 2) - layers * in_experts
    found = Sizes(
        block=block,
        model_type=model.model_type,
        hidden=hidden,
        intermediate=intermediate,
        layers=layers,
        heads=heads,
        key_heads=key_heads,
        queries=queries,
        keys=keys,
        vocabulary=vocabulary,
        tied=model.tied,
        mixture=mixture,
        parameters=parameters,
        head=head,
        # An architecture with fewer linear layers than assumed cannot have more compressed than there is.
        linear=max(0, min(layers * in_linear, others)),
        experts=layers * in_experts,
        active=layers * (in_linear + expert * (model.experts_per_token or 0)),
        largest=max(a * b for a, b in layer.values()),
        through=layers * (sum(a + b for a, b in layer.values()) + _through_experts(model)),
        adapter=layers * adapter,
        adapted=adapted,
        delta=delta,
        rank=rank,
        weight_width=weight_width,
        compute_width=compute_width,
        trained_width=weight_width if full else ADAPTER_WIDTH,
    )
    return found if model.figures is None or known(model.model_type) else _traced(found, model, model.figures)


def _traced(guessed: Sizes, model: ModelFacts, figures: Figures) -> Sizes:
    """With what was counted in the model itself; adapters on some of its layers count as on all."""
    return replace(
        guessed,
        parameters=model.parameters or figures.parameters,
        linear=figures.linear,
        active=figures.active,
        largest=figures.largest,
        through=figures.adapter,
        adapter=guessed.rank * figures.adapter,
        # Their share of what is kept is among the figures.
        mixture=None,
        experts=0,
        delta=0,
        figures=figures,
    )


def length_of(model: ModelFacts, recipe: Recipe) -> int:
    """Tokens in a sequence: as the recipe says, else 2048 or the model's context."""
    return recipe.data.max_length or min(DEFAULT_LENGTH, model.context or DEFAULT_LENGTH)


def scaled(recipe: Recipe) -> bool:
    """Whether gradients are scaled, and what is trained is kept in float32 for that."""
    return recipe.model.dtype == "float16"


def wide_weights(recipe: Recipe) -> bool:
    """Whether weights are kept in float32 while products are computed in 16 bits: of full fine-tuning only."""
    if recipe.adapter.kind != "none" or recipe.model.dtype == "float32":
        return False
    return scaled(recipe) or recipe.training.float32_weights is True


def _linear_layers(block: Block, hidden: int, inner: int, queries: int, keys: int) -> dict[str, tuple[int, int]]:
    """Input and output sizes of a layer's linear modules, by their usual names."""
    known = {
        "q_proj": (hidden, queries),
        "k_proj": (hidden, keys),
        "v_proj": (hidden, keys),
        "qkv_proj": (hidden, queries + 2 * keys),
        "o_proj": (queries, hidden),
        "gate_proj": (hidden, inner),
        "up_proj": (hidden, inner),
        "gate_up_proj": (hidden, 2 * inner),
        "down_proj": (inner, hidden),
        "c_fc": (hidden, inner),
        "c_proj": (inner, hidden),
    }
    return {name: known[name] for name in block.modules}


def _adapted(layer: dict[str, tuple[int, int]], recipe: Recipe) -> frozenset[str]:
    """The linear layers that get an adapter; names this program does not know count as all of them."""
    targets = recipe.adapter.target_modules
    named = [targets] if isinstance(targets, str) else targets
    chosen = {name for name in layer if any(target.rpartition(".")[2] == name for target in named)}
    return frozenset(chosen or layer)


def _on_experts(rank: int, hidden: int, width: int, experts: int) -> int:
    """Adapter parameters of a layer's experts.

    PEFT gives each expert a slice of its own, and twice the rank where gate and up are one matrix.
    """
    each = 2 * rank * (hidden + 2 * width) + rank * (width + hidden)
    return experts * each


def _through_experts(model: ModelFacts) -> int:
    """Numbers that go into and come out of the experts of a layer that a token meets."""
    return 3 * (model.experts_per_token or 0) * ((model.hidden or 0) + (model.expert_width or 0))


def _widths(recipe: Recipe, device: str) -> tuple[int, int]:
    """Bytes of a weight in memory, and of a number in the matrix products."""
    if recipe.model.dtype == "float32" or (recipe.model.dtype == "auto" and device == "cpu"):
        return 4, 4
    # Of float32 weights autocast makes 16-bit copies.
    return (4 if wide_weights(recipe) else 2), 2
