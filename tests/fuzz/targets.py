"""Every reader of what others write: its inputs, and how all that it offers is asked for.

A reader may give an FtError only where its own words say so; nothing else may come out of it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from random import Random

from finetune_core.data.files.base import RowFile
from finetune_core.data.files.chunks import OpenEndError
from finetune_core.data.files.sniff import open_file
from finetune_core.data.scan.parts import parts
from finetune_core.data.usable import recognised
from finetune_core.errors import FtError
from finetune_core.models.inspect import inspect_folder
from finetune_core.models.weights import read_weights
from finetune_core.recipe import yaml_io
from finetune_core.runs import control
from finetune_core.runs.directory import RunDir
from finetune_core.runs.journal import Journal, Tail, parse_line
from finetune_core.runs.log import last_lines
from finetune_core.runs.status import read_settled, read_status
from finetune_core.runs.view.run_view import RunView
from finetune_core.runs.view.summary import summarise
from finetune_core.text import bytes_text, clean, count_text
from finetune_core.worker.checkpoints import sealed as checkpoints
from finetune_tui.commands.plain import Follower
from finetune_tui.commands.runs import _status_lines
from finetune_tui.run_rows import RunRow, when
from finetune_tui.widgets.event_list import event_lines
from tests.fuzz import documents as known
from tests.fuzz.mutate import as_bytes, as_json, as_json_line, as_yaml
from tests.fuzz.runner import Target

Change = Callable[[bytes, Random], bytes]
_ROWS_LOOKED_AT = 2000


def _changed(documents: Callable[[], Sequence[bytes]], *meaning: Change) -> Callable[[Random], bytes]:
    """Makes inputs: a document with one to four changes, half of them of what it means; one in fifty is left whole."""

    def make(chance: Random) -> bytes:
        all_of_them = documents()
        data = chance.choice(all_of_them)
        if meaning and chance.random() < 0.6:
            data = chance.choice(meaning)(data, chance)
            changes = chance.choice((0, 0, 0, 1))
        else:
            changes = chance.choice((1, 1, 2, 4)) if chance.random() < 0.97 else 0
        for _ in range(changes):
            data = as_bytes(data, chance, chance.choice(all_of_them))
        return data

    return make


def _write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


# A run


def _run(folder: Path) -> RunDir:
    run = RunDir(folder / "run")
    run.control.mkdir(parents=True, exist_ok=True)
    return run


def _lines(data: bytes, _folder: Path) -> None:
    for line in data.split(b"\n"):
        parse_line(line)


def _journal(data: bytes, folder: Path) -> None:
    run = _run(folder)
    _write(run.events_file, data)
    tail = Tail(run.events_file)
    while tail.read(limit_bytes=400) or tail.behind:
        pass
    Tail(run.events_file, start=len(data) // 2).read()
    with Journal(run.events_file) as journal:
        journal.write("state", state="preparing")


def _view(data: bytes, folder: Path) -> None:
    run = _run(folder)
    _write(run.events_file, data)
    view = RunView(run)
    view.poll()
    json.dumps([view.to_dict(), view.plan])
    view.cost(2e9), view.eta_seconds, view.worked_seconds(2e9), view.result_is_earlier
    for event in view.samples:
        with suppress(FtError):
            view.load_sample(event)


def _words(data: bytes, folder: Path) -> None:
    """What `attach --plain`, `status` and the list of events say of it."""
    run = _run(folder)
    _write(run.events_file, data)
    _write(run.samples / "step-000002-held_out.json", known.SAMPLES[0])
    said: list[str] = []
    follower = Follower(run, said.append)
    follower.view.poll()
    follower.print_news()
    follower._print_end()
    json.dumps(follower.result())
    said += _status_lines(follower.view)
    event_lines(follower.view, 60)
    clean("\n".join(said)).encode()


def _list(data: bytes, folder: Path) -> None:
    """What the lists of runs say of it."""
    run = _run(folder)
    _write(run.status_file, data)
    row = RunRow(run, summarise(run))
    words = (row.state, row.progress, row.loss, row.age(2e9), row.model, when(row.summary.started))
    clean("".join(words)).encode()
    row.matches("a")
    view = RunView(run)
    view.poll()
    clean("".join(_status_lines(view))).encode()


def _status(data: bytes, folder: Path) -> None:
    run = _run(folder)
    _write(run.status_file, data)
    read_status(run)
    read_settled(run)


def _control(data: bytes, folder: Path) -> None:
    run = _run(folder)
    path = _write(run.control / "0-stop-1.json", data)
    # What was written just now might still be being written, and is left alone.
    os.utime(path, (1, 1))
    assert len(control.take(run)) + len(control.take_faulty(run)) == 1, "a request is neither sound nor faulty"


def _samples(data: bytes, folder: Path) -> None:
    run = _run(folder)
    _write(run.samples / "a.json", data)
    with suppress(FtError):
        RunView(run).load_sample({"path": "samples/a.json"})


def _plan(data: bytes, folder: Path) -> None:
    run = _run(folder)
    _write(run.plan_file, data)
    RunView(run).poll()


def _log(data: bytes, folder: Path) -> None:
    last_lines(_write(folder / "worker.log", data), 50)


def _recipe(data: bytes, folder: Path) -> None:
    path = _write(folder / "recipe.yaml", data)
    with suppress(FtError):
        yaml_io.dump(yaml_io.load(path))


def _manifests() -> tuple[bytes, ...]:
    files = {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in known.MANIFEST_FILES.items()
    }
    whole = {"v": 1, "step": 200, "notes": {"tokens": 7, "schedule": [1, 2]}, "files": files}
    return json.dumps(whole, indent=1).encode(), json.dumps({**whole, "notes": {}}).encode()


def _manifest(data: bytes, folder: Path) -> None:
    sealed = folder / "checkpoints" / "step-000200"
    _write(sealed / checkpoints.MANIFEST, data)
    for name, content in known.MANIFEST_FILES.items():
        if not (sealed / name).exists():
            _write(sealed / name, content)
    checkpoints.newest(folder / "checkpoints")


# A model


def _header(data: bytes, folder: Path) -> None:
    _write(folder / "model.safetensors", len(data).to_bytes(8, "little") + data + bytes(32832))
    with suppress(FtError):
        found = read_weights(folder)
        count_text(found.parameters)


def _weights(data: bytes, folder: Path) -> None:
    _look_at_model(folder, "model.safetensors", data)


def _config(data: bytes, folder: Path) -> None:
    _look_at_model(folder, "config.json", data)


def _index(data: bytes, folder: Path) -> None:
    _look_at_model(folder, "model.safetensors.index.json", data)


def _look_at_model(folder: Path, name: str, data: bytes) -> None:
    model = folder / "model"
    if not model.exists():
        header = known.HEADERS[0]
        _write(model / "config.json", known.CONFIGS[0])
        _write(model / "tokenizer.json", b"{}")
        _write(model / "model.safetensors", len(header).to_bytes(8, "little") + header + bytes(32832))
    _write(model / name, data)
    facts = inspect_folder(model, source="m", kind="folder")
    # As lists and plans show them.
    for figure in (facts.parameters, facts.hidden, facts.intermediate, facts.context, facts.vocabulary, facts.layers):
        count_text(figure or 0)
    bytes_text(facts.size_bytes or 0)


def _whole_weights() -> tuple[bytes, ...]:
    return tuple(len(header).to_bytes(8, "little") + header + bytes(128) for header in known.HEADERS)


# Rows


def _rows(suffix: str) -> Callable[[bytes, Path], None]:
    def read(data: bytes, folder: Path) -> None:
        path = _write(folder / f"rows{suffix}", data)
        with suppress(FtError):
            _read_all(open_file(path))

    return read


def _read_all(file: RowFile) -> None:
    rows = list(islice(file.rows(), _ROWS_LOOKED_AT))
    file.count()
    file.first(3, start=max(1, len(rows) // 2))
    list(file.chosen({1, 2, len(rows)}))
    for part in parts(file, 2):
        with suppress(OpenEndError):
            part.scan().finish()
    with suppress(FtError):
        for _ in recognised(file).canonical():
            pass


def _archived(kind: str) -> Callable[[Random], bytes]:
    """Half of the archives are damaged, the others hold damaged texts; a few hold far more than they take.

    How long an archive is read grows with what it unpacks to: of the damaged ones here
    none unpacks to more than 1 MB, and of the others only to one long row.
    """

    def make(chance: Random) -> bytes:
        whole = known.packed(kind)
        if chance.random() < 0.5:
            damaged = as_bytes(chance.choice(whole), chance, chance.choice(whole))
            return damaged if known.is_modest(damaged, kind) else whole[0]
        text = as_bytes(chance.choice((*known.JSONL, *known.CSV, *known.TEXTS)), chance, known.JSONL[0])
        if chance.random() < 0.002:
            text += chance.choice((b"\n", b'{"a":1}\n', b"[")) * 10**5
        elif chance.random() < 0.001:
            text += chance.choice((b"\0", b" ", b'"', b"a")) * chance.choice((10**7, 80 * 10**6))
        archive: bytes = known.pack(kind)(text)
        return archive if chance.random() < 0.8 else archive + as_bytes(archive, chance, archive)

    return make


TARGETS = (
    Target("journal line", 300, _changed(lambda: known.LINES, as_json), _lines),
    Target("journal", 40, _changed(lambda: known.JOURNAL, as_json_line), _journal),
    Target("run view", 40, _changed(lambda: known.JOURNAL, as_json_line), _view),
    Target("words of a run", 20, _changed(lambda: known.JOURNAL, as_json_line), _words),
    Target("line of a run", 20, _changed(lambda: known.STATUS, as_json), _list),
    Target("status", 110, _changed(lambda: known.STATUS, as_json), _status),
    Target("control", 100, _changed(lambda: known.CONTROL, as_json), _control),
    Target("samples", 40, _changed(lambda: known.SAMPLES, as_json), _samples),
    Target("plan", 30, _changed(lambda: known.CONFIGS, as_json), _plan),
    Target("log", 20, _changed(lambda: (*known.TEXTS, *known.JSONL)), _log),
    Target("recipe", 14, _changed(lambda: known.RECIPES[2:], as_yaml, as_yaml, as_yaml), _recipe),
    Target("whole recipe", 1, _changed(lambda: known.RECIPES, as_yaml), _recipe),
    Target("manifest", 80, _changed(_manifests, as_json), _manifest),
    Target("safetensors header", 80, _changed(lambda: known.HEADERS, as_json), _header),
    Target("safetensors file", 20, _changed(_whole_weights), _weights),
    Target("safetensors index", 15, _changed(lambda: known.INDEXES, as_json), _index),
    Target("config.json", 35, _changed(lambda: known.CONFIGS, as_json), _config),
    Target("jsonl", 40, _changed(lambda: known.JSONL, as_json_line), _rows(".jsonl")),
    Target("json", 30, _changed(lambda: known.JSON, as_json), _rows(".json")),
    Target("csv", 30, _changed(lambda: known.CSV), _rows(".csv")),
    Target("tsv", 20, _changed(lambda: known.TSV), _rows(".tsv")),
    Target("txt", 15, _changed(lambda: known.TEXTS), _rows(".txt")),
    Target("md", 5, _changed(lambda: known.TEXTS), _rows(".md")),
    Target("parquet", 20, _changed(lambda: known.tables("parquet")), _rows(".parquet")),
    Target("arrow", 20, _changed(lambda: known.tables("arrow")), _rows(".arrow")),
    Target("gzip", 12, _archived("gzip"), _rows(".jsonl.gz")),
    Target("zstd", 12, _archived("zstd"), _rows(".jsonl.zst")),
    Target("any name", 15, _changed(lambda: (*known.JSONL, *known.CSV, *known.STATUS)), _rows(".dat")),
)
