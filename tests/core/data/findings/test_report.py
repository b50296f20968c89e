from __future__ import annotations

import json
import pickle
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from finetune_core.data.checks.findings.checker import Checker
from finetune_core.data.checks.findings.compare import leakage
from finetune_core.data.checks.findings.report import Report
from finetune_core.data.checks.findings.row_texts import Facts
from finetune_core.data.rows import (
    CanonicalRow,
    Conversation,
    Message,
    Preference,
    PromptOnly,
    Text,
    UnpairedPreference,
)
from finetune_core.errors import Problem

WORDS = [f"{stem}{end}" for stem in ("riv", "hill", "brook", "ship", "plain", "stone", "field") for end in "aeiou"]


def prose(seed: str, count: int = 90) -> list[str]:
    chance = random.Random(seed)
    return [chance.choice(WORDS) + str(chance.randint(0, 99)) for _ in range(count)]


def row(number: int, question: str, answer: str) -> Conversation:
    return Conversation(number, (Message("user", question), Message("assistant", answer)))


def planted() -> list[Conversation]:
    rows = [row(n, f"Question {n}?", " ".join(prose(f"{n}")) + ".") for n in range(1, 251)]
    near = prose("11")
    near[40] = "other"
    rows.append(replace(rows[6], number=251))
    rows.append(row(252, "Question 11, again?", " ".join(near) + "."))
    rows.append(row(253, "question  20? ", "Something else."))
    rows.append(row(254, "Mail?", "To jane@doe-family.org."))
    rows.append(row(255, "Long?", " ".join(prose("l", 9000)) + "."))
    return rows


def checked(rows: Sequence[CanonicalRow], seed: int = 0) -> Checker:
    checker = Checker(seed=seed)
    for one in rows:
        checker.add(one)
    return checker


def found(report: Report) -> dict[str, list[int]]:
    return {one.kind.name: list(one.rows) for one in report.findings}


EXPECTED = {
    "exact-duplicate": [251],
    "near-duplicate": [252],
    "contradiction": [253],
    "personal-data": [254],
    "length-outlier": [255],
}


def test_each_planted_fault_is_found_with_its_row_and_nothing_else() -> None:
    report = checked(planted()).finish()
    assert found(report) == EXPECTED
    assert report.rows == 255
    assert report.groups == {7: 7, 251: 7, 11: 11, 252: 11}


@pytest.mark.parametrize("cut", [1, 100, 251, 254])
def test_parts_looked_at_in_other_processes_give_the_same_report(cut: int) -> None:
    rows = planted()
    whole, first = checked(rows), checked(rows[:cut])
    second = checked([replace(one, number=one.number - cut) for one in rows[cut:]])
    for checker, number in ((whole, 256), (second, 256 - cut)):
        checker.add_problem(number, Problem("two user turns meet", "x", "order", "merge", kind="role-order"))
    first.merge(pickle.loads(pickle.dumps(second)), cut)
    assert first.finish().to_json(all_rows=True) == whole.finish().to_json(all_rows=True)
    assert first.finish().groups == whole.finish().groups


def test_a_report_can_be_asked_for_at_any_time_and_rows_added_afterwards() -> None:
    rows = planted()
    checker = checked(rows[:200])
    checker.finish()
    for one in rows[200:]:
        checker.add(one)
    assert found(checker.finish()) == EXPECTED


def test_sketches_of_two_seeds_are_not_mixed() -> None:
    with pytest.raises(ValueError, match="seeds"):
        checked(planted()[:3]).merge(checked(planted()[3:6], seed=1))


def test_a_report_comes_back_from_its_json() -> None:
    report = checked(planted()).finish()
    again = Report.from_json(json.loads(json.dumps(report.to_json(all_rows=True))))
    assert found(again) == EXPECTED
    assert again.to_json() == report.to_json()
    short = Report.from_json(json.loads(json.dumps(report.to_json())))
    assert [one.count for one in short.findings] == [one.count for one in report.findings]


def test_rows_are_kept_all_and_examples_twenty() -> None:
    report = checked([row(n, f"Q{n}?", f"{{{{name}}}} {n}.") for n in range(1, 301)]).finish()
    placeholder = report.get("placeholder")
    assert placeholder is not None
    assert list(placeholder.rows) == list(range(1, 301))
    assert [one.row for one in placeholder.examples] == list(range(1, 21))
    assert placeholder.examples[0].field == "messages[1]"


def test_rows_nearly_the_same_are_found_in_scripts_without_blanks() -> None:
    chance = random.Random(1)
    signs = ["".join(chr(0x4E00 + chance.randint(0, 3000)) for _ in range(200)) for _ in range(30)]
    rows = [row(n, f"\u95ee{n}", text) for n, text in enumerate(signs, start=1)]
    rows.append(row(31, "\u95ee31", signs[4][:100] + "\u4e00" + signs[4][101:]))
    assert found(checked(rows).finish())["near-duplicate"] == [31]


