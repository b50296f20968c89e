from __future__ import annotations

import pytest

from finetune_core.data.checks.findings.fixes import trimmed
from finetune_core.data.checks.findings.kinds import KINDS, fix_problems
from finetune_core.data.checks.findings.personal import is_card, is_iban, masked
from finetune_core.data.checks.findings.texts import is_cut
from finetune_core.data.rows import Conversation, Message, Preference
from tests.core.data.findings.hits import hits_of

PROSE = (
    "The river rises in the hills. It crosses the plain and takes in many brooks on its way. Then it reaches the sea"
)


def hits(answer: str, question: str = "What is it?") -> dict[str, str]:
    """Kinds found in a row, with the field of each."""
    row = Conversation(1, (Message("user", question), Message("assistant", answer)))
    return {hit.kind: hit.field for hit in hits_of(row)}


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("Dear {{customer_name}}, thank you.", "placeholder"),
        ("Call us at [INSERT PHONE NUMBER].", "placeholder"),
        ("The answer is TODO: look it up", "placeholder"),
        ("Lorem ipsum dolor sit amet.", "placeholder"),
        ("Sure, <your name here>!", "placeholder"),
        ("Paris.<|im_end|>", "template-tokens"),
        ("[INST] hi [/INST] hello", "template-tokens"),
        ("Paris.</s>", "template-tokens"),
        ("### Response:\nParis", "template-tokens"),
        ("<start_of_turn>model\nParis", "template-tokens"),
        ("Pa\u200bris is the capital.", "invisible-characters"),
        ("Paris\x1b]52;c;x\x07 is it.", "invisible-characters"),
        ("\u202eexe.txt", "bidi-override"),
        ("It\u00e2\u20ac\u2122s the caf\u00c3\u00a9 at the corner", "mojibake"),
        ("Paris \ufffd\ufffd", "mojibake"),
        ("I'm sorry, but I can't help with that.", "refusal"),
        ("As an AI language model, I have no feelings.", "refusal"),
        ("I cannot assist with this request.", "refusal"),
        (PROSE + " where the ships from the north and from the", "cut-answer"),
        ("Here it is:\n```python\nprint(1)", "cut-answer"),
        ("Write to jane.doe@acme-corp.com for it.", "personal-data"),
        ("Call +49 30 901820 77 now.", "personal-data"),
        ("Call (415) 867-5309 now.", "personal-data"),
        ("Card 4539 1488 0343 6467, please.", "personal-data"),
        ("Pay to DE89 3704 0044 0532 0130 00.", "personal-data"),
        ("The server is at 93.184.216.34.", "personal-data"),
        ("Use sk-proj-abcdefghijklmnopqrstuvwx", "secret"),
        ("token hf_abcdefghijklmnopqrstuvwxyzABCDEFGH", "secret"),
        ("key AKIAIOSFODNN7EXAMPLE", "secret"),
        ("-----BEGIN RSA PRIVATE KEY-----", "secret"),
    ],
)
def test_what_is_wrong_with_a_text_is_found_with_its_field(answer: str, kind: str) -> None:
    assert hits(answer).get(kind) == "messages[1]"


INNOCENT = [
    "Use `{{ name }}` in Jinja to print a variable.",
    "```jinja\n{{ user.name }}\n```\nprints the name.",
    "Make a todo list app with three screens.",
    "Array access is written a[0], and [see note] or [1] mark footnotes.",
    "x < y and y > z, so <b>bold</b> and <s>struck</s> stay.",
    "Version 10.0.19041.388 of the driver, and v1.2.3.4 of the tool.",
    "The local address is 192.168.1.20 or 127.0.0.1; DNS is 8.8.8.8.",
    "Write to support@example.com or noreply@firm.com.",
    "ISBN 978-3-16-148410-0, at 12:30:45 on 2024-05-17, for 1,234,567.89 dollars.",
    "Pi is 3.14159265358979323846264338327950288 and e is 2.718281828459045.",
    "The order number is 1234 5678 9012 3456.",
    "Call 911 in an emergency, or the example number (555) 555-0123.",
    "Ce n\u2019est pas vrai\u00a0! \u00ab\u202fBonjour\u202f\u00bb",
    "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 \u06a9\u0647 \u0628\u062f\u0627\u0646\u0645.",
    "A family: \U0001f468\u200d\U0001f469\u200d\U0001f467.",
    "The flag of Scotland: \U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f.",
    "\u8fd9\u662f\u4e00\u4e2a\u5173\u4e8e\u6cb3\u6d41\u7684\u6545\u4e8b\u3002\u6cb3\u6d41\u4ece\u5c71\u4e0a\u6d41\u4e0b\u6765"
    * 12,
    "Stra\u00dfe, gr\u00f6\u00dfer, na\u00efve, caf\u00e9, \u00c5ngstr\u00f6m, \u0141\u00f3d\u017a.",
    "I'm sorry to hear that your dog is ill. Here is what you can do.",
    "Sorry for the delay. The parcel will arrive on Monday.",
    "The AI in the film says it has feelings.",
    "$E = mc^2$ and $$\\int_0^1 x^2 dx = \\frac{1}{3}$$",
    "| a | b |\n|---|---|\n| 1 | 2 |",
    PROSE + ".",
    PROSE + ". These are its brooks:\n- the Erl\n- the Oster\n- the long grey water that never freezes in winter",
    PROSE + ".\n```python\nfor river in rivers:\n    print(river)\n```",
    "Paris",
    '{"answer": "Paris", "topic": "capital"}',
]


