"""The figures that the README quotes are what its commands printed, with their dates; see tests/bench/record.py."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.bench.record import RECORDED, RESULTS, VERSIONS

README = (Path(__file__).parents[1] / "README.md").read_text()


def printed(name: str) -> str:
    return (RESULTS / f"{name}.txt").read_text()


def found(pattern: str, text: str) -> tuple[str, ...]:
    match = re.search(pattern, text, re.MULTILINE)
    assert match is not None, f"{pattern!r} is not in:\n{text}"
    return match.groups()


def paragraph(words: str) -> str:
    """The paragraph of the README in which these words stand."""
    return next(part for part in README.split("\n\n") if words in part)


@pytest.mark.parametrize("name", RECORDED)
def test_the_readme_names_the_command_and_the_day_it_was_run(name: str) -> None:
    command, day = found(r"^command +(.+)$", printed(name))[0], found(r"^date +(\S+)", printed(name))[0]
    quoted = paragraph(f"`{command}`")
    assert f"`{command}`, {day}" in quoted


def test_the_errors_of_the_memory_formula() -> None:
    count, median, worst = found(
        r"^(\d+) configurations: median ([\d.]+) %.* worst ([\d.]+) %", printed("memory_error")
    )
    assert f"Over {count} configurations" in README
    assert f"{float(median):.2f} % off the trace at the median and {float(worst):.1f} % at worst" in README


def test_the_start_of_a_run_and_of_the_app() -> None:
    warm, cold = (
        float(found(rf"^{way} .* ([\d.]+) of the script", printed("launch_to_step"))[0])
        for way in ("waiting worker", "ft-tui train")
    )
    quoted = paragraph("launch_to_step.py")
    assert f"after {warm:.2f} of the time" in quoted
    assert f"after {cold:.2f} of it" in quoted
    ratio = float(found(r'"ratio": ([\d.]+)', printed("first_frame"))[0])
    assert f"{ratio:.1f} times as long as a bare Textual app" in README


@pytest.mark.parametrize("package", VERSIONS)
def test_each_version_that_is_kept_beside_a_figure_is_known(package: str) -> None:
    assert version(package)
