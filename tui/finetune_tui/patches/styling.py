"""Textual's style sheet, quicker: what is styled looks the same, at a fraction of the cost for each widget.

Textual goes through every rule of the app for each widget. It parses all of its sources again for each new class of
widgets where there are more than 64. It makes the styles of a widget's component classes anew whenever the widget is
styled. Here the rules that may concern a node are looked up by its names, and matching begins at the node itself. Rules
merged once are kept, component styles are made when somebody asks for one, and a new widget takes its rules whole.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from operator import itemgetter
from typing import Any, Final, NamedTuple, cast

from textual.app import App
from textual.css.match import _check_selectors
from textual.css.model import CombinatorType, RuleSet, Selector, SelectorType
from textual.css.styles import RenderStyles, RulesMap
from textual.css.stylesheet import _DEFAULT_STYLES, Stylesheet
from textual.css.types import Specificity6
from textual.dom import DOMNode
from textual.widget import Widget

_FIRST: Final = itemgetter(0)
_ORDERED: Final = frozenset({"first-of-type", "last-of-type", "first-child", "last-child", "empty"})
_COUNTED: Final = frozenset({"odd", "even"})
# What a node's place in the tree, and these of the nodes around it, decide is kept; other pseudo classes are looked at.
_KEPT: Final = frozenset(
    {"hover", "focus", "blur", "can-focus", "disabled", "enabled", "dark", "light", "inline", "ansi", "nocolor"}
)


class _Candidate(NamedTuple):
    """One selector of a rule, and what the rule sets where it matches.

    `tail` is the part of the selector that is about the node itself; `rest` says whether there is more of it.
    """

    tail: tuple[Selector, ...]
    rest: bool
    selectors: list[Selector]
    entries: list[tuple[str, Specificity6, Any]]

    def matches(self, node: DOMNode, path: list[DOMNode]) -> bool:
        """Whether the selector matches a node, `path` leads from the app to it."""
        for selector in self.tail:
            if selector.pseudo_classes and not node.has_pseudo_classes(selector.pseudo_classes):
                return False
        return not self.rest or _check_selectors(self.selectors, path)


class _Candidates(NamedTuple):
    """What may concern nodes of one class, id and style classes: the latest rule first, and what it depends on."""

    each: tuple[_Candidate, ...]
    hover: bool
    focus_within: bool
    ordered: bool
    counted: bool
    kept: bool


class QuickStylesheet(Stylesheet):
    """Gives each node the rules that Textual's gives it; nothing is animated."""

    def __init__(self, *, variables: dict[str, str] | None = None) -> None:
        super().__init__(variables=variables)
        # Of every source: Textual's cache holds 64, which are read in turn, so that none is found where there are more.
        self._parse_cache = _parsed(frozenset(self._variables.items()))  # type: ignore[assignment]
        self._forget()

    def _forget(self) -> None:
        """Begin anew: the rules are others."""
        self._order: dict[int, int] = {}
        self._named: frozenset[str] = frozenset()
        self._candidates: dict[object, _Candidates] = {}
        self._merged: dict[tuple[int, ...], RulesMap] = {}
        self._states: dict[tuple[object, ...], int] = {}
        self._rules_in: dict[int, RulesMap] = {}
        self._as_set: dict[int, RulesMap] = {}
        self._edition = object()

    def set_variables(self, variables: dict[str, str]) -> None:
        """Take other colours."""
        # What was parsed with the colours before stays as it is: other sheets share it.
        self._parse_cache = {}  # type: ignore[assignment]
        super().set_variables(variables)
        self._parse_cache = _parsed(frozenset(variables.items()))  # type: ignore[assignment]

    def take(self, prepared: Stylesheet) -> None:
        """Add the sources of a sheet that another thread has parsed with the same variables."""
        for read_from, (css, is_default, tie_breaker, scope) in prepared.source.items():
            self.add_source(css, read_from, is_default, tie_breaker, scope)

    def parse(self) -> None:
        """Parse the sources that are new."""
        super().parse()
        self._forget()
        self._order = {id(rule): place for place, rule in enumerate(self.rules)}
        selectors = (one for rule in self.rules for each in rule.selector_set for one in each.selectors)
        self._named = frozenset(one.name for one in selectors if one.type in {SelectorType.CLASS, SelectorType.ID})

    def look_through(self) -> None:
        """Work out for each rule what it sets: that is kept for every sheet, and would be done widget by widget."""
        for rule in self.rules:
            _candidates_of(rule)

    def reparse(self) -> None:
        """Parse the sources; with other variables all of them."""
        self.parse()

    def apply(self, node: DOMNode, *, animate: bool = False, cache: dict[Any, Any] | None = None) -> None:
        """Give a node and its component classes the rules that match; `cache` serves nodes styled in one go."""
        del animate
        if self._require_parse:
            self.parse()
        known = self._known(node)
        node._has_hover_style = known.hover
        node._has_focus_within = known.focus_within
        node._has_order_style = known.ordered
        node._has_odd_or_even = known.counted
        if not isinstance(node._component_styles, _Parts):
            node._component_styles = _Parts(self, node)
        state = self._state_of(node, cache if cache is not None else {}) if known.kept else 0
        styled = (self._edition, state)
        if state and vars(node).get("_styled") == styled:
            node.notify_style_update()
            return
        if rules := self._rules_of(known, node, state):
            self.set_rules(node, rules)
        self._style_components(node)
        vars(node)["_styled"] = styled

    def _state_of(self, node: DOMNode, known: dict[int, int]) -> int:
        """A number for everything the rules of a node can depend on, where all of its rules are kept."""
        state = known.get(id(node))
        if state is None:
            parent = node._parent
            above = self._state_of(parent, known) if isinstance(parent, DOMNode) else 0
            shown = node._id if node._id in self._named else None
            own = (above, type(node), shown, self._named & node._classes, _marks(node))
            state = known[id(node)] = self._states.setdefault(own, len(self._states) + 1)
        return state

    def _known(self, node: DOMNode) -> _Candidates:
        shown = node._id if node._id in self._named else None
        key = (type(node), shown, self._named & node._classes)
        found = self._candidates.get(key)
        if found is None:
            found = self._candidates[key] = self._look_up(node)
        return found

    def _look_up(self, node: DOMNode) -> _Candidates:
        """The rules that may concern nodes like this one."""
        rules_map = self.rules_map
        wanted = {id(rule): rule for name in node._selector_names & rules_map.keys() for rule in rules_map[name]}
        rules = sorted(wanted.values(), key=lambda rule: -self._order[id(rule)])
        marks = frozenset().union(*(rule.pseudo_classes for rule in rules))
        return _Candidates(
            tuple(one for rule in rules for one in _candidates_of(rule) if all(part._check(node) for part in one.tail)),
            "hover" in marks,
            "focus-within" in marks,
            not marks.isdisjoint(_ORDERED),
            not marks.isdisjoint(_COUNTED),
            marks <= _KEPT,
        )

    def _rules_of(self, known: _Candidates, node: DOMNode, state: int) -> RulesMap:
        """The rules of the most specific selectors that match; empty where none does."""
        rules = self._rules_in.get(state) if state else None
        if rules is not None:
            return rules
        path = node.css_path_nodes
        matching = [one for one in known.each if one.matches(node, path)]
        # The entries live as long as the parsed rules do, so that their identity names them.
        key = tuple(id(one.entries) for one in matching)
        rules = self._merged.get(key)
        if rules is None:
            rules = self._merged[key] = _merge(one.entries for one in matching)
        if state:
            self._rules_in[state] = rules
        return rules

    def _style_components(self, node: DOMNode) -> None:
        """Style the component classes that were made; the node is drawn again where one looks otherwise than before."""
        changed = False
        for styles in node._component_styles.values():
            if (part := styles.node) is not None:
                before = dict(styles.base._rules)
                self.style_part(part)
                changed = changed or styles.base._rules != before
        if changed:
            node.refresh()

    def style_part(self, part: DOMNode) -> None:
        """Give the node that stands for a component class its rules."""
        self.set_rules(part, self._rules_of(self._known(part), part, 0))

    def set_rules(self, node: DOMNode, rules: RulesMap) -> None:
        """Set rules; those of a new node all at once, as they came to be where they were first set one by one.

        Nothing is to be drawn or laid out again for a node that is not mounted yet.
        """
        base = node.styles.base
        fresh = not base._rules and not node._is_mounted
        if fresh and id(rules) in self._as_set:
            base._rules.update(self._as_set[id(rules)])
            base._updates += 1
            node.notify_style_update()
            return
        self.replace_rules(node, rules)
        if fresh:
            self._as_set[id(rules)] = base._rules.copy()

    @classmethod
    def replace_rules(cls, node: DOMNode, rules: RulesMap, animate: bool = False) -> None:  # noqa: FBT001, FBT002 - as Textual's
        """Set the rules that are others than those the node has."""
        del animate
        base = node.styles.base
        new, old = cast("dict[str, object]", rules), cast("dict[str, object]", base._rules)
        if new != old:
            for name in [name for name in new.keys() | old.keys() if new.get(name) != old.get(name)]:
                setattr(base, name, new.get(name))
        node.notify_style_update()


