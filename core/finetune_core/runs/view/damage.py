"""What is wrong with the files of a run, in words: for whoever looks at it, and before it goes on."""

from __future__ import annotations

from typing import Final

from finetune_core.runs.directory import RunDir
from finetune_core.runs.journal import Tail
from finetune_core.runs.journal_faults import Faults
from finetune_core.runs.oddities import oddities
from finetune_core.runs.recorded import journal_id, newest_notes, recorded, sealed_steps, whole
from finetune_core.runs.status import ACTIVE, Status, read_status
from finetune_core.runs.view.run_view import RunView

# A list reads a journal whole where it was changed after its status was written, and only one of this size.
_MOST_READ: Final = 16 * 1024 * 1024
_SLACK_NS: Final = 2_000_000_000
_REMEMBERED: Final = 256
_JOURNAL: Final = "events.jsonl"

_faults: dict[RunDir, tuple[tuple[int, int, int], list[str]]] = {}


def damage(view: RunView) -> list[str]:
    """Everything that is wrong with the files of a run that a view has read; nothing that only looks odd."""
    run = view.run
    found = [str(oddity) for oddity in oddities(run)]
    notes, status = newest_notes(run), read_status(run)
    if not view.behind:
        found += [f"{_JOURNAL}: {words}" for words in view.faults.words()]
        events = max(whole(notes.get("events")) or 0, _events_of(status, view.id))
        # A journal at work has grown since it was read.
        shorter = "" if view.unread else view.faults.shorter_than(events) or _emptied(run, view.faults.last, status)
        found += [f"{_JOURNAL}: {shorter}"] if shorter else []
    if view.id and notes.get("run") and notes["run"] != view.id:
        found.append(f"{_JOURNAL} is of another run than the checkpoints")
    if status is not None and not _is_of(status, view.id):
        found.append("status.json is of another run than the journal; what is shown follows from the journal")
    elif status is None and not any(words.startswith("status.json") for words in found):
        found += _lost_status(run)
    return found


def read_damage(run: RunDir) -> list[str]:
    """Everything that is wrong with the files of a run."""
    view = RunView(run)
    view.poll()
    return damage(view)


def _emptied(run: RunDir, last: int, status: Status | None) -> str:
    """In words that a run which was started has no event; earlier versions did not count theirs."""
    started = (status is not None and status.state != "created") or sealed_steps(run)
    return "it holds no event, and the run had been started" if started and not last else ""


def _is_of(status: Status | None, run_id: str) -> bool:
    return status is not None and (not status.id or not run_id or status.id == run_id)


def _events_of(status: Status | None, run_id: str) -> int:
    return status.events if status is not None and _is_of(status, run_id) else 0


def _lost_status(run: RunDir) -> list[str]:
    how = "is damaged" if run.status_file.exists() else "is missing"
    return [f"status.json {how}; what is shown follows from the journal and the checkpoints"]


def listed_damage(run: RunDir, status: Status, kept: Status | None) -> list[str]:
    """As `damage`, as far as a list of hundreds of runs can look: of most runs a journal's length and date alone.

    `status` is what is known of the run, `kept` its status.json where that can be read.
    """
    found = [str(oddity) for oddity in oddities(run, deep=False)]
    if kept is None and not any(words.startswith("status.json") for words in found):
        found += _lost_status(run)
    return [*found, *(f"{_JOURNAL}: {words}" for words in _journal_damage(run, status, kept))]


def _journal_damage(run: RunDir, status: Status, kept: Status | None) -> list[str]:
    try:
        journal = run.events_file.stat()
    except OSError:
        return ["it cannot be read"] if status.state != "created" and not run.events_file.is_symlink() else []
    if kept is not None and kept.events and not _may_differ(run, journal.st_size, journal.st_mtime_ns, kept):
        return []
    if journal.st_size > _MOST_READ:
        return _shorter(recorded(run).seq, run, kept)
    stamp = (journal.st_ino, journal.st_size, journal.st_mtime_ns)
    before = _faults.get(run)
    if before is None or before[0] != stamp:
        faults = _read(run)
        before = (stamp, [*faults.words(), *_shorter(faults.last, run, kept)])
        _faults[run] = before
        while len(_faults) > _REMEMBERED:
            del _faults[next(iter(_faults))]
    return before[1]


def _may_differ(run: RunDir, size: int, changed_ns: int, kept: Status) -> bool:
    """Whether a journal may not be what its status was written beside."""
    if size < kept.journal_bytes:
        return True
    if kept.state in ACTIVE and size > kept.journal_bytes:
        # It grows, or its end came without a last word: what was written is not shorter in either case.
        return False
    try:
        return changed_ns > run.status_file.stat().st_mtime_ns + _SLACK_NS
    except OSError:
        return True


def _read(run: RunDir) -> Faults:
    tail = Tail(run.events_file)
    tail.read()
    return tail.faults


def _shorter(last: int, run: RunDir, kept: Status | None) -> list[str]:
    found = Faults(last + 1).shorter_than(_known_events(run, kept)) or _emptied(run, last, kept)
    return [found] if found else []


def _known_events(run: RunDir, kept: Status | None) -> int:
    return _events_of(kept, journal_id(run)) or whole(newest_notes(run).get("events")) or 0
