"""How a field of the recipe is declared: help, unit, range and place in the form, all where it is defined."""

from __future__ import annotations

from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo

AUTO = "auto"
# What an optional field without a value is called, in a file, in the form and on the command line; a file of that name
# is `./none`.
EMPTY = "none"


def _auto_to_none(value: object) -> object:
    return None if value == AUTO else value


def _none_to_auto(value: object) -> object:
    return AUTO if value is None else value


# A value the program chooses, with a reason, unless the user gives one. `auto` in YAML, None in Python.
type_auto_in = BeforeValidator(_auto_to_none)
type_auto_out = PlainSerializer(_none_to_auto)
AutoInt = Annotated[int | None, type_auto_in, type_auto_out]
AutoFloat = Annotated[float | None, type_auto_in, type_auto_out]
AutoBool = Annotated[bool | None, type_auto_in, type_auto_out]
AutoStr = Annotated[str | None, type_auto_in, type_auto_out]

Level = Literal["first", "advanced"]
Kind = Literal["text", "choice", "switch", "number", "value"]


class Section(BaseModel):
    """A group of fields of the recipe. Unknown keys are refused; values are never converted in silence."""

    # Whether a run that goes on may have other values here than it began with; a field may say so of itself.
    may_change: ClassVar[bool] = False

    model_config = ConfigDict(
        extra="forbid", strict=True, allow_inf_nan=False, validate_assignment=True, ser_json_inf_nan="strings"
    )

    @model_validator(mode="before")
    @classmethod
    def _empty_to_none(cls, values: object) -> object:
        if not isinstance(values, dict) or EMPTY not in values.values():
            return values
        optional = {name for name, info in cls.model_fields.items() if is_optional(info)}
        return {name: None if value == EMPTY and name in optional else value for name, value in values.items()}


def setting(
    default: Any,  # noqa: ANN401 - pydantic's Field takes any default
    help: str,  # noqa: A002 - the word the form, --help and the YAML comment use
    *,
    unit: str = "",
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    level: Level = "advanced",
    names_file: bool = False,
    shapes_step: bool = False,
    may_change: bool = False,
    methods: tuple[str, ...] = (),
) -> Any:  # noqa: ANN401 - as pydantic's Field
    """A recipe field: its default, one sentence of help, its unit, its range, where the form shows it, and its facts.

    The facts are those of `FieldGuide`.
    """
    bounds: dict[str, Any] = {
        name: bound for name, bound in (("ge", ge), ("gt", gt), ("le", le), ("lt", lt)) if bound is not None
    }
    extra: JsonDict = {"unit": unit, "level": level, "methods": list(methods)}
    extra |= {"names_file": names_file, "shapes_step": shapes_step, "may_change": may_change}
    if callable(default):
        return Field(default_factory=default, description=help, json_schema_extra=extra, **bounds)
    return Field(default, description=help, json_schema_extra=extra, **bounds)


@dataclass(frozen=True)
class FieldGuide:
    """What a person and the program need to know of one field, taken from its definition.

    `names_file`: a value may be the path of a file or folder. `shapes_step`: it decides what a step allocates, so a
    traced step is kept under it. `may_change`: a run that goes on may have another value than it began with. `methods`
    are the methods of training it is for; empty where it is for all of them.
    """

    path: str
    kind: Kind
    help: str
    unit: str
    range: str
    choices: tuple[str, ...]
    level: Level
    default: object
    takes_auto: bool
    optional: bool
    names_file: bool = False
    shapes_step: bool = False
    may_change: bool = False
    methods: tuple[str, ...] = ()


def guide_of(path: str, info: FieldInfo, section: type[Section] = Section) -> FieldGuide:
    """Read a field's guide from its pydantic definition in a section."""
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    return FieldGuide(
        path=path,
        kind=_kind(info.annotation),
        help=info.description or "",
        unit=str(extra.get("unit", "")),
        range=_range_text(info),
        choices=_choices(info.annotation),
        level="first" if extra.get("level") == "first" else "advanced",
        default=info.get_default(call_default_factory=True),
        takes_auto=_takes_auto(info),
        optional=is_optional(info),
        names_file=bool(extra.get("names_file")),
        shapes_step=bool(extra.get("shapes_step")),
        may_change=section.may_change or bool(extra.get("may_change")),
        methods=_names(extra.get("methods")),
    )


def _names(found: object) -> tuple[str, ...]:
    return tuple(map(str, found)) if isinstance(found, list) else ()


def is_optional(info: FieldInfo) -> bool:
    """Whether a field may be left empty; one on auto is not empty."""
    takes_none = get_origin(info.annotation) in (UnionType, Union) and NoneType in get_args(info.annotation)
    return takes_none and not _takes_auto(info)


def _takes_auto(info: FieldInfo) -> bool:
    return any(item is type_auto_in for item in info.metadata)


def _range_text(info: FieldInfo) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    found = [
        f"{sign} {_bound_text(getattr(item, name))}"
        for item in info.metadata
        for name, sign in signs.items()
        if getattr(item, name, None) is not None
    ]
    return " and ".join(found)


def _bound_text(bound: float) -> str:
    return f"{bound:,.0f}" if bound == int(bound) else f"{bound:g}"


def _kind(annotation: object) -> Kind:
    """How a value is typed and shown: free text, one of some choices, a switch, a number, or any YAML value."""
    plain = _members(annotation)
    if any(get_origin(member) is Literal for member in plain):
        return "choice"
    if plain == {bool}:
        return "switch"
    if plain <= {int, float}:
        return "number"
    return "text" if plain == {str} else "value"


def _members(annotation: object) -> set[object]:
    """The types a field can hold, without None and without the constraints around them."""
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in (UnionType, Union):
        return {member for part in get_args(annotation) if part is not NoneType for member in _members(part)}
    return {annotation}


def _choices(annotation: object) -> tuple[str, ...]:
    if get_origin(annotation) is Literal:
        return tuple(str(choice) for choice in get_args(annotation))
    return ("true", "false") if _kind(annotation) == "switch" else ()
