from __future__ import annotations

import pytest

from finetune_core.data.assemble import rows_hash
from finetune_core.data.checks.findings.checker import Checker
from finetune_core.data.checks.findings.fixes import apply, fixed
from finetune_core.data.checks.findings.report import Report
from finetune_core.data.rows import Conversation, Message, Preference, Text, UnpairedPreference
from finetune_core.errors import FtError, Problem


def row(number: int, question: str, answer: str) -> Conversation:
    return Conversation(number, (Message("user", question), Message("assistant", answer)))


ROWS = [
    row(1, "One?", "First."),
    row(2, "Two?", "Hello {{name}}."),
    row(3, "Three?", " Pa\u200bris.<|im_end|>\n"),
    row(4, "One?", "First."),
    row(5, "Five?", "Key AKIAZ9Y8Z9Y8Z9Y8Z9Y8, for {{user}}."),
    row(6, "Six?", "<|im_end|>"),
    row(7, "Seven?", "Fine."),
]


def report(*rows: Conversation) -> Report:
    checker = Checker()
    for one in rows or ROWS:
        checker.add(one)
    return checker.finish()


def texts(rows: list[Conversation]) -> dict[int, str]:
    return {one.number: one.messages[-1].content for one in rows}


def test_without_fixes_nothing_changes_and_nothing_is_left_out() -> None:
    used, left_out = apply(ROWS, report(), {"placeholder": "keep"})
    assert list(used) == ROWS
    assert not len(left_out)
    assert fixed(ROWS, {})[0] == ROWS


def test_each_row_left_out_is_recorded_with_its_kind() -> None:
    used, left_out = apply(ROWS, report(), {"exact-duplicate": "drop", "placeholder": "drop", "secret": "drop"})
    assert [one.number for one in used] == [1, 3, 6, 7]
    assert dict(left_out).keys() == {2, 4, 5}
    assert dict(left_out)[2] == "placeholder"
    assert dict(left_out)[4] == "exact-duplicate"
    assert sum(map(len, left_out.to_json().values())) == 3


def test_trimming_takes_off_what_was_asked_for_and_no_more() -> None:
    both, _ = apply(ROWS, report(), {"invisible-characters": "trim", "template-tokens": "trim"})
    assert texts(list(both))[3] == "Paris."
    marks, _ = apply(ROWS, report(), {"template-tokens": "trim"})
    assert texts(list(marks))[3] == "Pa\u200bris."
    unseen, _ = apply(ROWS, report(), {"invisible-characters": "trim"})
    assert texts(list(unseen))[3] == "Paris.<|im_end|>"


def test_a_row_that_trimming_would_leave_without_an_answer_stays_as_it_was() -> None:
    used, _ = apply(ROWS, report(), {"template-tokens": "trim"})
    assert texts(list(used))[6] == "<|im_end|>"


def test_what_was_trimmed_is_not_found_again() -> None:
    fixes = {"invisible-characters": "trim", "template-tokens": "trim", "bidi-override": "trim"}
    rows = [row(1, "\u202eOne?", "A\u00adb\U000e0041."), row(2, "<s>Two?", "B.</s><|eot_id|> ")]
    used, left_out, _ = fixed(rows, fixes)
    assert left_out == []
    assert {one.kind.name for one in report(*used).findings} == {"few-rows"}


def test_flags_and_joined_emoji_survive_trimming() -> None:
    scotland = "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
    used, _, _ = fixed([row(1, "Q?", f"{scotland}\u200b {family}\ufe0f.")], {"invisible-characters": "trim"})
    assert used[0].messages[1].content == f"{scotland} {family}\ufe0f."


def test_merging_joins_neighbours_of_one_role() -> None:
    turns = (Message("user", "a"), Message("user", "b"), Message("assistant", "c"))
    checker = Checker()
    checker.add_problem(1, Problem("two user turns meet", "x:1", "order", "merge", kind="role-order"))
    used, _ = apply([Conversation(1, turns)], checker.finish(), {"role-order": "merge"})
    assert [turn.content for turn in next(used).messages] == ["a\n\nb", "c"]


def test_every_kind_of_row_can_be_trimmed() -> None:
    user, good, bad = (Message("user", "q\u200b"),), (Message("assistant", "a\u200b"),), (Message("assistant", "b"),)
    used, _, _ = fixed(
        [Text(1, "x\u200b y"), Preference(2, user, good, bad), UnpairedPreference(3, user, good, label=True)],
        {"invisible-characters": "trim"},
    )
    assert used == [
        Text(1, "x y"),
        Preference(2, (Message("user", "q"),), (Message("assistant", "a"),), bad),
        UnpairedPreference(3, (Message("user", "q"),), (Message("assistant", "a"),), label=True),
    ]


def test_a_fix_that_is_not_known_is_refused_before_any_row_is_touched() -> None:
    with pytest.raises(FtError, match="no kind of finding"):
        apply(ROWS, report(), {"nonsense": "drop"})


def test_the_hash_of_used_rows_tells_content_and_order() -> None:
    used, _ = apply(ROWS, report(), {"placeholder": "drop"})
    kept = list(used)
    assert rows_hash(kept) == rows_hash(list(kept))
    assert len({rows_hash(kept), rows_hash(ROWS), rows_hash(kept[::-1]), rows_hash(kept[:-1])}) == 4
