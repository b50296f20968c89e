"""Code of a model of the hub, to be looked at: `python -P -m ft_core.worker.fetch_code NAME [REVISION]`.

The Python files of one commit and what describes the model come into the hub's cache, without weights. The result goes
as a JSON line to standard output: folder and commit. Nothing of it is run.
"""

from __future__ import annotations

import sys

from ft_core.data.child import failure, say
from ft_core.errors import FtError, problem
from ft_core.models.find import hub_forbidden_by
from ft_core.text import one_line
from ft_core.worker.download import fetch_code
from ft_core.worker.hub import full_disk, told


def explain(name: str, error: Exception) -> FtError:
    """The failure of a fetch in words."""
    text = one_line(f"{type(error).__name__}: {error}", 300)
    where = one_line(name, 200)
    if (place := full_disk(error)) is not None:
        remedy = "free some space, or move the cache with HF_HUB_CACHE; then start again"
        return problem("the disk is full", where=where, why=f"{place} ran full", remedy=remedy)
    what, remedy = told(error, "model") or (
        "the model's code cannot be fetched",
        "download the files yourself (hf download), then give the folder",
    )
    return problem(what, where=where, why=text, remedy=remedy)


def _check_allowed(name: str) -> None:
    forbidden = hub_forbidden_by()
    if forbidden is not None:
        why, remedy = f"{forbidden} is set", f"unset {forbidden}, or give a folder that holds the model with its code"
        raise problem("the hub may not be asked", where=one_line(name, 200), why=why, remedy=remedy)


def main() -> None:
    """Fetch what the arguments name. What libraries print goes to standard error."""
    name, revision = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None
    say({})
    try:
        _check_allowed(name)
        folder = fetch_code(name, revision)
    except FtError as error:
        say(failure(error))
    except Exception as error:  # noqa: BLE001 - whatever a library raises is told in words
        say(failure(explain(name, error)))
    else:
        say({"done": {"folder": str(folder), "commit": folder.name}})


if __name__ == "__main__":
    main()
