from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from finetune_core.data.rows import Conversation, Message
from finetune_core.data.tokens import process as ask_process
from finetune_core.data.tokens.client import TokenSpan, TokenWorker, group
from finetune_core.errors import FtError
from tests.core.data.tokenizers_made_here import CHATML, make_model_folder

ROW = Conversation(7, (Message("user", "What is it?"), Message("assistant", "Ein Füchschen 🦊")))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def shared(model: Path) -> Iterator[TokenWorker]:
    with TokenWorker(model) as started:
        yield started


@pytest.fixture
def worker(shared: TokenWorker) -> TokenWorker:
    """A running worker with its first settings; one process serves all tests that leave it alive."""
    shared.train_on, shared.max_length = "assistant", None
    shared.start()
    return shared


def rows_file(folder: Path, count: int, extra: str = "") -> str:
    turns = [{"role": "user", "content": "What is it?"}, {"role": "assistant", "content": "A fox."}]
    path = folder / "rows.jsonl"
    path.write_text((json.dumps({"messages": turns}) + "\n") * count + extra)
    return str(path)


def pid_of(worker: TokenWorker) -> int:
    child = worker._process._child
    assert child is not None
    return child.process.pid


def test_a_preview_shows_the_row_as_the_model_sees_it_with_the_learnt_tokens_marked(worker: TokenWorker) -> None:
    (preview,) = worker.preview([ROW])
    assert preview.number == 7
    assert preview.rendered == "".join(span.text for span in preview.spans) == "".join(p.text for p in preview.pieces)
    assert [span.text for span in preview.spans if span.trained] == ["Ein Füchschen 🦊<|im_end|>"]
    assert preview.tokens == sum(len(piece.ids) for piece in preview.pieces)
    assert preview.trained == sum(len(piece.ids) for piece in preview.pieces if piece.trained)
    assert preview.cut == 0
    fox = next(piece for piece in preview.pieces if "🦊" in piece.text)
    assert len(fox.ids) > 1


def test_what_max_length_cuts_off_is_counted_and_marked(worker: TokenWorker) -> None:
    whole = worker.preview([ROW])[0]
    worker.max_length = whole.tokens - 3
    cut = worker.preview([ROW])[0]
    assert (cut.tokens, cut.cut) == (whole.tokens, 3)
    assert cut.trained < whole.trained
    assert sum(len(piece.ids) for piece in cut.pieces if not piece.kept) == 3


def test_everything_is_marked_when_everything_is_learnt(worker: TokenWorker) -> None:
    worker.train_on = "all"
    assert [span.trained for span in worker.preview([ROW])[0].spans] == [True]


def test_a_row_the_template_refuses_has_a_problem_and_the_others_are_shown(tmp_path: Path) -> None:
    template = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system turn') }}{% endif %}" + CHATML
    refused = Conversation(8, (Message("system", "s"), *ROW.messages))
    with TokenWorker(make_model_folder(tmp_path / "model", template)) as worker:
        good, bad = worker.preview([ROW, refused])
        assert good.problem is None
        assert bad.problem is not None
        assert "no system turn" in bad.problem.why
        with pytest.raises(FtError, match="no system turn"):
            worker.preview([refused])


def test_a_model_without_a_chat_template_is_told_with_the_way_out(tmp_path: Path) -> None:
    with (
        TokenWorker(make_model_folder(tmp_path / "model", None)) as worker,
        pytest.raises(FtError, match="no chat template"),
    ):
        worker.preview([ROW])


def test_lengths_of_every_row_are_counted_and_bad_rows_told(worker: TokenWorker, tmp_path: Path) -> None:
    source = rows_file(tmp_path, 300, "{bad\n")
    told: list[tuple[int, int]] = []
    tokens = worker.lengths(source).counts[0]
    worker.max_length = tokens - 1
    lengths = worker.lengths(source, lambda done, total: told.append((done, total)))
    assert lengths.counts == (tokens,) * 300
    assert (lengths.rows, lengths.truncated, lengths.without_trained, lengths.left_out) == (301, 300, 0, 1)
    assert [found.where for found in lengths.problems] == ["rows.jsonl:301"]
    assert lengths.complete
    assert not lengths.sampled
    assert told[0][0] == 0
    worker.max_length = 5
    assert worker.lengths(source).without_trained == 300


