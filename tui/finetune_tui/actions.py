"""The one table of actions: key bindings, footer, help, command palette and the README's keys come from here.

A screen takes its BINDINGS from `bindings(scope)` and defines `action_<name>` for each name of its scope. A name may
carry arguments as Textual writes them: `pane(1)`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from textual.binding import Binding, BindingType
from textual.dom import DOMNode

Scope = Literal["app", "home", "wizard", "rows", "dashboard", "review"]


@dataclass(frozen=True)
class Action:
    """One thing a user can do by a key, a click in the footer, or the command palette.

    `key` is one key, or several separated by commas of which help shows the first. `show` puts it in the footer.
    `where` says where it can be done, if that is not all over its screen.
    """

    name: str
    key: str
    label: str
    help: str
    scope: Scope
    show: bool = True
    where: str = ""


ACTIONS: tuple[Action, ...] = (
    # Everywhere.
    Action("show_help", "question_mark", "Help", "What the keys of this screen do", "app"),
    Action("command_palette", "ctrl+p", "Palette", "Find any action or theme by its name", "app", show=False),
    Action("change_theme", "ctrl+t", "Theme", "Choose the colours; the choice is kept", "app", show=False),
    # The list of runs.
    Action("new_run", "n", "New", "Set up a new run, step by step", "home"),
    Action("demo", "D", "Demo", "Set up the demo: a small model that ships with the program", "home", show=False),
    Action("open_run", "enter", "Open", "Look at the chosen run", "home"),
    Action("clone", "c", "Clone", "Set up a new run from the chosen run's recipe", "home"),
    Action("resume", "r", "Resume", "Go on from the chosen run's last checkpoint", "home"),
    Action("delete", "d", "Delete", "Move the chosen run to the trash for 7 days (asks first)", "home"),
    Action("restore", "u", "Undo", "Restore the run that was deleted last", "home", show=False),
    Action("filter", "slash", "Filter", "Show only the runs whose name, state or model has a text", "home", show=False),
    Action("doctor", "i", "Doctor", "What this machine has, and what would go wrong", "home", show=False),
    Action("leave", "q", "Quit", "Leave the program; runs go on", "home"),
    # The wizard. Its letters and digits act while no text field has the focus; Esc leaves a field.
    Action(
        "next_step",
        "pagedown,n",
        "Next",
        "Go to the next step, from the end of this one",
        "wizard",
        where="before the review",
    ),
    Action(
        "previous_step",
        "pageup,b",
        "Back",
        "Go to the step before, from the top of this one",
        "wizard",
        where="after the first step",
    ),
    Action(
        "launch",
        "l",
        "Launch",
        "Start the run; training goes on without this program",
        "wizard",
        where="on the review (5)",
    ),
    Action("save", "s", "Save", "Write the recipe to a file", "wizard", where="on the review (5)"),
    Action("step(1)", "1", "Hardware", "Go to the step Hardware", "wizard", show=False),
    Action("step(2)", "2", "Model", "Go to the step Model", "wizard", show=False),
    Action("step(3)", "3", "Data", "Go to the step Data", "wizard", show=False),
    Action("step(4)", "4", "Hyperparameters", "Go to the step Hyperparameters", "wizard", show=False),
    Action("step(5)", "5", "Review", "Go to the step Review", "wizard", show=False),
    Action(
        "measure",
        "t",
        "Measure",
        "Load the model and measure memory and speed on the longest batch",
        "wizard",
        show=False,
        where="on the review (5)",
    ),
    Action(
        "browse",
        "o",
        "Browse",
        "Choose the data file, or the model's folder, from a list",
        "wizard",
        show=False,
        where="on the steps Model (2) and Data (3)",
    ),
    Action(
        "look_at_code",
        "k",
        "Code",
        "Look at the code that comes with the model, and consent to it",
        "wizard",
        show=False,
        where="on the step Model (2)",
    ),
    Action(
        "hub_token",
        "h",
        "Hub token",
        "Type a token of the hub for gated models; its library keeps it",
        "wizard",
        show=False,
        where="on the step Model (2)",
    ),
    Action(
        "columns",
        "c",
        "Columns",
        "Say what the rows are, and which column plays which part",
        "wizard",
        show=False,
        where="on the step Data (3)",
    ),
    Action(
        "mix",
        "m",
        "Mix",
        "Choose what is held out, and what is mixed in from other files",
        "wizard",
        show=False,
        where="on the step Data (3)",
    ),
    Action("fresh", "f", "Start afresh", "Begin with an empty recipe; this draft is kept", "wizard", show=False),
    Action("leave", "escape", "Leave", "Leave the field, then the wizard; the draft is kept", "wizard"),
    # The rows in the wizard's data step, while the focus is in them.
    Action("by(1)", "right_square_bracket", "Next", "The next row of the file", "rows", show=False),
    Action("by(-1)", "left_square_bracket", "Before", "The row before", "rows", show=False),
    Action("sample(1)", "r", "Any", "A row from anywhere: the next one of a sampled order", "rows", show=False),
    Action("sample(-1)", "R", "Any before", "Back in the sampled order", "rows", show=False),
    Action("jump", "j", "Go to", "Go to a row by its number", "rows", show=False),
    Action("search", "slash", "Search", "The next row that holds a text", "rows", show=False),
    Action("view", "v", "View", "The row as data, as the model sees it, or token by token", "rows", show=False),
    # The dashboard of one run.
    Action("pause", "p", "Pause", "Pause training, or let it go on", "dashboard"),
    Action("checkpoint", "k", "Checkpoint", "Write a checkpoint after this step", "dashboard"),
    Action("sample", "s", "Sample", "Ask base and tuned model something now", "dashboard"),
    Action("evaluate", "e", "Eval", "Measure the held-out loss now", "dashboard"),
    Action("stop", "x", "Stop", "Stop training (asks how)", "dashboard"),
    Action("pane(1)", "1", "Loss", "Loss in the large pane: each step, smoothed, held-out", "dashboard", show=False),
    Action("pane(2)", "2", "Rates", "Learning rate, gradient norm and tokens/s there", "dashboard", show=False),
    Action("pane(3)", "3", "Memory", "Memory, utilisation, temperature and power there", "dashboard", show=False),
    Action("pane(4)", "4", "Events", "What happened in the run there", "dashboard", show=False),
    Action(
        "pane(5)",
        "5",
        "Metrics",
        "Every metric as a curve; Enter enlarges one",
        "dashboard",
        show=False,
    ),
    Action("filter_metrics", "slash", "Filter", "Show only the metrics whose name has a text", "dashboard", show=False),
    Action("previous_sample", "left_square_bracket", "Earlier", "The samples before", "dashboard", show=False),
    Action("next_sample", "right_square_bracket", "Later", "The next samples", "dashboard", show=False),
    Action("result", "v", "Result", "Between the result and the samples of an ended run", "dashboard"),
    Action("clone", "c", "Change", "Set up a run like this one, changed as its verdict proposes", "dashboard"),
    Action("log", "l", "Log", "Show or hide the end of the worker's log", "dashboard", show=False),
    Action("resume", "r", "Resume", "Continue an ended run from its last checkpoint", "dashboard"),
    Action("copy", "y", "Copy", "Copy how to load the result, and write it to a file", "dashboard", show=False),
    Action("back", "escape", "Back", "Close metrics or log, or leave", "dashboard", show=False),
    Action("leave", "q", "Leave", "Back to the list of runs; training goes on", "dashboard"),
    # The review of synthetic rows, one at a time.
    Action("accept", "a", "Accept", "Let the row join the accepted ones", "review"),
    Action("reject", "r", "Reject", "Leave the row out", "review"),
    Action("edit", "e", "Edit", "Change what the row says", "review"),
    Action("undo", "u", "Undo", "Take the last decision or change back", "review"),
    Action("go(1)", "n,right", "Next", "The next row", "review"),
    Action("go(-1)", "p,left", "Previous", "The row before", "review", show=False),
    Action("accept_all", "A", "All", "Accept every row that still waits (asks first)", "review"),
    Action("leave", "q,escape", "Leave", "Leave the review; every decision is kept", "review"),
)

_KEY_WORDS = {
    "question_mark": "?",
    "slash": "/",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "pagedown": "PgDn",
    "pageup": "PgUp",
    "escape": "Esc",
    "enter": "Enter",
}


def actions(scope: str) -> tuple[Action, ...]:
    """The actions of one scope, in the order of the table."""
    return tuple(action for action in ACTIONS if action.scope == scope)


def bindings(scope: str) -> list[BindingType]:
    """Key bindings for a screen's (or the app's) BINDINGS."""
    return [
        Binding(
            action.key,
            action.name,
            action.label,
            show=action.show,
            key_display=key_text(action),
            tooltip=action.help,
            id=f"{action.scope}.{action.name}",
        )
        for action in actions(scope)
    ]


def relabel(node: DOMNode, name: str, label: str) -> bool:
    """Call an action of a screen otherwise from now on, in its footer and the palette; False where it is so already."""
    changed = False
    for key, found in node._bindings.key_to_bindings.items():
        if any(binding.action == name and binding.description != label for binding in found):
            # The lists are shared with every screen of the class.
            node._bindings.key_to_bindings[key] = [
                replace(binding, description=label) if binding.action == name else binding for binding in found
            ]
            changed = True
    return changed


def key_text(action: Action) -> str:
    """The action's first key as a person writes it: `?`, `Ctrl+P`, `Enter`, `D`."""
    key = action.key.partition(",")[0]
    if key.startswith("ctrl+"):
        return f"Ctrl+{key[5:].upper()}"
    return _KEY_WORDS.get(key, key)
