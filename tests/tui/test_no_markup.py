"""No markup comes from data: what a widget is given is literal, Text or Content, or shown with markup off.

Textual takes a plain string for markup: `[INST] hi [/INST]` in a row would crash the app, and `[@click=app.quit]` act.
The rule is held over the syntax tree, so that a place that no test visits cannot break it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import finetune_tui

# Calls, by their last name, with the places of the arguments that are shown (None: all of them).
_SHOWS: dict[str, tuple[int, ...] | None] = {
    "Static": (0,), "Label": (0,), "Button": (0,), "Checkbox": (0,), "RadioButton": (0,), "Option": (0,), "Tab": (0,),
    "TabPane": (0,), "Collapsible": (), "Digits": (0,), "Tree": (0,), "ListItem": (), "notify": (0,),
    "add_row": None, "add_column": (0,), "add_leaf": (0,), "update_cell": (2,), "Tooltip": (0,),
    "set_label": (0,),
}  # fmt: skip
_SHOWN_WORDS = {"content", "label", "title", "tooltip", "prompt"}
_ATTRIBUTES = {"border_title", "border_subtitle", "tooltip"}
_RENDERED = {"Text", "Content", "Segment", "Strip", "Table", "Group", "RenderResult", "Visual"}
# Literal words of tables in this package.
_LITERAL = {"action.help"}


class Module:
    """One module's tree, and what its functions, parameters and variables hold, as far as they say it."""

    def __init__(self, name: str, tree: ast.Module) -> None:
        self.name, self.tree = name, tree
        self.functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        self.returns = {function.name: function.returns for function in self.functions}
        self.values: dict[str, list[ast.expr]] = {}
        self.types: dict[str, list[ast.expr]] = {}
        for node in ast.walk(tree):
            self._note(node)

    def _note(self, node: ast.AST) -> None:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                self._bind(target, node.value)
        elif isinstance(node, ast.AnnAssign):
            self.types.setdefault(ast.unparse(node.target), []).append(node.annotation)
        elif isinstance(node, ast.arg) and node.annotation is not None:
            self.types.setdefault(node.arg, []).append(node.annotation)
        elif isinstance(node, ast.NamedExpr):
            self._bind(node.target, node.value)

    def _bind(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            for one, other in zip(target.elts, value.elts, strict=False):
                self._bind(one, other)
        else:
            self.values.setdefault(ast.unparse(target), []).append(value)

    def faults(self) -> Iterator[str]:
        """Each place where a string that is not literal could be taken for markup."""
        for node in ast.walk(self.tree):
            for shown in self._shown(node):
                if not self.safe(shown):
                    yield f"{self.name}:{node.lineno} {ast.unparse(shown)[:60]}"  # type: ignore[attr-defined]

    def _shown(self, node: ast.AST) -> Iterator[ast.expr]:
        if isinstance(node, ast.Assign):
            names = {target.attr for target in node.targets if isinstance(target, ast.Attribute)}
            yield from [node.value] if names & _ATTRIBUTES else []
        if not isinstance(node, ast.Call):
            return
        given = {word.arg: word.value for word in node.keywords}
        if _is_off(node):
            return
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if called == "from_markup" or (called == "update" and self._updates_widget(node)):
            yield node.args[0]
        elif called == "Option" and self._lists_plainly():
            return
        elif called in _SHOWS:
            places = _SHOWS[called]
            yield from node.args if places is None else [node.args[place] for place in places if place < len(node.args)]
            yield from (value for name, value in given.items() if name in _SHOWN_WORDS)

    def _lists_plainly(self) -> bool:
        """Whether the lists of this module are classes of its own that take no markup."""
        calls = [node for node in ast.walk(self.tree) if isinstance(node, ast.Call)]
        own = any(ast.unparse(call.func) == "super().__init__" and _is_off(call) for call in calls)
        return own and not any(isinstance(call.func, ast.Name) and call.func.id == "OptionList" for call in calls)

    def _updates_widget(self, call: ast.Call) -> bool:
        """Whether this is a widget's `update`, and one of this module may take strings for markup."""
        if not call.args or isinstance(call.args[0], ast.Dict | ast.Set | ast.GeneratorExp | ast.Starred):
            return False
        receiver = ast.unparse(call.func.value)  # type: ignore[attr-defined]
        held = [ast.unparse(value) for value in (*self.types.get(receiver, ()), *self.values.get(receiver, ()))]
        if any(word.startswith(("dict", "set", "{", "Counter", "hashlib")) for word in held):
            return False
        if not self.name.startswith(("screens", "widgets", "app", "x")):
            return False
        makers = [node for node in ast.walk(self.tree) if isinstance(node, ast.Call) and _makes_static(node)]
        off = [_is_off(maker) for maker in makers]
        return not (off and all(off))

    def safe(self, value: ast.expr, depth: int = 0) -> bool:
        """Whether this is literal without brackets, or a rendered thing."""
        if depth > 6:
            return False
        if isinstance(value, ast.Constant):
            return not isinstance(value.value, str) or "[" not in value.value
        if isinstance(value, ast.Starred):
            return self.safe(value.value, depth)
        if isinstance(value, ast.IfExp):
            return self.safe(value.body, depth) and self.safe(value.orelse, depth)
        if isinstance(value, ast.BoolOp):
            return all(self.safe(part, depth) for part in value.values)
        if isinstance(value, ast.GeneratorExp | ast.ListComp):
            return self.safe(value.elt, depth)
        if isinstance(value, ast.BinOp):
            return self.safe(value.left, depth) and self.safe(value.right, depth)
        return self._known(value, depth)

    def _known(self, value: ast.expr, depth: int) -> bool:
        words = ast.unparse(value)
        if words in _LITERAL:
            return True
        if isinstance(value, ast.Call):
            maker = words.partition("(")[0]
            root, last = maker.partition(".")[0], maker.rpartition(".")[2]
            # A line of text has methods of its own, such as `Content("\n").join(...)`.
            return root in _RENDERED or last in _RENDERED or _rendered(self.returns.get(last))
        if isinstance(value, ast.Name | ast.Attribute):
            types, values = self.types.get(words, []), self.values.get(words, [])
            return bool(types or values) and all(map(_rendered, types)) and all(
                self.safe(one, depth + 1) for one in values
            )  # fmt: skip
        return False


def _is_off(call: ast.Call) -> bool:
    """Whether a call says `markup=False`."""
    found = [word.value for word in call.keywords if word.arg == "markup"]
    return [value.value for value in found if isinstance(value, ast.Constant)] == [False]


def _makes_static(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Name) and call.func.id in {"Static", "Label"}


def _rendered(annotation: ast.expr | None) -> bool:
    """Whether a type is one of rendered things alone."""
    if annotation is None:
        return False
    names = {node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)}
    return bool(names & _RENDERED) and "str" not in names


