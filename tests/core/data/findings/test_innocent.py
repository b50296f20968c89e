"""Texts that look suspicious to a coarse rule and are not: a report that is often wrong is soon not read."""

from __future__ import annotations

import pytest

from finetune_core.data.rows import Conversation, Message, Text, ToolCall
from tests.core.data.findings.hits import hits_of


def kinds(answer: str, question: str = "What is it?") -> set[str]:
    return {hit.kind for hit in hits_of(Conversation(1, (Message("user", question), Message("assistant", answer))))}


WORDS = [
    "I can't help but smile when I think of it.",
    "I'm sorry, but I can't make it to the party on Friday. Could we meet on Sunday?",
    "Sorry, I can't come tonight.",
    "As an AI researcher, I study neural networks.",
    "Dear [Name], thank you for your letter. Sincerely, [Your Name]",
    "To-do lists help: write TODO lists every morning.",
    "# TODO: rename this\ndef f():\n    pass",
    "Click [ADD](https://a.org/add) to go on.",
    'The word "Lorem ipsum" begins the dummy text of printers.',
]
NUMBERS = [
    "My order is 4000123412341234567, the invoice 4111-2222-3333-4445.",
    "The time stamp is 1700000000000 in ms and 1700000000000000 in us.",
    "p = 0.4532015112830366 and q = 4.532015112830366e-05",
    "UUID 550e8400-e29b-41d4-a716-446655440000, SHA 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b",
    "ISBN 978-0-306-40615-7, ISSN 2049-3630, EAN 4006381333931.",
    "Meet at 10:30:45 on 2023-10-12, 14:00-15:30; the score was 3-2.",
    "1 000 000 + 2 500 000 = 3 500 000; x = 100 + 200 300 400 500",
    "The MAC is 00:1a:2b:3c:4d:5e, the ratio 1:2:3:4, the scope a::b::c.",
    "Section 4.3.2.1, OID 1.3.6.1.4.1.311, Chrome/91.0.4472.124, Windows 10.0.19045.3803",
    "255.255.255.0, 10.0.0.0/8, 172.16.5.4, 169.254.1.1, 224.0.0.1, 203.0.113.77, 2001:db8::1, fe80::1, ::1",
    "Population: 331,449,281 (2020); area 9,833,520 km2; years 1990-1999; model 415-867-530",
    "AB12 3456 7890 1234 is no account, nor is DE00 3704 0044 0532 0130 00.",
    "+1 +2 +3 for the idea; 1+2345+6789+12345",
]
ADDRESSES = [
    "git clone git@github.com:user/repo.git",
    "@app.route('/users') and return x@y.T",
    "npm install react@18.2.0 @types/node@20.1.0, icon@2x.png",
    "root@server, user@localhost, me@host.local.test",
    "The class sk-toggleable__label-arrow styles the tree, sk-estimator-doc-link the link.",
    "OPENAI_API_KEY=sk-your-api-key-goes-here or sk-xxxxxxxxxxxxxxxxxxxxxxxx",
]
CODE = [
    "<s>old</s> 10 EUR, <b>new</b> 8 EUR",
    "In Haskell (<|>) is a choice, in F# |> is a pipe.",
    "\\frac{{a}}{{b}} in LaTeX",
    "Write this:\n```html\n<img src='cat.png'>{{ name }} TODO: more\n```\nand open it.",
    "<html><body><img src='cat.png'></body></html>",
    "In Vue you write {{ message }} in the template.",
    "| key | value |\n|:---|---:|\n| a | 1 |",
    "### Summary:\nAll is well.",
]
LANGUAGES = [
    (
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 \u0628\u0631\u0648\u0645\u060c "
        "\u200f\u0648 \u0639\u0628\u0631\u06cc."
    ),
    "\u05e9\u05dc\u05d5\u05dd \u2067\u05e2\u05d5\u05dc\u05dd\u2069 abc",
    "\u0915\u094d\u200d\u0937 \u0914\u0930 \u0930\u094d\u200d\u092f",
    (
        "\U0001f468\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f \U0001f3f3\ufe0f\u200d\U0001f308 "
        "1\ufe0f\u20e3 \U0001f44d\U0001f3fd"
    ),
    "\u0e19\u0e35\u0e48\u0e04\u0e37\u0e2d\u200b\u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22",
    (
        "Il a dit\u00a0: \u00ab\u202fBonjour\u202f! \u00bb \u2014 50\u202f% "
        "de 1\u202f234,56\u00a0\u20ac \u00e0 l\u2019\u00eele d\u2019Yeu"
    ),
    (
        "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440! "
        "\u00ab\u041a\u0430\u0432\u044b\u0447\u043a\u0438\u00bb \u2014 \u0442\u0438\u0440\u0435."
    ),
    "\u65e5\u672c\u8a9e\u306e\u6587\u7ae0\u3067\u3059\u3002\u8fbb\U000e0100\u3055\u3093",
    "\uc774\uac83\uc740 \ud55c\uad6d\uc5b4 \ubb38\uc7a5\uc785\ub2c8\ub2e4.",
    (
        "\u2126 \u2248 3.14, \u2211 x\u1d62 \u2264 \u221e, \u00b1 5 "
        "\u00b0C, 10 \u00b5m\u00b2, \u00bd cup, 3 \u00d7 4 \u00f7 2"
    ),
    (
        "\u201cSmart\u201d \u2018quotes\u2019 \u2013 and dashes \u2014 "
        "na\u00efve caf\u00e9 S\u00e3o Paulo \u0141\u00f3d\u017a\u2026"
    ),
]


@pytest.mark.parametrize("answer", [*WORDS, *NUMBERS, *ADDRESSES, *CODE, *LANGUAGES])
def test_a_text_that_only_looks_suspicious_raises_nothing(answer: str) -> None:
    assert kinds(answer) == set()


def test_a_placeholder_that_the_row_is_about_is_meant() -> None:
    assert kinds("Hello {{ name }}!", "Write a Jinja template.") == set()
    assert kinds("Dear [INSERT NAME], hello.", "Give me a template of a letter.") == set()
    assert kinds("TODO: buy milk", "Write a to-do entry.") == set()
    assert kinds("Lorem ipsum dolor sit amet.", "Generate lorem ipsum.") == set()


def test_raw_text_may_be_code_without_fences() -> None:
    assert list(hits_of(Text(1, "{% for a in b %}{{ a }}{% endfor %}\nTODO: more"))) == []
    assert list(hits_of(Text(1, "<p>{{ name }}</p>"))) == []


def test_a_call_of_a_tool_is_not_judged_as_prose_is() -> None:
    call = ToolCall("render", {"template": "{{ name }} <|im_end|>"})
    turns = (Message("user", "Do."), Message("assistant", "", tool_calls=(call,)), Message("tool", "", name="render"))
    assert list(hits_of(Conversation(1, (*turns, Message("assistant", "Done."))))) == []
