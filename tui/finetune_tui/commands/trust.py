"""`ft-tui trust`: look at the code that comes with a model, and let it run, or no longer."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from finetune_core.errors import FtError, problem
from finetune_core.text import bytes_text, one_line
from finetune_tui.commands import output
from finetune_tui.commands.common import as_json, examples

if TYPE_CHECKING:
    from finetune_core.plan.foreign_code import ForeignCode


def _complete(_ctx: click.Context, _param: click.Parameter, typed: str) -> list[CompletionItem]:
    from finetune_core.models.trust import trusted

    try:
        names = [consent.name for consent in trusted()]
    except FtError:
        return []
    return [CompletionItem(name) for name in dict.fromkeys(names) if name.startswith(typed)]


@click.command(
    "trust",
    epilog=examples(
        "ft-tui trust",
        "ft-tui trust owner/name",
        "ft-tui trust owner/name --revision 0a1b2c3",
        "ft-tui trust owner/name --withdraw",
    ),
)
@click.argument("model", required=False, shell_complete=_complete)
@click.option("--revision", metavar="R", help="A branch, tag or commit of the model's repository.")
@click.option("--withdraw", is_flag=True, help="Take the consent back: the model's code no longer runs.")
@as_json
def trust(*, model: str | None, revision: str | None, withdraw: bool, as_json: bool) -> None:
    """Look at the code that comes with a model, and let it run.

    Some models run only with code of their own. It is never run unless you have looked at it here and typed the
    model's name; what you consented to are exactly these files, and any other byte is refused. MODEL is a folder or a
    hub id; without one: whose code is trusted. With --json nothing is asked.
    """
    if model is None:
        if withdraw or revision is not None:
            raise click.UsageError("Name the model.")
        _list(as_json=as_json)
    elif withdraw:
        _withdraw(model, as_json=as_json)
    else:
        _look(model, revision, as_json=as_json)


def _list(*, as_json: bool) -> None:
    from finetune_core.models.trust import trusted

    given = trusted()
    if as_json:
        output.data_json({"trusted": [asdict(consent) for consent in given]})
        return
    if not given:
        output.words("No code of any model is trusted.")
        return
    rows = [
        (
            one_line(one.name, 60),
            one.commit[:12] if one.commit else "folder",
            one.day,
            one_line(", ".join(one.files), 80),
        )
        for one in given
    ]
    output.data(output.table(("model", "commit", "since", "files"), rows))


def _withdraw(model: str, *, as_json: bool) -> None:
    from finetune_core.models.trust import trusted, withdraw
    from finetune_core.paths import expanded

    names = {consent.name for consent in trusted()}
    name = model if model in names else str(expanded(model).absolute())
    if not withdraw(name):
        raise problem(
            "no code of this model is trusted",
            where=one_line(model, 200),
            why="there is no consent under this name",
            remedy="see whose code is: ft-tui trust",
        )
    if as_json:
        output.data_json({"model": name, "trusted": False})
    else:
        output.words(f"The code of {one_line(name, 200)} no longer runs.")


def _look(model: str, revision: str | None, *, as_json: bool) -> None:
    from finetune_core.plan.foreign_code import look_at_code

    if not as_json:
        output.words(f"Looking for the code of {one_line(model, 200)} ...")
    code = look_at_code(model, revision)
    assert code is not None
    if as_json:
        output.data_json(_data(code))
        return
    _show(code)
    if code.consent is not None:
        output.words(f"Trusted since {code.consent.day}: exactly these files.")
        return
    _ask(code)


def _data(code: ForeignCode) -> dict[str, object]:
    files = [{"path": str(file.path), "lines": file.lines, "bytes": len(file.content)} for file in code.files]
    return {
        "model": code.name,
        "commit": code.commit,
        "fingerprint": code.fingerprint,
        "files": files,
        "trusted": code.consent is not None,
        "since": code.consent.date if code.consent is not None else None,
    }


def _show(code: ForeignCode) -> None:
    """Whose code it is, and each file with its path, so that one can read it."""
    output.data(f"model   {one_line(code.name, 300)}")
    output.data(f"commit  {one_line(code.commit, 40)}" if code.commit else "commit  none: a folder")
    rows = [(f"{file.lines:,}", bytes_text(len(file.content)), one_line(str(file.path), 500)) for file in code.files]
    output.data(output.table(("lines", "size", "file"), rows))


def _ask(code: ForeignCode) -> None:
    """Take the name as consent. FtError for anything else, and where nobody can be asked."""
    from finetune_core.plan.foreign_code import WHAT_CODE_CAN_DO

    output.words(f"Read these files before you let them run. {WHAT_CODE_CAN_DO}")
    if not sys.stdin.isatty():
        raise _nothing_trusted(code, "consent is typed at a terminal, and there is none", "type the command yourself")
    output.words(f"To let exactly these files run, type the model's name: {one_line(code.name, 300)}")
    typed = click.prompt("name", default="", show_default=False, err=True)
    if typed != code.name:
        raise _nothing_trusted(code, "what was typed is not the model's name", "read the files, and try again")
    code.trust()
    output.words("Trusted. Any other byte of its code is refused. Take it back with --withdraw.")


def _nothing_trusted(code: ForeignCode, why: str, remedy: str) -> FtError:
    return problem("nothing was trusted", where=one_line(code.name, 300), why=why, remedy=remedy)
