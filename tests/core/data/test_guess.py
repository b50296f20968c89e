from __future__ import annotations

import pytest

from finetune_core.data.shapes.roles import guess_mapping


@pytest.mark.parametrize(
    ("needed", "optional", "row", "mapping"),
    [
        (("instruction", "output"), ("input",), {"id": 1, "Answer": "b", "Question": "a"},
         {"instruction": "Question", "output": "Answer"}),
        (("prompt", "completion"), (), {"id": 7, "frage": "a", "antwort": "b"},
         {"prompt": "frage", "completion": "antwort"}),
        (("instruction", "output"), ("input", "system"), {"reply": "b", "System": "s", "other": "a"},
         {"instruction": "other", "output": "reply", "system": "System"}),
        (("prompt", "completion", "label"), (), {"q": "a", "good": 1, "a": "b"},
         {"prompt": "q", "completion": "a", "label": "good"}),
        (("messages",), ("tools",), {"name": "n", "verlauf": "[{...}]"}, {"messages": "verlauf"}),
        (("chosen", "rejected"), (), {"response_k": "w", "response_j": "b"},
         {"chosen": "response_j", "rejected": "response_k"}),
        (("text",), (), {"n": 3}, {}),
    ],
)  # fmt: skip
def test_columns_are_guessed_by_their_names_then_by_what_they_hold(
    needed: tuple[str, ...], optional: tuple[str, ...], row: dict[str, object], mapping: dict[str, str]
) -> None:
    assert guess_mapping(needed, optional, list(row), row) == mapping
