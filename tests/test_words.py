"""The gate of plain words finds what it is meant to find, and nothing else."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

GATE = Path(__file__).parents[1] / ".ci" / "words.py"


@pytest.fixture(scope="module")
def gate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("words", GATE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)

    sys.modules["words"] = module
    spec.loader.exec_module(module)
    return module


def found(gate: ModuleType, source: str) -> list[tuple[int, str]]:
    return [(one.line, one.words.split(":")[0]) for one in gate.in_code(source, Path("module.py"))]


LONG = " ".join(["word"] * 31)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('"""What is told of a row."""\n', [(1, "`told`")]),
        ('def f():\n    """Give it.\n\n    Which tokens are learnt.\n    """\n', [(4, "`learnt`")]),
        ("x = 1  # told before\n", [(1, "`told`")]),
        ('x = "the answers are learnt, each with its end"\n', [(1, "`learnt`")]),
        ('x = f"the answers of {row} are learnt, each with its end"\n', [(1, "`learnt`")]),
        ('"""What a row holds."""\ntold = learnt = 1\n', []),
        ('x = "answers-learnt"\n', []),
        ('x = "too few rows to tell which one is the better"\n', []),
        ('"""Calls `told` with each phase: `told` may raise."""\n', [(1, "`told`"), (1, "`told`")]),
        (f'"""{LONG}."""\n', [(1, "a sentence of 31 words, at most 30")]),
        (f'"""{LONG[:-5]}; {LONG[:-5]}."""\n', []),
        (f'"""One line\n\n- {LONG[:-5]}\n- {LONG[:-5]}."""\n', []),
        (f'x = "{LONG}."\n', [(1, "a sentence of 31 words, at most 30")]),
        (f'x = "{LONG}".split()\n', []),
    ],
)
def test_the_gate_finds_words_and_sentences_in_docstrings_comments_and_messages(
    gate: ModuleType, source: str, expected: list[tuple[int, str]]
) -> None:
    assert found(gate, source) == expected


def test_the_project_is_written_plainly(gate: ModuleType) -> None:
    assert [str(one) for one in gate.everything()] == []
