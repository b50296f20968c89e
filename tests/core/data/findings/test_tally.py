from __future__ import annotations

import json

import pytest

from finetune_core.data.checks.findings.tally import Tally
from finetune_core.data.rows import Conversation, Message, Preference, Text

ASKED, ANSWER = Message("user", "a"), Message("assistant", "b")


def test_rows_are_counted_by_turns_and_turns_by_role_in_parts_too() -> None:
    one, other = Tally(), Tally()
    one.add(Conversation(1, (Message("system", "s"), ASKED, ANSWER)))
    one.add(Conversation(2, (ASKED, ANSWER)))
    other.add(Preference(1, (ASKED,), (ANSWER,), (ANSWER,)))
    other.add(Text(2, "words"))
    one.merge(other)
    assert one.to_json() == {"turns": {"0": 1, "2": 2, "3": 1}, "roles": {"user": 3, "assistant": 3, "system": 1}}
    again = Tally.from_json(json.loads(json.dumps(one.to_json())))
    assert (again.turns, again.roles) == (one.turns, one.roles)


@pytest.mark.parametrize(
    ("turns", "groups"),
    [
        ({2: 5, 4: 1}, [("2", 5), ("4", 1)]),
        (
            dict.fromkeys(range(1, 41), 1),
            [("0 to 1", 1), ("2", 1), ("3 to 4", 2), ("5 to 8", 4), ("9 to 16", 8), ("17 or more", 24)],
        ),
        ({}, []),
    ],
)
def test_many_numbers_of_turns_are_told_in_groups(turns: dict[int, int], groups: list[tuple[str, int]]) -> None:
    assert Tally(turns).turn_groups() == groups
