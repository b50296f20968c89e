"""A home and a folder in which every string that anyone but the program writes is hostile."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from finetune_core import demo
from finetune_core.recipe.check import with_values
from finetune_core.recipe.schema import Recipe
from finetune_core.recipe.yaml_io import dump, save
from finetune_core.runs.directory import RunDir
from tests.core.models.folders import model_folder
from tests.tui.hostile import HOSTILE
from tests.tui.made_runs import MadeRun

# Long ones are shown cut: this is enough to see them, and does not fill the disk.
_MOST = 20_000
_NAME_BYTES = 200


def in_unicode(text: str) -> str:
    """The text without halves of characters, which JSON may hold and YAML may not."""
    return text.encode(errors="replace").decode()[:_MOST]


def file_name(text: str) -> str:
    """The text as far as it can be the name of a file."""
    data = os.fsencode(text.encode(errors="replace").decode().replace("/", "_").replace("\0", ""))[:_NAME_BYTES]
    return os.fsdecode(data)


def make_folder(folder: Path) -> None:
    """Files of rows and recipes, and a model, to stand among."""
    rows = [{"prompt": f"{name} {text[:_MOST]}", "completion": text[:_MOST]} for name, text in HOSTILE.items()]
    turns = [
        {"messages": [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["completion"]}],
         "synthetic": dict.fromkeys(("generator", "endpoint", "at"), row["completion"][:99]),
         row["completion"][:40]: 1}
        for row in rows
    ]  # fmt: skip
    _lines(folder / "rows.jsonl", rows)
    _lines(folder / "turns.jsonl", turns)
    _lines(folder / "new.pending.jsonl", turns)
    _lines(folder / "columns.jsonl", [{text[:200]: text[:200], "b": 1} for text in HOSTILE.values()])
    (folder / "broken.jsonl").write_bytes(b"\n".join(in_unicode(text).encode() for text in HOSTILE.values()))
    table = "".join(f'"{in_unicode(text)}",x\n'.replace("\0", "") for text in HOSTILE.values())
    (folder / "table.csv").write_text(f"prompt,{in_unicode(HOSTILE['cleared screen'])}\n{table}")
    (folder / "notes.txt").write_text("\n\n".join(in_unicode(text) for text in HOSTILE.values()))
    model = model_folder(folder / "model", config={"architectures": [HOSTILE["action"]], "dtype": HOSTILE["title"]})
    (model / "README.md").write_text(f"---\nlicense: {in_unicode(HOSTILE['paste buffer'])}\n---\n")
    (model / "chat_template.jinja").write_text(in_unicode("\n".join(HOSTILE.values())))
    for text in HOSTILE.values():
        (model / f"{file_name(text)}.py").write_text(f"# {in_unicode(text)}\n")
    for text in HOSTILE.values():
        with suppress(OSError):
            shutil.copy(folder / "rows.jsonl", folder / f"{file_name(text)}.jsonl")
        path = folder / f"recipe {file_name(text)}.yaml"
        with suppress(OSError):
            path.write_text(_recipe(text))


def _lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _recipe(text: str) -> str:
    """A recipe with the string in every field that holds text, written as a stranger may write it."""
    values = dict(demo.recipe_values()) | {"hardware.device": "cpu"}
    lines = dump(with_values(Recipe(), values), comments=False).split("\n")
    quoted = json.dumps(text[:2000])
    hostile = {
        "source": quoted, "held_out": quoted, "name": quoted, "only": quoted, "system": quoted, "chat_template": quoted,
        "prompts": f"[{quoted}]", "mapping": f"{{prompt: {quoted}}}",
        "mix": f"{{{quoted}: 0.1}}", "gpus": f"[{quoted}]",
    }  # fmt: skip
    changed = [
        f"{head}: {hostile[head.strip()]}" if (head := line.partition(": ")[0]).strip() in hostile else line
        for line in lines
        if not line.startswith("reasons")
    ]
    return "\n".join([*changed, f"reasons: {{training.epochs: {quoted}, {quoted}: x}}", f"{quoted}: 1", ""])


def make_runs() -> list[RunDir]:
    """Two runs with everything hostile at once, and one for each string, which is its name, model, data and state."""
    newest = MadeRun(name="20270101-000000-newest", live=False)
    newest.journal.close()
    values = {"model.source": str(Path("model").absolute()), "data.source": str(Path("rows.jsonl").absolute())}
    save(with_values(Recipe(), values), newest.dir.recipe_file)
    found = [newest.dir, _whole("20260601-000000-failed", "failed"), _whole("20260601-000001-done", "done")]
    return [*found, *map(_one, HOSTILE)]


def _whole(name: str, state: str) -> RunDir:
    made = MadeRun(name=name, live=False, total=9, gpus=1).prepare()
    texts = [text[:_MOST] for text in HOSTILE.values()]
    made.sample([(text, text, text) for text in texts], reference=texts[0]).train(9).evaluate(0.4)
    for text in texts:
        made.write("alarm", name=text, text=text)
        made.write("control", id=text[:50], request=text[:50], ok=False, text=text)
        made.write("state", state="training", phase=text, done=1, total=2, unit=text)
        made.write("checkpoint", step=9, path=text, bytes=1)
        made.write("probe", peak=1, words=text)
    made.dir.log_file.write_text("\n".join(in_unicode(text) for text in HOSTILE.values()))
    all_of_them = "".join(text[:99] for text in texts)
    made.write("verdict", path=all_of_them, rows=9, better=True, words=all_of_them, base={all_of_them: 1, "exact": 0},
               tuned={all_of_them: 1, "exact": 1})  # fmt: skip
    made.write("result", path=all_of_them[:200], bytes=9, kind="adapter", base=all_of_them, revision=all_of_them)
    if state == "failed":
        made.end("failed", cause=all_of_them, remedy=all_of_them, last_lines=texts)
    else:
        made.end("done")
    made.journal.close()
    made.dir.recipe_file.write_text(_recipe(HOSTILE["action"]))
    return made.dir


def _one(name: str) -> RunDir:
    text = in_unicode(HOSTILE[name])
    made = MadeRun(name="20260531-101500-x", live=False)
    made.journal.close()
    status = json.loads(made.dir.status_file.read_bytes())
    made.dir.status_file.write_text(json.dumps({**status, "model": text, "data": text, "state": text[:50]}))
    made.dir.recipe_file.write_text(_recipe(text))
    return RunDir(made.dir.path.rename(made.dir.path.with_name(f"20260531-101500-{file_name(text)}")))