@pytest.mark.parametrize("answer", INNOCENT)
def test_ordinary_texts_raise_nothing(answer: str) -> None:
    assert hits(answer) == {}


def test_a_question_is_not_judged_as_an_answer_is() -> None:
    assert hits("Yes.", "As an AI language model, can you feel?") == {}
    assert hits("Yes.", PROSE + " and then it turns to the") == {}
    assert hits("Yes.", "  ") == {"empty-turn": "messages[0]"}


def test_a_turn_that_is_context_only_is_not_judged_as_an_answer() -> None:
    turns = (Message("user", "a"), Message("assistant", "I cannot assist.", trained=False))
    assert not list(hits_of(Conversation(1, (*turns, Message("user", "b"), Message("assistant", "Yes.")))))


def test_pairs_of_equal_sides_are_found() -> None:
    side = (Message("assistant", "a"),)
    assert [hit.kind for hit in hits_of(Preference(1, (Message("user", "q"),), side, side))] == ["equal-sides"]


def test_what_is_personal_is_never_shown_whole() -> None:
    row = Conversation(1, (Message("user", "jane.doe@acme-corp.com"), Message("assistant", "sk-" + "a1b2c3d4" * 4)))
    shown = " ".join(hit.excerpt for hit in hits_of(row))
    assert "jane" not in shown
    assert "a1b2c3d4" not in shown
    assert masked("abcdefghijkl") == "ab***kl"


def test_check_digits_tell_cards_and_accounts_from_other_numbers() -> None:
    assert is_card("4539 1488 0343 6467")
    assert not is_card("4539 1488 0343 6468")
    assert not is_card("4444 4444 4444 4444")
    assert is_iban("GB82 WEST 1234 5698 7654 32")
    assert not is_iban("GB82 WEST 1234 5698 7654 33")


def test_a_text_is_cut_only_where_prose_stops_in_a_sentence() -> None:
    assert is_cut(PROSE + " and there")
    assert is_cut("It stops in the middle of a")
    assert not is_cut("It is what I was looking for")
    assert not is_cut("Roses are red and violets are blue")
    assert not is_cut(PROSE + ":\n1. one two three four five six seven")


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        (" Pa\u200bris. \n", "Paris."),
        ("Paris.<|im_end|>\n<|endoftext|>", "Paris."),
        ("<s>[INST] hi [/INST] Paris</s>", "hi [/INST] Paris"),
        ("\u202eabc\u202c", "abc"),
        ("<|im_end|>", ""),
        ("a <|im_end|> b", "a <|im_end|> b"),
    ],
)
def test_trimming_takes_off_what_nobody_meant_to_write(text: str, clean: str) -> None:
    assert trimmed(text) == clean


def test_fixes_that_no_finding_has_are_told_with_the_nearest_name() -> None:
    unknown, wrong, none = fix_problems(
        {"near-duplicat": "drop", "refusal": "merge", "few-rows": "drop", "secret": "drop"}
    )
    assert "did you mean `near-duplicate`?" in unknown.remedy
    assert wrong.remedy == "use drop or keep"
    assert "only reported" in none.remedy


def test_every_kind_says_why_it_matters() -> None:
    assert all(kind.words and kind.why for kind in KINDS.values())
