"""Hold the house to its sizes: functions, modules and the App class; print the figures either way."""

from __future__ import annotations

import ast
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

MAX_FUNCTION = 60
MAX_MEDIAN_FUNCTION = 10
MAX_MODULE = 500
MAX_APP_CLASS = 400
ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(path for root in ("core", "tui") for path in (ROOT / root).rglob("*.py"))


def lines(node: ast.AST) -> int:
    """Lines from the first to the last of a definition."""
    return int(node.end_lineno) - int(node.lineno) + 1  # type: ignore[attr-defined]


def definitions(kind: type | tuple[type, ...]) -> Iterator[tuple[int, str]]:
    """(lines, place) of every definition of this kind in the sources."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, kind):
                yield lines(node), f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"


def main() -> int:
    """Print what is over its limit; the exit status is 1 when anything is."""
    functions = list(definitions((ast.FunctionDef, ast.AsyncFunctionDef)))
    modules = [(path.read_text().count("\n"), str(path.relative_to(ROOT))) for path in SOURCES]
    apps = [found for found in definitions(ast.ClassDef) if found[1].endswith("App")]
    over = [f"function of {size} lines: {place}" for size, place in functions if size > MAX_FUNCTION]
    over += [f"module of {size} lines: {place}" for size, place in modules if size > MAX_MODULE]
    over += [f"App class of {size} lines: {place}" for size, place in apps if size > MAX_APP_CLASS]
    median = statistics.median(size for size, _ in functions)
    if median >= MAX_MEDIAN_FUNCTION:
        over.append(f"median function of {median} lines")
    print(f"{len(functions)} functions: median {median:.0f} lines, longest {max(functions)[0]}")
    print(f"{len(modules)} modules: longest {max(modules)[0]}")
    print("\n".join(over) or "all within their limits")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
