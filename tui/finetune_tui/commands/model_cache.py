"""`ft-tui models --downloaded`, `models remove`, `models login`: what came from the hub, and the token for it."""

from __future__ import annotations

import os
import shutil
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from finetune_core.errors import FtError, problem
from finetune_core.text import bytes_text, counted, one_line
from finetune_tui.commands import output
from finetune_tui.commands.common import as_json, examples

if TYPE_CHECKING:
    from finetune_core.models.downloaded import Downloaded

_MOVERS = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME")


def show_downloaded(*, as_json: bool) -> None:
    """Print the models of the cache with their sizes, the disk they lie on, and where more would come from."""
    from finetune_core.models.downloaded import downloaded
    from finetune_core.models.find import hub_cache, hub_endpoint

    found, cache = downloaded(), hub_cache()
    total, free = sum(one.size for one in found), _free(cache)
    moved = next((name for name in _MOVERS if os.environ.get(name)), None)
    if as_json:
        models = [_data(one) for one in found]
        data = {"cache": str(cache), "moved_by": moved, "free_bytes": free, "endpoint": hub_endpoint()}
        output.data_json(data | {"bytes": total, "models": models})
        return
    if found:
        output.data(output.table(("model", "on disk", "changed", ""), [_row(one) for one in found]))
    output.words(f"{counted(len(found), 'model')}, {bytes_text(total)}; {bytes_text(free)} are free on that disk.")
    output.words(f"The cache is {cache} ({f'set by {moved}' if moved else 'the default; HF_HUB_CACHE moves it'}).")
    output.words(f"More come from {hub_endpoint()} (HF_ENDPOINT names a mirror). Free space: ft-tui models remove NAME")


def _free(cache: Any) -> int:  # noqa: ANN401 - a Path, which is imported lazily
    """Free bytes of the disk the cache lies on, or would lie on."""
    for folder in (cache, *cache.parents):
        with suppress(OSError):
            return shutil.disk_usage(folder).free
    return 0


def _data(one: Downloaded) -> dict[str, Any]:
    return {"name": one.name, "bytes": one.size, "changed": one.changed, "whole": one.whole, "directory": str(one.path)}


def _row(one: Downloaded) -> tuple[str, ...]:
    day = time.strftime("%Y-%m-%d", time.localtime(one.changed)) if one.changed else "?"
    return (one_line(one.name, 60), bytes_text(one.size), day, "" if one.whole else "not whole: its download broke off")


@click.command("remove", epilog=examples("ft-tui models remove Qwen/Qwen3-0.6B"))
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
def remove_command(*, name: str, yes: bool, as_json: bool) -> None:
    """Remove a downloaded model from the cache; it can be downloaded again.

    NAME is its name on the hub, as `ft-tui models --downloaded` writes it. The cache is the hub library's own: other
    programs of this machine may use the model too.
    """
    from finetune_core.models.downloaded import find_downloaded, remove

    model = find_downloaded(name)
    _refuse_in_use(name)
    if not yes:
        _ask(model)
    remove(model)
    if as_json:
        output.data_json({"removed": model.name, "bytes": model.size})
    else:
        output.words(f"{one_line(model.name, 100)} is removed: {bytes_text(model.size)} are free again.")


def _refuse_in_use(name: str) -> None:
    """Raise FtError while a run at work trains this model."""
    from finetune_core.recipe.yaml_io import load
    from finetune_core.runs.directory import list_runs
    from finetune_core.runs.status import live

    for run in list_runs():
        with suppress(FtError):
            if live(run) and load(run.recipe_file).model.source == name:
                raise _kept(f"the run {run.name} uses it", f"wait for it, or stop it: ft-tui stop {run.name}")


def _ask(model: Downloaded) -> None:
    """Go on only after a yes. FtError for anything else, and where nobody can be asked."""
    name = one_line(model.name, 100)
    if not sys.stdin.isatty():
        raise _kept("nobody can be asked without a terminal", f"say it: ft-tui models remove {name} --yes")
    if not click.confirm(f"Remove {name} ({bytes_text(model.size)}) from the cache?", default=False, err=True):
        raise _kept("you said no", "ft-tui models --downloaded lists what is there")


def _kept(why: str, remedy: str) -> FtError:
    return problem("nothing was removed", where="the model cache", why=why, remedy=remedy)


@click.command("login", epilog=examples("ft-tui models login", "ft-tui models login < token.txt"))
@as_json
def login_command(*, as_json: bool) -> None:
    """Have the hub's own library keep a token, for gated and private models.

    It is asked for and not shown; without a terminal it is read from standard input. It is never an argument.
    """
    from finetune_core.plan.hub_login import log_in, overridden_by, token_file

    asked = sys.stdin.isatty()
    name = log_in(click.prompt("Token (not shown)", hide_input=True, err=True) if asked else sys.stdin.read())
    if as_json:
        output.data_json({"name": name, "kept_in": str(token_file()), "overridden_by": overridden_by()})
        return
    output.words(f"The token of {name} is kept in {token_file()}, by the hub's own library.")
    if above := overridden_by():
        output.words(f"{above} is set here and goes before it: unset {above}.")
