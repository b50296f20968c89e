"""The rows of a recipe in tokens, asked of the tokenizer's process, where model and rows are on this machine."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import suppress

from finetune_core.data.shapes.recognise import AUTOMATIC, Choice
from finetune_core.data.tokens.client import Count, TokenWorker
from finetune_core.errors import FtError
from finetune_core.models.find import find
from finetune_core.plan.rows import count_rows
from finetune_core.plan.situation import RowTokens, TokenCount
from finetune_core.recipe.read_recipe import Given
from finetune_core.recipe.schema import Recipe


def count_of(
    recipe: Recipe | Given, progress: Callable[[int, int], None] = lambda _done, _total: None
) -> TokenCount | None:
    """The rows of a recipe in tokens; None where its model's tokenizer is not here, or something stands in the way.

    Whoever prepares the recipe reports what stands in the way. Takes seconds.
    """
    given = recipe if isinstance(recipe, Given) else Given(recipe)
    if given.problems:
        return None
    with suppress(FtError):
        model = find(given.recipe.model.source, given.recipe.model.revision)
        if model.path is not None and model.problem is None:
            with TokenWorker(model.path, chat_template=given.recipe.model.chat_template) as worker:
                return count_with(worker, given.recipe, progress, lambda: False)
    return None


def count_with(
    worker: TokenWorker, recipe: Recipe, progress: Callable[[int, int], None], cancel: Callable[[], bool]
) -> TokenCount | None:
    """Training and held-out rows in tokens, as a running process of the model's tokenizer gives them.

    Of more than 20,000 rows, or 32 MiB of them, a sample is counted that stands for all. None when it was cancelled.
    Raises FtError when rows, template or tokenizer refuse.
    """
    found = worker.count(recipe.data, recipe.training.seed, progress, cancel)
    if found is None:
        return None
    if not found.too_many:
        return exact(found)
    return _sampled(worker, recipe, progress, cancel)


def _sampled(
    worker: TokenWorker, recipe: Recipe, progress: Callable[[int, int], None], cancel: Callable[[], bool]
) -> TokenCount | None:
    """As many rows as will train, with lengths like those of a sample of each file; None when it was cancelled."""
    facts = count_rows(recipe)[0]
    mixed = zip(recipe.data.mix, facts.mixed, strict=True)
    files = [(recipe.data.source, facts.rows - facts.mixed_in, Choice.of(recipe.data))]
    files += [(path, rows, AUTOMATIC) for path, rows in mixed]
    lengths: list[int] = []
    for path, rows, choice in files:
        found = worker.lengths(path, progress, cancel, choice=choice)
        if not found.complete:
            return None
        lengths += spread(found.counts, rows) if found.counts else ()
    if not lengths:
        return None
    # A sample says how long rows are; where their answers begin in them is estimated from the size of the texts.
    guess = facts.estimated or RowTokens((), (), ())
    before = sum(guess.firsts) / max(1, sum(guess.lengths))
    text = bool(guess.texts) and all(guess.texts)
    firsts = tuple(max(1, int(before * length)) for length in lengths)
    train = RowTokens(tuple(lengths), firsts, (text,) * len(lengths))
    return TokenCount(train, RowTokens((), (), ()), exact=False)


def exact(found: Count) -> TokenCount:
    """The count as the plan takes it."""
    return TokenCount(_rows(found.train), _rows(found.held_out))


def _rows(numbers: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]) -> RowTokens:
    lengths, firsts, texts = numbers
    return RowTokens(lengths, firsts, tuple(map(bool, texts)))


def spread(counts: Sequence[int], rows: int) -> tuple[int, ...]:
    """Lengths of `rows` rows with the distribution of `counts`, in no order: rows of a file have none either."""
    ordered = sorted(counts)
    found = [ordered[(2 * index + 1) * len(ordered) // (2 * rows)] for index in range(rows)]
    random.Random(0).shuffle(found)  # noqa: S311 - the same each time
    return tuple(found)
