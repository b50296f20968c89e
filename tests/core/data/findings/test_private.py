from __future__ import annotations

import time

import pytest

from finetune_core.data.checks.findings.checker import Checker
from finetune_core.data.checks.findings.personal import hidden, personal, secrets
from finetune_core.data.rows import Conversation, Message, ToolCall

KEY = "sk-ant-api03-" + "aB3dE6gH9j" * 3
MAIL, CARD, PHONE = "jane.doe@mail-of-jane.org", "4539 1488 0343 6467", "+49 30 901820 77"


@pytest.mark.parametrize(
    "text",
    [
        "+1-555-123-4567", "415-867-5309", "+33 6 12 34 56 78", "3782 822463 10005", "5555-5555-5555-4444",
        "GB82WEST12345698765432", "NL91 ABNA 0417 1643 00", "2a02:8109:9440:1e00::7", "81.169.145.78:80", MAIL,
    ],
)  # fmt: skip
def test_what_belongs_to_a_person_is_found_in_the_middle_of_words(text: str) -> None:
    assert len(list(personal(f"So it is ({text}), he says."))) == 1


@pytest.mark.parametrize(
    "text",
    [
        KEY, "hf_" + "aB3d" * 9, "AKIA" + "Z9Y8" * 4, "ghp_" + "aB3dE6" * 6, "xoxb-123456789012-abcdefGHIJ",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.c2lnbmF0dXJlMTIz", "-----BEGIN PRIVATE KEY-----\nMIIEvQ==",
    ],
)  # fmt: skip
def test_keys_are_found_in_the_middle_of_words(text: str) -> None:
    assert len(list(secrets(f'export A="{text}" # mine'))) == 1


def test_nothing_private_is_shown_by_any_finding_nor_kept_to_know_a_row_by() -> None:
    texts = [f"{secret} " * 3 + "{{name}} <|im_end|> [INSERT]" for secret in (KEY, MAIL, CARD, PHONE)]
    calls = (ToolCall("send", {"to": MAIL, "key": KEY}),)
    turns = [(Message("user", text), Message("assistant", text, tool_calls=calls)) for text in texts]
    checker = Checker()
    for number, pair in enumerate([*turns, *turns], start=1):
        checker.add(Conversation(number, pair))
    report = checker.finish()
    assert report.get("exact-duplicate") is not None
    shown = " ".join(one.excerpt for found in report.findings for one in found.examples) + str(checker.facts.beginnings)
    for part in ("aB3dE6gH9j", "jane.doe", "1488", "901820"):
        assert part not in shown
    assert hidden(f"a {MAIL} b {KEY}") == "a ja***rg b sk***9j"


@pytest.mark.parametrize(
    "sign",
    ["1", "1 ", "a@", "sk-", "sk-a-", "eyJa.", "+1 (", "{{", "[INSERT", "`", "<s>", "\u00c3", "2a02:", "a1.b-@c."],
)
def test_a_hostile_text_costs_no_more_than_its_length(sign: str) -> None:
    checker, start = Checker(), time.process_time()
    checker.add(Conversation(1, (Message("user", "a"), Message("assistant", sign * (400_000 // len(sign))))))
    assert time.process_time() - start < 5
