from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from finetune_core.data.rows import Message
from finetune_core.errors import FtError
from finetune_core.recipe.schema import Data
from finetune_core.worker.rows import encode, server
from tests.core.data.tokenizers_made_here import make_model_folder, make_tokenizer


def turns(question: str, answer: str) -> list[dict[str, Any]]:
    """Two turns as they are sent to the process."""
    return [asdict(Message("user", question)), asdict(Message("assistant", answer))]


AUTO = {"shape": "auto", "mapping": {}, "fixes": {}, "chat_template": "auto"}
ROW = {
    "number": 1,
    "messages": turns("What is it?", "A fox."),
    "completion_only": False,
    "tools": [],
}
PREVIEW = {
    "id": 1,
    "do": "preview",
    "rows": [ROW],
    "train_on": "assistant",
    "max_length": None,
    "chat_template": "auto",
}


def spoken(folder: Path, *requests: dict[str, Any]) -> tuple[list[dict[str, Any]], str]:
    """What the process says to these requests on standard output, and on standard error."""
    text = "".join(json.dumps(request) + "\n" for request in requests)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "finetune_core.worker.rows.server", str(folder)],
        input=text,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def test_standard_output_carries_answers_only_and_the_process_ends_with_its_input(tmp_path: Path) -> None:
    folder = make_model_folder(tmp_path / "model")
    answers, _ = spoken(folder, {"id": 1, "do": "hello"}, {**PREVIEW, "id": 2})
    assert answers[0] == {"id": 1, "last": True}
    assert answers[1]["id"] == 2
    assert answers[1]["row"]["tokens"] > 0


def test_every_request_is_told_when_the_tokenizer_cannot_be_loaded(tmp_path: Path) -> None:
    folder = make_model_folder(tmp_path / "model")
    (folder / "tokenizer.json").write_text("{")
    answers, _ = spoken(folder, {"id": 1, "do": "hello"}, {**PREVIEW, "id": 2})
    assert [(answer["id"], answer["failed"], answer["last"]) for answer in answers] == [
        (1, True, True),
        (2, True, True),
    ]
    assert "tokenizer cannot be loaded" in answers[0]["problems"][0]["what"]


def test_code_that_comes_with_a_tokenizer_is_never_run(tmp_path: Path) -> None:
    folder = make_model_folder(tmp_path / "model")
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Evil: pass\n")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config |= {"auto_map": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}, "trust_remote_code": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    spoken(folder, {"id": 1, "do": "hello"})
    assert not (tmp_path / "ran").exists()


def asked(template: str) -> dict[str, Any]:
    """The one row's preview, answered in this process."""
    answers = list(server.Asked(make_tokenizer(template)).answers(PREVIEW))
    row: dict[str, Any] = answers[0]["row"]
    return row


def test_a_template_without_end_is_stopped_and_the_process_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    assert threading.current_thread() is threading.main_thread()
    monkeypatch.setattr(encode, "RENDER_SECONDS", 0.2)
    endless = "{% for i in range(9999) %}" * 3 + "{% endfor %}" * 3
    assert "took too long" in asked(endless)["problem"]["what"]
    assert asked("{% for m in messages %}{{ m['content'] }}{% endfor %}")["tokens"] > 0


def test_a_template_that_eats_memory_is_told(tmp_path: Path) -> None:
    hungry = make_model_folder(tmp_path / "model", "{{ 'x' * 100000000000 }}")
    answers, _ = spoken(hungry, PREVIEW)
    assert "MemoryError" in answers[0]["row"]["problem"]["why"]


def test_an_unknown_token_is_shown_as_the_model_sees_it() -> None:
    tokenizer = make_tokenizer(None, special=["<unk>"])
    tokenizer.unk_token = "<unk>"
    row = {"number": 1, "messages": turns("a<unk>", "b"), "completion_only": True, "tools": []}
    answers = list(server.Asked(tokenizer).answers({**PREVIEW, "rows": [row]}))
    assert ["<unk>", False, [tokenizer.unk_token_id], True] in answers[0]["row"]["pieces"]


def test_a_long_row_is_counted_whole_but_shown_in_part() -> None:
    row = {"number": 1, "messages": turns("a", "🦊 " * 3000), "completion_only": True, "tools": []}
    shown = next(server.Asked(make_tokenizer(None)).answers({**PREVIEW, "rows": [row]}))["row"]
    assert shown["tokens"] > server.SHOWN_TOKENS
    assert sum(len(ids) for _, _, ids, _ in shown["pieces"]) == server.SHOWN_TOKENS
    assert shown["rendered"] == "".join(text for text, _, _, _ in shown["pieces"])


def test_a_large_file_is_sampled_and_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "EXACT_ROWS", 50)
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps({"prompt": "a", "completion": "b" * n}) + "\n" for n in range(1, 201)))
    request = {
        "do": "lengths",
        "source": str(source),
        "held_out": False,
        **AUTO,
        "train_on": "assistant",
        "max_length": None,
    }
    one, again = (list(server.Asked(make_tokenizer(None)).answers(request))[-1] for _ in range(2))
    assert one["sampled"]
    assert one["rows"] == 200
    assert len(one["counts"]) == 50
    assert max(one["counts"]) > 100
    assert one == again


def test_when_every_row_is_refused_the_reasons_are_raised(tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl"
    turn = '{"role": "user", "content": "a"}, {"role": "assistant", "content": ""}'
    source.write_text(f'{{"messages": [{turn}]}}\n' * 3)
    request = {
        "do": "lengths",
        "source": str(source),
        "held_out": False,
        **AUTO,
        "train_on": "assistant",
        "max_length": None,
    }
    with pytest.raises(FtError, match="answer is empty"):
        list(server.Asked(make_tokenizer(None)).answers(request))


def test_a_token_the_model_has_no_embedding_for_is_named_before_anything_is_trained(tmp_path: Path) -> None:
    folder = make_model_folder(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": 200}))
    answers, _ = spoken(folder, PREVIEW)
    shown = answers[0]["row"]["problem"]
    assert "the model does not know: `Ċ` (2" in shown["what"]
    assert "ids 0 to 199" in shown["why"]
    assert shown["where"] == "model.source"
    source = tmp_path / "rows.jsonl"
    source.write_text(json.dumps({"messages": ROW["messages"]}) + "\n")
    lengths = {"do": "lengths", "source": str(source), "held_out": False, **AUTO, "train_on": "all", "max_length": None}
    data = Data(source=str(source), held_out_share=0.0).model_dump(mode="json")
    for request in (lengths, {**PREVIEW, "do": "count", "data": data, "seed": 0}):
        with pytest.raises(FtError) as refused:
            list(server.Asked(server.load_tokenizer(folder), 200).answers(request))
        assert asdict(refused.value.problems[0]) == shown
        assert list(server.Asked(server.load_tokenizer(folder), 400).answers(request))