class _Parts(dict[str, RenderStyles]):
    """The styles of a node's component classes, each made when it is asked for."""

    def __init__(self, sheet: QuickStylesheet, node: DOMNode) -> None:
        super().__init__()
        self._sheet, self._node = sheet, node

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or name in _component_names(type(self._node))

    def __missing__(self, name: str) -> RenderStyles:
        part = DOMNode(classes=name)
        part._attach(self._node)
        self._sheet.style_part(part)
        self[name] = part.styles
        return part.styles


def _marks(node: DOMNode) -> tuple[bool, ...]:
    """Which of the pseudo classes that are kept a node has, where the nodes around it do not say so."""
    if isinstance(node, App):
        return tuple(has(node) for has in node._PSEUDO_CLASSES.values())
    if not isinstance(node, Widget):
        return ()
    return node.mouse_hover, node.has_focus, node.disabled, node.allow_focus()


@lru_cache(maxsize=4)
def _parsed(variables: frozenset[tuple[str, str]]) -> dict[tuple[Any, ...], list[RuleSet]]:
    """What was parsed with these variables, for every sheet of this process."""
    del variables
    return {}


@cache
def _component_names(kind: type[DOMNode]) -> frozenset[str]:
    return kind._get_component_classes()


@lru_cache(maxsize=4096)
def _candidates_of(rule: RuleSet) -> tuple[_Candidate, ...]:
    """Each selector of a rule."""
    found = []
    for selector_set in rule.selector_set:
        selectors = selector_set.selectors
        start = len(selectors) - 1
        while start > 0 and selectors[start].combinator is CombinatorType.SAME:
            start -= 1
        rest = start > 0 or selectors[0].combinator is not CombinatorType.DESCENDENT
        entries = rule.styles.extract_rules(selector_set.specificity, rule.is_default_rules, rule.tie_breaker)
        found.append(_Candidate(tuple(selectors[start:]), rest, selectors, entries))
    return tuple(found)


def _merge(matching: Iterable[Sequence[tuple[str, Specificity6, Any]]]) -> RulesMap:
    """Of each property the value with the highest specificity; the first of equal ones."""
    given: dict[str, list[tuple[Specificity6, Any]]] = defaultdict(list)
    for entries in matching:
        for name, specificity, value in entries:
            given[name].append((specificity, value))
    rules: dict[str, object] = {}
    for name, values in given.items():
        value = max(values, key=_FIRST)[1]
        rules[name] = _initial(name, values) if value is None else value
    return cast("RulesMap", rules)


def _initial(name: str, values: list[tuple[Specificity6, Any]]) -> object:
    """What a property set to `initial` is: in the app's own style the default style's value, there Textual's."""
    defaults = [one for one in values if not one[0][0]]
    if len(defaults) == len(values):
        return cast("object", getattr(_DEFAULT_STYLES, name))
    return max(defaults, key=_FIRST)[1] if defaults else None
