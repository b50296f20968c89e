"""The one tokenizer process of the wizard: started for the chosen model, ended with it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from finetune_core.data.files.open import Row
from finetune_core.data.shapes.recognise import Shape
from finetune_core.data.tokens.client import Lengths, Preview, TokenWorker
from finetune_core.data.usable import Conversion
from finetune_core.errors import FtError, Problem
from finetune_core.plan.count import count_with
from finetune_core.plan.situation import TokenCount
from finetune_core.recipe.schema import Recipe
from finetune_tui.wizard.data_news import Asked


class TokenLink:
    """Asks the process of the current model; every method blocks, and is called from threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._worker: TokenWorker | None = None
        self._model: Path | None = None

    def preview(self, row: Row, shape: Shape, asked: Asked) -> Preview:
        """The row as this model will see it. Raises FtError when the row, the template or the process refuses."""
        found = Conversion(shape, asked.choice.fixes).trained(row)
        if isinstance(found, Problem):
            raise FtError(found)
        return self._for(asked).preview([found])[0]

    def lengths(
        self,
        source: str,
        asked: Asked,
        progress: Callable[[int, int], None],
        cancel: Callable[[], bool],
    ) -> Lengths:
        """Lengths in tokens of the rows of a source. Raises FtError as `preview` does."""
        return self._for(asked).lengths(source, progress, cancel, choice=asked.choice)

    def count(
        self,
        recipe: Recipe,
        asked: Asked,
        progress: Callable[[int, int], None],
        cancel: Callable[[], bool],
    ) -> TokenCount | None:
        """The rows of the recipe in tokens, as training will have them. Raises FtError as `preview` does."""
        return count_with(self._for(asked), recipe, progress, cancel)

    def close(self) -> None:
        """End the process; whoever waits for it gets an FtError."""
        with self._lock:
            worker, self._worker = self._worker, None
        if worker is not None:
            worker.close()

    def _for(self, asked: Asked) -> TokenWorker:
        with self._lock:
            old = self._worker
            if old is not None and self._model == asked.model:
                old.train_on, old.max_length, old.chat_template = asked.train_on, asked.limit, asked.chat_template
                return old
            self._model = asked.model
            self._worker = current = TokenWorker(
                asked.model, train_on=asked.train_on, max_length=asked.limit, chat_template=asked.chat_template
            )
        if old is not None:
            old.close()
        return current
