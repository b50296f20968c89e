from __future__ import annotations

import random
from collections.abc import Iterable

from finetune_core.data.checks.findings.checker import Checker
from finetune_core.data.checks.findings.report import Finding
from finetune_core.data.rows import CanonicalRow, Conversation, Message, Preference, UnpairedPreference
from finetune_core.errors import Problem

WORDS = "river hill brook ship north plain winter stone field bridge tower market garden window letter silver".split()  # noqa: SIM905


def row(number: int, question: str, answer: str) -> Conversation:
    return Conversation(number, (Message("user", question), Message("assistant", answer)))


def prose(seed: int, count: int = 90) -> list[str]:
    found = random.Random(seed)
    return [found.choice(WORDS) + str(found.randint(0, 99)) for _ in range(count)]


def check(rows: Iterable[CanonicalRow]) -> dict[str, Finding]:
    checker = Checker()
    for one in rows:
        checker.add(one)
    return {finding.kind.name: finding for finding in checker.findings()}


def distinct(count: int, start: int = 1) -> list[Conversation]:
    return [row(n, f"Question {n}?", " ".join(prose(n)) + ".") for n in range(start, start + count)]


def test_rows_that_are_all_different_raise_nothing() -> None:
    assert check(distinct(250)) == {}


def test_the_same_row_again_is_a_duplicate_of_the_first() -> None:
    rows = distinct(220)
    found = check([*rows, row(221, "Question 7?", " ".join(prose(7)) + ".")])
    assert list(found) == ["exact-duplicate"]
    assert list(found["exact-duplicate"].rows) == [221]
    assert "as row 7" in found["exact-duplicate"].examples[0].excerpt


def test_a_row_with_few_words_changed_is_nearly_a_duplicate() -> None:
    words = prose(7)
    words[40] = "another"
    found = check([*distinct(220), row(221, "Question 7, again?", " ".join(words) + ".")])
    assert list(found) == ["near-duplicate"]
    assert "nearly row 7" in found["near-duplicate"].examples[0].excerpt


def test_one_question_with_two_answers_is_a_contradiction() -> None:
    found = check([*distinct(220), row(221, " question 9? ", "No."), row(222, "Question 221?", "Yes.")])
    assert list(found["contradiction"].rows) == [221]


def test_rows_far_longer_or_in_another_script_are_told() -> None:
    long = row(221, "Question 221?", " ".join(prose(5, 9000)) + ".")
    other = row(
        222, "Question 222?", "\u0420\u0435\u043a\u0430 \u0442\u0435\u0447\u0451\u0442 \u0432 \u043c\u043e\u0440\u0435."
    )
    found = check([*distinct(220), long, other])
    assert list(found["length-outlier"].rows) == [221]
    assert list(found["language-mix"].rows) == [222]
    assert "Cyrillic" in found["language-mix"].examples[0].excerpt


def test_few_rows_are_said_to_be_few() -> None:
    found = check(distinct(40))
    assert "40 rows" in found["few-rows"].words
    assert not found["few-rows"].rows


def test_pairs_that_prefer_length_and_labels_of_one_kind_are_told() -> None:
    prompt = (Message("user", "q"),)
    pairs = [
        Preference(
            n, (Message("user", f"q{n}"),), (Message("assistant", "good " * 9),), (Message("assistant", f"b{n}"),)
        )
        for n in range(1, 61)
    ]
    assert "100 %" in check(pairs)["length-bias"].words
    labelled = [
        UnpairedPreference(n, prompt, (Message("assistant", f"answer {n}"),), label=n > 3) for n in range(1, 61)
    ]
    assert check(labelled)["label-imbalance"].words == "57 good and 3 bad answers"


def test_held_out_rows_that_are_learnt_too_are_leaks() -> None:
    checker = Checker()
    for one in distinct(30):
        checker.add(one)
    words = prose(5)
    words[3] = "another"
    held_out = [row(1, "Question 4?", " ".join(prose(4)) + "."), row(2, "Question 5?", " ".join(words) + ".")]
    found = {finding.kind.name: list(finding.rows) for finding in checker.leakage(iter([*held_out, *distinct(5, 500)]))}
    assert found == {"leakage-exact": [1], "leakage-near": [2]}


def test_rows_that_could_not_be_read_are_counted_by_kind_and_the_gravest_come_first() -> None:
    checker = Checker()
    for one in distinct(10):
        checker.add(one)
    checker.add(row(11, "Question 11?", "I cannot assist with this."))
    checker.add_problem(
        12, Problem("two user turns meet", "rows.jsonl:12", "order", "merge", kind="role-order", field="turn 2")
    )
    checker.add_problem(13, Problem("the row is not JSON", "rows.jsonl:13", "x", "mend"))
    found = checker.findings()
    assert [finding.kind.severity for finding in found] == ["error", "error", "warning", "note"]
    told = {one["kind"]: one for one in (finding.to_json() for finding in found)}
    assert told["role-order"]["examples"] == [{"row": 12, "field": "turn 2", "excerpt": "two user turns meet: order"}]
    assert "merge" in str(told["role-order"]["fix"])
    assert told["unreadable-row"]["count"] == 1


def test_what_is_personal_is_masked_whatever_the_finding_shows_it() -> None:
    text = "Mail jane.roe@acme-corp.com or +49 30 901820 77, key sk-abcdefghijklmnopqrstuvwx"
    found = check([row(1, text, "Yes."), row(2, text, "Yes."), row(3, text, "No.")])
    shown = " ".join(example.excerpt for finding in found.values() for example in finding.examples)
    assert "exact-duplicate" in found
    assert not any(part in shown for part in ("jane", "901820", "abcdefgh"))


def test_hostile_excerpts_are_harmless() -> None:
    found = check([row(1, "Why?", "\x1b]52;c;x\x07 \u202e")])
    assert all("\x1b" not in example.excerpt for finding in found.values() for example in finding.examples)
