"""Secrets are told by their form, or by the variable that holds them, and ordinary text is left alone."""

from __future__ import annotations

import io
from typing import Any, cast

import pytest

from finetune_core.redaction import Redacting, redact


@pytest.mark.parametrize(
    "text",
    [
        "token hf_CANARYcanary12345 used",
        "Authorization: Bearer CANARYcanary12345",
        "{'authorization': 'Bearer CANARYcanary12345'}",
        "headers: authorization=CANARYcanary12345",
        "WANDB_API_KEY=CANARYcanary12345",
        'api_key: "CANARYcanary12345"',
        "HF_TOKEN=CANARYcanary12345",
        "Incorrect API key provided: sk-proj-CANARYcanary12345678901234",
        "git clone https://me:ghp_CANARYcanary1234567890123456@github.com/a/b",
        "https://user:CANARYcanary@hub.example/api",
        "{'AWS_SECRET_ACCESS_KEY': 'CANARY/canary12345'}",
        "?X-Amz-Credential=CANARYcanary&X-Amz-Signature=CANARYcanary12",
    ],
)
def test_secrets_are_not_shown(text: str) -> None:
    assert "CANARY" not in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "eos token: <|im_end|>",
        "pad_token='<|endoftext|>'",
        "tokens: 123456",
        "step 3 loss 1.5",
        "https://hub.example/a:b@main",
        "commit 0123456789abcdef0123456789abcdef01234567",
        "the task-force sk-learn-of-old",
        "max_tokens=128",
        "keyword: text",
    ],
)
def test_ordinary_lines_stay_as_they_are(text: str) -> None:
    assert redact(text) == text


def test_keys_of_known_forms_are_not_shown_even_alone() -> None:
    wandb, aws = "0123456789abcdef" * 2 + "01234567", "AKIA" + "ABCDEFGH" * 2
    for text, secret in ((f"wandb: login with {wandb}", wandb), (f"id {aws}.", aws)):
        assert secret not in redact(text)


@pytest.mark.parametrize("name", ["HF_TOKEN", "OPENAI_API_KEY", "MY_PASSWORD", "AWS_ACCESS_KEY_ID", "DB_SECRET"])
def test_what_a_variable_of_that_name_holds_is_not_shown_in_any_form(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    text = "it said: {plain value of no known form}"
    assert redact(text) == text
    monkeypatch.setenv(name, "plain value of no known form")
    assert redact(text) == "it said: {[secret]}"


def test_a_short_value_or_an_ordinary_variable_is_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "true")
    monkeypatch.setenv("PLAIN", "a long enough value")
    assert redact("true: a long enough value") == "true: a long enough value"


def test_a_stream_writes_without_secrets_and_is_the_other_one_otherwise() -> None:
    below = io.StringIO()
    stream = cast("Any", Redacting(below))
    print("token hf_CANARYcanary12345", file=stream)
    stream.flush()
    assert below.getvalue() == "token [secret]\n"
    assert stream.getvalue() == below.getvalue()
