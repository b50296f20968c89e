"""`ft-tui trash`: the runs deleted in the last seven days, restored or removed for good."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from finetune_core.errors import FtError, problem
from finetune_core.text import bytes_text, counted, one_line
from finetune_tui.commands import output
from finetune_tui.commands.common import as_json, examples

if TYPE_CHECKING:
    from finetune_core.runs.upkeep.trash import Trashed


def _complete(_ctx: click.Context, _param: click.Parameter, typed: str) -> list[CompletionItem]:
    from finetune_core.runs.upkeep.trash import list_trash

    try:
        return [CompletionItem(one.name) for one in list_trash() if one.name.startswith(typed)]
    except FtError:
        return []


@click.group(
    "trash",
    invoke_without_command=True,
    epilog=examples("ft-tui trash", "ft-tui trash restore 20260131-14", "ft-tui trash empty --yes"),
)
@as_json
@click.pass_context
def trash_group(ctx: click.Context, *, as_json: bool) -> None:
    """List deleted runs, restore one, or free their space.

    A run that is deleted lies in the trash for 7 days, with everything in it. Without a command: what is there.
    """
    if ctx.invoked_subcommand is None:
        _list(as_json=as_json)


def _list(*, as_json: bool) -> None:
    from finetune_core.runs.upkeep.trash import empty_trash, list_trash
    from finetune_tui.run_rows import when

    empty_trash(only_expired=True)
    found = [(one, _size(one)) for one in list_trash()]
    if as_json:
        output.data_json({"trash": [_data(one, size) for one, size in found]})
    elif not found:
        output.words("The trash is empty.")
    else:
        rows = [
            (one_line(one.name, 100), bytes_text(size), when(one.deleted), when(one.expires)) for one, size in found
        ]
        output.data(output.table(("RUN", "SIZE", "DELETED", "FOR GOOD ON"), rows))
        output.words(f"{bytes_text(sum(size for _, size in found))} in all. Free them now: ft-tui trash empty")


def _size(one: Trashed) -> int:
    from finetune_core.runs.upkeep.trash import size_of

    return size_of(one.path)


def _data(one: Trashed, size: int) -> dict[str, Any]:
    return {
        "run": one.name, "bytes": size, "deleted": one.deleted, "expires": one.expires, "directory": str(one.path),
    }  # fmt: skip


@trash_group.command(epilog=examples("ft-tui trash restore 20260131-140000-capitals", "ft-tui trash restore capitals"))
@click.argument("name", shell_complete=_complete)
@as_json
def restore(*, name: str, as_json: bool) -> None:
    """Put a deleted run back among the runs.

    NAME is its name, or any unique beginning of it.
    """
    from finetune_core.runs.upkeep import trash

    one = trash.find_trashed(name)
    run = trash.restore(one)
    if as_json:
        output.data_json({"run": run.name, "directory": str(run.path)})
        return
    renamed = "" if run.name == one.name else f" Another run is called {one_line(one.name, 100)} now."
    output.data(run.name)
    output.words(f"It is among the runs again.{renamed} Look at it: ft-tui attach {one_line(run.name, 100)}")


@trash_group.command(epilog=examples("ft-tui trash empty", "ft-tui trash empty --yes"))
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
def empty(*, yes: bool, as_json: bool) -> None:
    """Remove every deleted run for good."""
    from finetune_core.runs.upkeep.trash import empty_trash, list_trash

    entries = list_trash()
    size = sum(map(_size, entries))
    if entries and not yes:
        _ask(len(entries), size)
    removed = empty_trash()
    if as_json:
        output.data_json({"removed": [one.name for one in removed], "bytes": size if removed else 0})
    elif not removed:
        output.words("The trash is empty.")
    else:
        output.words(f"{counted(len(removed), 'run')} removed for good: {bytes_text(size)} are free again.")


def _ask(count: int, size: int) -> None:
    """Go on only after a yes. FtError for anything else, and where nobody can be asked."""
    if not sys.stdin.isatty():
        raise _kept("nobody can be asked without a terminal", "say it: ft-tui trash empty --yes")
    runs = counted(count, "deleted run")
    if not click.confirm(f"Remove {runs} for good ({bytes_text(size)})?", default=False, err=True):
        raise _kept("you said no", "ft-tui trash lists what is there")


def _kept(why: str, remedy: str) -> FtError:
    return problem("nothing was removed", where="the trash", why=why, remedy=remedy)