def test_likeness_is_measured_by_shared_triples_of_words() -> None:
    def changed(count: int) -> list[str]:
        words = prose("base", 300)
        for place in range(count):
            words[place * 300 // count] = f"new{place}"
        return words

    base = Text(1, " ".join(prose("base", 300)))
    # A changed word changes three triples of 298: shared / all is 0.94 for 3, and 0.54 for 30.
    assert "near-duplicate" in found(checked([base, Text(2, " ".join(changed(3)))]).finish())
    assert "near-duplicate" not in found(checked([base, Text(2, " ".join(changed(30)))]).finish())


def test_short_rows_are_nearly_the_same_only_but_for_case_and_blanks() -> None:
    rows = [
        row(1, "What is 1 + 2?", "It is 3."),
        row(2, "what is 1 +  2?", "It is 3."),
        row(3, "What is 1 - 2?", "It is 3."),
    ]
    assert found(checked(rows).finish())["near-duplicate"] == [2]


def test_rows_told_apart_by_tools_or_label_only_are_no_duplicates() -> None:
    one = row(1, "Weather?", "Sunny.")
    tools = ({"type": "function", "function": {"name": "weather"}},)
    assert found(checked([one, replace(one, number=2, tools=tools)]).finish()) == {"few-rows": []}
    prompt, answer = (Message("user", "q"),), (Message("assistant", "a"),)
    labelled = [UnpairedPreference(1, prompt, answer, label=True), UnpairedPreference(2, prompt, answer, label=False)]
    assert found(checked(labelled).finish()) == {"contradiction": [2], "few-rows": []}


def test_a_pair_and_its_reverse_contradict() -> None:
    prompt, good, bad = (Message("user", "q"),), (Message("assistant", "a"),), (Message("assistant", "b"),)
    rows = [Preference(1, prompt, good, bad), Preference(2, prompt, bad, good)]
    assert found(checked(rows).finish())["contradiction"] == [2]


def test_prompts_alone_cannot_contradict() -> None:
    rows = [PromptOnly(n, (Message("user", f"Question {n % 2}?"),), {"answer": n}) for n in (1, 2, 3)]
    assert found(checked(rows).finish()) == {"exact-duplicate": [3], "few-rows": []}


def test_answers_that_all_stop_at_the_greatest_length_were_cut() -> None:
    rows = [row(n, f"Question {n}?", " ".join(prose(f"{n}", 90))[:400].ljust(400, "x")) for n in range(1, 9)]
    assert found(checked(rows).finish())["cut-answer"] == list(range(1, 9))
    ended = [row(n, f"Question {n}?", " ".join(prose(f"{n}", 90))[:399] + ".") for n in range(1, 9)]
    assert "cut-answer" not in found(checked(ended).finish())


def test_leaks_are_told_exact_near_and_by_the_question() -> None:
    train, held_out = Facts(), Facts()
    rows = planted()[:250]
    near = prose("30")
    near[50] = "other"
    for one in rows:
        train.add(one)
    for one in (
        replace(rows[2], number=1),
        row(2, "Question 30?", " ".join(near) + "."),
        row(3, "QUESTION 40?", "Another answer."),
        row(4, "Question 999?", "New."),
    ):
        held_out.add(one)
    told = leakage(train, held_out)
    assert {one.kind.name: list(one.rows) for one in told} == {"leakage-exact": [1], "leakage-near": [2, 3]}
    assert "row 3 to learn from: Question 3?" in told[0].examples[0].excerpt
    assert "the question of row 40" in told[1].examples[1].excerpt


def test_many_copies_of_nearly_one_row_leave_the_first_only() -> None:
    words = prose("copy", 200)
    rows = []
    for number in range(1, 401):
        changed = list(words)
        changed[number % 200] = f"other{number}"
        rows.append(Text(number, " ".join(changed)))
    near = checked(rows).finish().get("near-duplicate")
    assert near is not None
    assert near.count >= 395
    assert 1 not in near.rows


def test_rows_of_fifty_are_enough_to_find_one_in_another_script() -> None:
    rows = [row(n, f"Q{n}?", " ".join(prose(f"{n}"))) for n in range(1, 60)]
    rows.append(row(60, "Q60?", "\u8fd9\u662f\u4e00\u4e2a\u5173\u4e8e\u6cb3\u6d41\u7684\u6545\u4e8b\u3002"))
    assert found(checked(rows).finish())["language-mix"] == [60]