def modules() -> Iterator[Module]:
    root = Path(str(finetune_tui.__file__)).parent
    for path in sorted(root.rglob("*.py")):
        yield Module(str(path.relative_to(root)), ast.parse(path.read_text(encoding="utf-8")))


def test_nothing_but_literals_and_rendered_text_is_shown_with_markup() -> None:
    found = list(modules())
    assert len(found) > 60
    assert [fault for module in found for fault in module.faults()] == []


@pytest.mark.parametrize(
    "line",
    [
        "Static(text)",
        "Static(f'{name} is done')",
        "Label('a ' + name)",
        "Button(words)",
        "self.app.notify(why, severity='error')",
        "self.notify('x', title=name)",
        "table.add_row(Text('a'), cell)",
        "table.add_row(*cells)",
        "table.add_column(name)",
        "tree.root.add_leaf(row)",
        "Option(words, id='x')",
        "box.border_title = run.name",
        "box.tooltip = path",
        "Text.from_markup(row)",
        "Content.from_markup(row)",
        "self.query_one(Static).update(text)",
        "Static('[bold]x[/]')",
        "Static(clean(text))",
    ],
)
def test_each_of_these_would_be_found(line: str) -> None:
    assert list(Module("x.py", ast.parse(line)).faults())


@pytest.mark.parametrize(
    "line",
    [
        "Static(text, markup=False)",
        "Static('plain words')",
        "Static(Text(row))",
        "self.update(Content('\\n').join(lines))",
        "table.add_row(*(Text(cell) for cell in cells))",
        "line = Content(row)\nself.update(line)",
        "Static(id='a', markup=False)\nself.query_one('#a').update(text)",
        "def f(shown: Content) -> None:\n    Static(shown)",
        "seen: set[str] = set()\nseen.update(names)",
    ],
)
def test_what_is_right_is_left_alone(line: str) -> None:
    assert list(Module("x.py", ast.parse(line)).faults()) == []
