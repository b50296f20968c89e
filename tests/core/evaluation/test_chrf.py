from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_core.evaluation.chrf import chrf


@pytest.mark.parametrize(
    ("text", "reference", "score"),
    [
        # As sacrebleu 2.6's sentence_chrf gives them, divided by 100.
        ("the cat", "the hat", 0.280556),
        ("Парижа", "Париж", 0.924479),
        ("東京です", "東京", 0.78125),
        ("abc", "xyz", 0.0),
        ("a", "a", 1.0),
    ],
)
def test_likeness_is_the_f_score_of_shared_characters(text: str, reference: str, score: float) -> None:
    assert chrf(text, reference) == pytest.approx(score, abs=1e-5)


@pytest.mark.parametrize(
    "text", ["столица Франции", "東京は日本の首都です", "العاصمة هي باريس", "पेरिस राजधानी है", "กรุงเทพ", "é̂ǫ́"]
)
def test_text_of_any_script_is_like_itself_and_unlike_another(text: str) -> None:
    assert chrf(text, text) == 1.0
    assert chrf(text, "The capital of France is Paris.") < 0.1
    assert chrf(text[: len(text) // 2], text) > 0.3


def test_a_combining_mark_and_its_composed_letter_are_the_same() -> None:
    assert chrf(unicodedata.normalize("NFD", "déjà vu"), unicodedata.normalize("NFC", "déjà vu")) == 1.0


def test_space_does_not_count_and_an_empty_answer_is_like_nothing() -> None:
    assert chrf("a b\nc", "abc") == 1.0
    assert chrf("", "abc") == 0.0
    assert chrf("abc", "") == 0.0
    assert chrf("", " ") == 1.0


@given(st.text(max_size=40), st.text(max_size=40))
def test_a_score_is_between_none_and_all(text: str, reference: str) -> None:
    assert 0 <= chrf(text, reference) <= 1
