"""What the commands share: the group that turns errors into exit codes, options, and completion."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

import click
from click.shell_completion import CompletionItem

from finetune_core.errors import FtError
from finetune_core.text import clean
from finetune_tui.commands import interrupts, output

if TYPE_CHECKING:
    from finetune_core.hardware.look import Gpu

GPU_HELP: Final = "a card by its name or memory, such as 4090, a100-40 or 24GB,"
Decorated = TypeVar("Decorated", bound=Callable[..., Any])


@dataclass(frozen=True)
class Settings:
    """Options given before the command."""

    mouse: bool


class Commands(click.Group):
    """A group whose errors become the documented exit codes, and whose help lists commands in the order of use.

    Most commands are imported when they are asked for: the app starts without any of them.
    """

    # Where the commands are that do not stand beside the group: a module of this folder, and the name in it.
    APART: ClassVar[Mapping[str, tuple[str, str]]] = {
        "models": ("models", "models"),
        "trust": ("trust", "trust"),
        "plan": ("plan", "plan"),
        "recipe": ("recipe", "recipe_group"),
        "data": ("data", "data_group"),
        "runs": ("runs", "runs"),
        "trash": ("trash", "trash_group"),
        "status": ("runs", "status"),
        "verdict": ("verdict", "verdict"),
        "logs": ("runs", "logs"),
        "stop": ("runs", "stop"),
        "sample": ("runs", "sample"),
    }
    ORDER: ClassVar = (
        *("demo", "train", "attach", "runs", "status", "verdict", "logs", "stop", "resume", "sample", "trash"),
        *("doctor", "models", "trust", "plan", "recipe", "data", "completion"),
    )

    def list_commands(self, ctx: click.Context) -> list[str]:
        """What one starts with first."""
        return sorted({*super().list_commands(ctx), *self.APART}, key=self.ORDER.index)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name, imported if need be."""
        if cmd_name not in self.commands and cmd_name in self.APART:
            module, name = self.APART[cmd_name]
            self.add_command(getattr(import_module(f"finetune_tui.commands.{module}"), name))
        return super().get_command(ctx, cmd_name)

    def make_context(self, *args: Any, **extra: Any) -> click.Context:  # noqa: ANN401 - as click declares them
        """Read the options; a wrong one is reported without obeying what it holds."""
        with _harmless_words():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - as click declares it
        """Run the command; what a user can mend is printed in full, without a traceback."""
        try:
            with _harmless_words():
                return super().invoke(ctx)
        except FtError as error:
            output.show_error(error)
            ctx.exit(output.WRONG_USE)
        except (KeyboardInterrupt, click.Abort):
            output.words(interrupts.words_after(ctx))
            ctx.exit(output.INTERRUPTED)


@contextmanager
def _harmless_words() -> Iterator[None]:
    """Errors of use repeat what was typed, and a file name may hold an escape sequence."""
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        raise click.UsageError(clean(error.format_message()), error.ctx) from error


def examples(*lines: str) -> str:
    """The end of a command's help: lines to copy."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def counter(words: str) -> Callable[..., None]:
    """Shows progress (done, and of how many where that is known) on standard error, where a person is looking."""

    def show(done: int, total: int | None = None) -> None:
        if sys.stderr.isatty():
            of = f" of {total:,}" if total else ""
            click.echo(f"\r{done:,}{of} {words} ", err=True, nl=False)

    return show


def asked_gpu(text: str) -> Gpu:
    """The GPU that --gpu names; says what a name was taken for that could mean several. Raises FtError."""
    from finetune_core.hardware.elsewhere import gpu_elsewhere

    gpu, taken_for = gpu_elsewhere(text)
    if taken_for is not None:
        output.words(taken_for)
    return gpu


def mouse_of(ctx: click.Context) -> bool:
    """Whether the app may use the mouse."""
    settings = ctx.find_object(Settings)
    return settings is None or settings.mouse


def as_json(function: Decorated) -> Decorated:
    """The option --json."""
    return click.option("--json", "as_json", is_flag=True, help="Print data as JSON; words go to standard error.")(
        function
    )


def run_argument(function: Decorated) -> Decorated:
    """The argument RUN, which may be left out."""
    return click.argument("run", required=False, shell_complete=_complete_runs)(function)


def queueing(function: Decorated) -> Decorated:
    """The option --queue."""
    return click.option(
        "--queue", is_flag=True, help="Where another run has the GPU, wait for it instead of refusing; start then."
    )(function)


def assignments(function: Decorated) -> Decorated:
    """The option --set, which may be given several times."""
    return click.option(
        "--set",
        "assignments",
        multiple=True,
        metavar="FIELD=VALUE",
        shell_complete=_complete_fields,
        help="Change a field of the recipe, such as training.epochs=1. May be given several times.",
    )(function)


def _complete_runs(_ctx: click.Context, _param: click.Parameter, typed: str) -> list[CompletionItem]:
    from finetune_core.runs.directory import list_runs

    try:
        names = [run.name for run in list_runs()]
    except FtError:
        return []
    return [CompletionItem(name) for name in names if name.startswith(typed)]


def _complete_fields(_ctx: click.Context, _param: click.Parameter, typed: str) -> list[CompletionItem]:
    from finetune_core.recipe.schema import GUIDES

    return [
        CompletionItem(f"{path}=", help=guide.help) for path, guide in GUIDES.items() if f"{path}=".startswith(typed)
    ]