def test_lengths_can_be_cancelled_and_the_process_answers_on(worker: TokenWorker, tmp_path: Path) -> None:
    lengths = worker.lengths(rows_file(tmp_path, 20_000), cancel=lambda: True)
    assert not lengths.complete
    assert worker.preview([ROW])[0].tokens > 0


def test_a_preview_is_answered_while_lengths_are_being_counted(worker: TokenWorker, tmp_path: Path) -> None:
    source = rows_file(tmp_path, 20_000)
    started, finished = threading.Event(), threading.Event()

    def count() -> None:
        worker.lengths(source, lambda done, _total: started.set() if done else None)
        finished.set()

    thread = threading.Thread(target=count)
    thread.start()
    assert started.wait(20)
    assert worker.preview([ROW])[0].number == 7
    assert not finished.is_set()
    thread.join()


def test_a_file_that_cannot_be_read_is_told_as_the_reader_tells_it(worker: TokenWorker, tmp_path: Path) -> None:
    with pytest.raises(FtError, match="no such file"):
        worker.lengths(str(tmp_path / "none.jsonl"))


def test_a_process_that_dies_is_told_and_the_next_call_starts_a_new_one(worker: TokenWorker, tmp_path: Path) -> None:
    source = rows_file(tmp_path, 20_000)
    with pytest.raises(FtError, match="SIGKILL"):
        worker.lengths(source, lambda _done, _total: os.kill(pid_of(worker), signal.SIGKILL))
    assert worker.preview([ROW])[0].number == 7


def test_a_process_that_is_silent_for_too_long_is_stopped(worker: TokenWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ask_process, "SILENCE_SECONDS", 0.2)
    os.kill(pid_of(worker), signal.SIGSTOP)
    with pytest.raises(FtError, match="silent for"):
        worker.preview([ROW])


def test_closing_ends_the_process_and_whoever_waits_for_it(model: Path, tmp_path: Path) -> None:
    worker = TokenWorker(model)
    worker.start()
    process = worker._process._child.process  # type: ignore[union-attr]
    started = threading.Event()
    caught: list[FtError] = []

    def count() -> None:
        try:
            worker.lengths(rows_file(tmp_path, 20_000), lambda _done, _total: started.set())
        except FtError as error:
            caught.append(error)

    thread = threading.Thread(target=count)
    thread.start()
    assert started.wait(20)
    worker.close()
    worker.close()
    thread.join(10)
    assert process.returncode is not None
    assert "given up" in str(caught[0])
    with pytest.raises(FtError, match="given up"):
        worker.preview([ROW])


def test_the_process_ends_when_the_one_that_asks_is_gone(worker: TokenWorker) -> None:
    process = worker._process._child.process  # type: ignore[union-attr]
    process.stdin.close()
    assert process.wait(10) == 0


def test_no_token_reaches_the_process(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_canary")
    with TokenWorker(model) as worker:
        environment = Path(f"/proc/{pid_of(worker)}/environ").read_bytes()
    assert b"hf_canary" not in environment


def test_a_broken_model_folder_is_told_before_a_library_sees_it(tmp_path: Path) -> None:
    folder = make_model_folder(tmp_path / "model")
    (folder / "config.json").write_text('{"model_type": "../x"}')
    with pytest.raises(FtError, match="model_type"):
        TokenWorker(folder).start()


@pytest.mark.fresh_helpers
def test_the_process_holds_no_torch(worker: TokenWorker) -> None:
    assert "libtorch" not in Path(f"/proc/{pid_of(worker)}/maps").read_text()


def test_neighbours_with_equal_marks_become_one_span() -> None:
    pieces = [TokenSpan("a", False, (1,)), TokenSpan("b", True, (2,)), TokenSpan("c", True, (3, 4))]
    assert group(pieces) == (TokenSpan("a", False, (1,)), TokenSpan("bc", True, (2, 3, 4)))
    assert group([]) == ()
