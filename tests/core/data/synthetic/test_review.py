from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from finetune_core.data.assemble import read_source
from finetune_core.data.rows import Message
from finetune_core.data.shapes.recognise import AUTOMATIC
from finetune_core.data.synthetic.append import AppendFile, whole_lines
from finetune_core.data.synthetic.pending import Origin, line_of, read_pending
from finetune_core.data.synthetic.review import Counts, Review
from finetune_core.errors import FtError

ORIGIN = Origin("writer-1", "host:1", "2026-01-31T14:00:00+00:00", 1)


def turns(question: str, answer: str) -> tuple[Message, ...]:
    return (Message("user", question), Message("assistant", answer))


@pytest.fixture
def pending(tmp_path: Path) -> Path:
    path = tmp_path / "new.pending.jsonl"
    path.write_bytes(b"".join(line_of(turns(f"question {n}", f"answer {n}"), ORIGIN) + b"\n" for n in range(5)))
    return path


def accepted(path: Path) -> list[dict[str, Any]]:
    file = path.with_name("new.accepted.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def said(path: Path) -> list[str]:
    return [row["messages"][0]["content"] for row in accepted(path)]


def test_rows_join_only_when_they_are_accepted_and_in_the_order_of_the_file(pending: Path) -> None:
    with Review(pending) as review:
        assert review.counts == Counts(5, 0, 0)
        assert accepted(pending) == []
        review.accept(review.rows[3].id)
        review.reject(review.rows[0].id)
        review.accept(review.rows[1].id)
        assert review.counts == Counts(2, 2, 1)
    assert said(pending) == ["question 1", "question 3"]
    assert accepted(pending)[0]["synthetic"]["generator"] == "writer-1"
    source = read_source(str(pending.with_name("new.accepted.jsonl")), AUTOMATIC)
    rows, problems = source.used, source.problems
    assert (len(rows), problems) == (2, [])
    assert rows[0].extra["synthetic"]


def test_decisions_are_there_again_in_another_session(pending: Path) -> None:
    with Review(pending) as review:
        review.accept(review.rows[0].id)
        review.reject(review.rows[1].id)
    with Review(pending) as review:
        assert [row.state for row in review.rows] == ["accepted", "rejected", "waiting", "waiting", "waiting"]


def test_deciding_twice_changes_nothing(pending: Path) -> None:
    with Review(pending) as review:
        review.accept(review.rows[0].id)
        journal = pending.with_name("new.decisions.jsonl").read_bytes()
        review.accept(review.rows[0].id)
        assert pending.with_name("new.decisions.jsonl").read_bytes() == journal
    assert said(pending) == ["question 0"]


def test_the_last_decision_can_be_taken_back_again_and_again_also_in_a_later_session(pending: Path) -> None:
    with Review(pending) as review:
        first, second = review.rows[0].id, review.rows[1].id
        review.accept(first)
        review.reject(first)
        review.accept(*(row.id for row in review.rows))
        assert review.undo() == tuple(row.id for row in review.rows)
        assert [row.state for row in review.rows][:2] == ["rejected", "waiting"]
    with Review(pending) as review:
        assert review.undo() == (first,)
        assert review.rows[0].state == "accepted"
        assert said(pending) == ["question 0"]
        review.undo()
        review.accept(second)
        review.undo()
        assert review.undo() == ()
        assert review.counts.waiting == 5
    assert accepted(pending) == []


def test_a_changed_row_joins_as_changed_and_is_marked(pending: Path) -> None:
    with Review(pending) as review:
        id_ = review.rows[2].id
        review.edit(id_, turns("question 2", "a better answer"))
        assert review.rows[2].state == "waiting"
        review.accept(id_)
    assert accepted(pending)[0]["messages"][1]["content"] == "a better answer"
    assert accepted(pending)[0]["synthetic"]["edited"] is True
    with Review(pending) as review:
        assert review.rows[2].edited
        review.undo()
        review.undo()
        assert not review.rows[2].edited


def test_an_accepted_row_that_is_changed_changes_where_it_has_joined(pending: Path) -> None:
    with Review(pending) as review:
        review.accept(review.rows[0].id)
        review.edit(review.rows[0].id, turns("question 0", "mended"))
    assert [row["messages"][1]["content"] for row in accepted(pending)] == ["mended"]


def test_a_change_that_leaves_no_conversation_is_refused(pending: Path) -> None:
    with Review(pending) as review, pytest.raises(FtError, match=r"row 1[\s\S]*the answer is empty"):
        review.edit(review.rows[0].id, turns("question 0", "  "))


@pytest.mark.parametrize("damage", ["missing", "shorter", "torn", "old"])
def test_accepted_rows_are_written_again_when_a_kill_came_between(pending: Path, damage: str) -> None:
    file = pending.with_name("new.accepted.jsonl")
    with Review(pending) as review:
        review.accept(review.rows[0].id)
        old = file.read_bytes()
        review.accept(review.rows[1].id)
    whole = file.read_bytes()
    left = {"missing": b"", "shorter": whole.split(b"\n")[0] + b"\n", "torn": whole[:-10], "old": old}[damage]
    file.write_bytes(left)
    if damage == "missing":
        file.unlink()
    with Review(pending):
        assert file.read_bytes() == whole


def test_accepted_rows_changed_by_hand_are_not_written_over(pending: Path) -> None:
    file = pending.with_name("new.accepted.jsonl")
    with Review(pending) as review:
        review.accept(review.rows[0].id)
    file.write_bytes(file.read_bytes().replace(b"answer 0", b"my own words"))
    with pytest.raises(FtError, match="changed by hand"):
        Review(pending)
    assert b"my own words" in file.read_bytes()


def test_the_journal_cut_at_any_byte_opens_with_the_decisions_before_the_cut(pending: Path) -> None:
    journal = pending.with_name("new.decisions.jsonl")
    with Review(pending) as review:
        review.accept(review.rows[0].id)
        review.edit(review.rows[1].id, turns("q", "a"))
        review.reject(review.rows[1].id)
        review.undo()
    whole = journal.read_bytes()
    ends = [at for at, byte in enumerate(whole) if byte == 10]
    for cut in range(len(whole)):
        journal.write_bytes(whole[:cut])
        with Review(pending) as review:
            # A line that lacks nothing but its newline counts.
            before = sum(end <= cut for end in ends)
            expected = ["waiting" if before < 1 else "accepted", "rejected" if before == 3 else "waiting"]
            assert [row.state for row in review.rows[:2]] == expected
        if cut % 16 == 0:
            with Review(pending) as review:
                review.reject(review.rows[4].id)
            with Review(pending) as review:
                assert review.rows[4].state == "rejected"


def test_rows_added_by_the_generator_come_in_while_the_review_goes_on(pending: Path) -> None:
    with Review(pending) as review:
        review.accept(review.rows[0].id)
        assert not review.reload()
        with AppendFile(pending) as file:
            file.append(line_of(turns("a new one", "yes"), ORIGIN))
        assert review.reload()
        assert review.rows[5].row.messages[0].content == "a new one"
        assert review.rows[0].state == "accepted"


def test_a_line_that_is_no_row_is_told_and_the_others_can_be_reviewed(pending: Path) -> None:
    pending.write_bytes(b'nonsense\n{"messages": []}\n\n' + pending.read_bytes() + b'{"messages": [{"ro')
    with Review(pending) as review:
        assert len(review.rows) == 5
        assert [one.where for one in review.problems] == ["new.pending.jsonl:1", "new.pending.jsonl:2"]


def test_only_a_file_of_waiting_rows_can_be_reviewed(tmp_path: Path) -> None:
    with pytest.raises(FtError, match=r"rows\.pending\.jsonl"):
        Review(tmp_path / "rows.jsonl")
    with pytest.raises(FtError, match="there is no such file"):
        Review(tmp_path / "rows.pending.jsonl")
    assert list(tmp_path.glob("rows*")) == []


_HOLD = """
import sys
from pathlib import Path
from finetune_core.data.synthetic.review import Review
review = Review(Path(sys.argv[1]))
print("open", flush=True)
sys.stdin.read()
"""


def test_one_file_is_under_review_in_one_place_at_a_time(pending: Path) -> None:
    command = [sys.executable, "-c", _HOLD, str(pending)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(FtError, match="another ft-tui writes it"):
            Review(pending)
        other.kill()
    Review(pending).close()


_DECIDE = """
import sys
from pathlib import Path
from finetune_core.data.synthetic.review import Review
review = Review(Path(sys.argv[1]))
for row in review.rows:
    review.accept(row.id)
    print(row.id, flush=True)
"""


def test_kill_9_loses_no_decision_that_was_told(tmp_path: Path) -> None:
    path = tmp_path / "new.pending.jsonl"
    path.write_bytes(b"".join(line_of(turns(f"question {n}", f"answer {n}"), ORIGIN) + b"\n" for n in range(400)))
    for stop_after in (1, 20, 60):
        with subprocess.Popen([sys.executable, "-c", _DECIDE, str(path)], stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            told = [child.stdout.readline().strip() for _ in range(stop_after)]
            child.kill()
            told += [line.strip() for line in child.stdout if line.endswith("\n")]
        with Review(path) as review:
            states = {row.id: row.state for row in review.rows}
            assert {states[id_] for id_ in told} == {"accepted"}
            assert len(said(path)) == review.counts.accepted


def test_a_full_disk_leaves_no_half_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.pending.jsonl"
    code = f"""
import resource, signal
from pathlib import Path
from finetune_core.data.shapes.recognise import AUTOMATIC
from finetune_core.data.synthetic.append import AppendFile
from finetune_core.errors import FtError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (150, 150))
with AppendFile(Path({str(path)!r})) as file:
    try:
        for n in range(100):
            file.append(b"x" * 40)
    except FtError as error:
        print(error.problems[0].what)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "cannot be written" in done.stdout
    assert whole_lines(path) == [b"x" * 40] * 3
    assert path.stat().st_size == 3 * 41


def test_a_link_is_not_followed(tmp_path: Path, pending: Path) -> None:
    link = tmp_path / "link.pending.jsonl"
    link.symlink_to(pending)
    with pytest.raises(FtError, match="link to another file"):
        AppendFile(link)


def test_a_file_of_waiting_rows_without_rows_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "none.pending.jsonl"
    path.write_bytes(b"")
    assert read_pending(path) == ([], [])
