"""Record a finished demo run as the fixture behind the README's picture.

    ft-tui demo --plain
    python tests/tui/record_demo.py RUN_DIRECTORY
    FT_TUI_UPDATE_SNAPSHOTS=1 pytest -n 0 tests/tui/test_readme_picture.py

What belongs to one machine is left out: processes, and the folder the program was installed in.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

FIXTURE = Path(__file__).parent / "fixtures" / "demo-run"
_DIGITS = 6


def rounded(value: Any) -> Any:
    """Figures as short as a chart needs them."""
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, dict):
        return {name: rounded(item) for name, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list) else value


def event(line: str, installed: str) -> str:
    """One event of the journal, shortened; times keep their milliseconds."""
    found = json.loads(line.replace(installed, "core/finetune_core/demo/model"))
    times = {name: round(found[name], 3) for name in ("t", "mono")}
    return json.dumps({**rounded(found), **times}, separators=(",", ":"))


def main(run: Path) -> None:
    """Write the fixture anew."""
    from finetune_core.demo import model_dir

    shutil.rmtree(FIXTURE, ignore_errors=True)
    (FIXTURE / "samples").mkdir(parents=True)
    for file in (run / "samples").iterdir():
        shutil.copyfile(file, FIXTURE / "samples" / file.name)
    for name in ("recipe.yaml", "plan.json"):
        shutil.copyfile(run / name, FIXTURE / name)
    status = json.loads((run / "status.json").read_text())
    (FIXTURE / "status.json").write_text(json.dumps({**status, "supervisor": None, "trainer": None}))
    lines = (run / "events.jsonl").read_text().splitlines()
    (FIXTURE / "events.jsonl").write_text("".join(event(line, str(model_dir())) + "\n" for line in lines))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
