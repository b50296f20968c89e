"""What describes a model of the hub: `python -P -m finetune_core.worker.hub.describe NAME [REVISION] [--code]`.

Config, tokenizer, chat template and model card of one commit come into the hub's cache, without weights; with `--code`,
or where some code of this model was consented to, its Python files too. The result goes as a JSON line to standard
output: folder and commit. Nothing of it is run.
"""

from __future__ import annotations

import sys
from typing import Final

from finetune_core.child_messages import failure, say
from finetune_core.errors import FtError, Problem, problem
from finetune_core.models.find import hub_forbidden_by
from finetune_core.models.hub_card import REFUSED, keep_description
from finetune_core.models.trust import wants_code
from finetune_core.text import one_line
from finetune_core.worker.hub.access import explained, full_disk, refused
from finetune_core.worker.hub.download import describe

# The tokenizer is the largest part: the widest vocabularies take about 35 MB.
_LIMIT: Final = 400 * 10**6


def explain(name: str, error: Exception) -> FtError:
    """The failure of a fetch in words."""
    text = one_line(f"{type(error).__name__}: {error}", 300)
    where = one_line(name, 200)
    if (place := full_disk(error)) is not None:
        remedy = "free some space, or move the cache with HF_HUB_CACHE; then start again"
        return problem("the disk is full", where=where, why=f"{place} ran full", remedy=remedy)
    what, remedy = explained(error, "model") or (
        "what describes the model cannot be fetched",
        "download its files yourself (hf download), then give the folder",
    )
    return FtError(Problem(what, where, text, remedy, kind=REFUSED if refused(error) else ""))


def _check_allowed(name: str) -> None:
    forbidden = hub_forbidden_by()
    if forbidden is not None:
        why, remedy = f"{forbidden} is set", f"unset {forbidden}, or give a folder that holds the model"
        raise problem("the hub may not be asked", where=one_line(name, 200), why=why, remedy=remedy)


def main() -> None:
    """Fetch what the arguments name. What libraries print goes to standard error."""
    name, *rest = (word for word in sys.argv[1:] if word != "--code")
    revision, code = rest[0] if rest else None, "--code" in sys.argv[1:] or wants_code(name)
    say({})
    try:
        _check_allowed(name)
        folder, weights = describe(name, revision, code=code, limit=_LIMIT)
    except FtError as error:
        _fail(name, revision, error)
    except Exception as error:  # noqa: BLE001 - whatever a library raises is put into words
        _fail(name, revision, explain(name, error))
    else:
        keep_description(name, revision, commit=folder.name, weights=weights)
        say({"done": {"folder": str(folder), "commit": folder.name}})


def _fail(name: str, revision: str | None, error: FtError) -> None:
    """Report it, and keep it where asking again will not help."""
    if error.problems[0].kind == REFUSED:
        keep_description(name, revision, commit=None, problem=error.problems[0])
    say(failure(error))


if __name__ == "__main__":
    main()
