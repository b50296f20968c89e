"""Plain English in docstrings, comments and messages: no word that has a plainer one, no sentence that is too long.

Run as `python .ci/words.py`; the exit code is 1 where something is found, and each line says where and what to write.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
FOLDERS: Final = ("core", "tui")
PAGES: Final = ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "SECURITY.md")
LONGEST: Final = 30
# A message is a string of at least so many words: shorter ones are names, labels and parts of a line.
_MESSAGE: Final = 6
# Strings there are rows and prompts of the demo, not messages.
_DATA: Final = ("demo/rows.py", "demo/facts", "worker/make_demo.py")

# Each word or phrase, as a pattern, with what is plainer.
PLAINER: Final = {
    r"told": "reported, said, named or known, by what is meant",
    r"(?<!few to )(?<!rows to )(?<!cannot )tells?": "report, say, show, print or distinguish, by what is meant",
    r"telling": "reporting, saying or showing, by what is meant",
    r"learnt": "trained (of tokens and rows), learned (of a model)",
    r"gone to": "opened",
    r"so far as": "as far as, or where",
    r"whatever stands there": "anything else",
    r"in order that": "so that",
    r"in spite of": "despite",
    r"by no means": "not",
    r"as well as": "and",
    r"prior to": "before",
    r"utili[sz]e[sd]?": "use",
    r"in order to": "to",
    r"due to the fact that": "because",
    r"at this point in time": "now",
    r"a number of": "several, or the number",
    r"ascertain": "find out",
    r"henceforth": "from now on",
    r"whilst": "while",
    r"amongst": "among",
    r"thereof": "of it",
    r"therein": "in it",
    r"hereby": "",
}
_WORD: Final = re.compile(r"\b(" + "|".join(PLAINER) + r")\b", re.IGNORECASE)
_SENTENCE: Final = re.compile(r"(?<=[.:;!?])\s+|\n\s*\n|\n\s*[-*|] |\n(?=\d+\. )")
# A list of words has no stops.
_SAYS: Final = re.compile(r"[.:;,]")
_CODE: Final = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)


@dataclass(frozen=True)
class Found:
    """One place where something could be said more plainly."""

    path: Path
    line: int
    words: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.words}"


def in_text(text: str, path: Path, line: int, *, sentences: bool = True) -> Iterator[Found]:
    """What could be plainer in a text that begins at a line."""
    for match in _WORD.finditer(text):
        key = next(word for word in PLAINER if re.fullmatch(word, match[0], re.IGNORECASE))
        at = line + text[: match.start()].count("\n")
        yield Found(path, at, f"`{match[0]}`: write {PLAINER[key] or 'nothing'}")
    if not sentences or not _SAYS.search(text):
        return
    for sentence in _SENTENCE.split(_CODE.sub("code", text)):
        words = [word for word in sentence.split() if any(map(str.isalnum, word))]
        if len(words) > LONGEST:
            yield Found(path, line, f"a sentence of {len(words)} words, at most {LONGEST}: {' '.join(words[:8])} ...")


def in_code(source: str, path: Path, *, messages: bool = True) -> Iterator[Found]:
    """What could be plainer in docstrings, comments and, unless its strings are data, messages of a module."""
    tree = ast.parse(source)
    docstrings = {id(node) for node in _docstrings(tree)}
    parts = {id(value) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for value in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            if id(node) in docstrings or (messages and len(node.value.split()) >= _MESSAGE):
                yield from in_text(node.value, path, node.lineno)
        elif messages and isinstance(node, ast.JoinedStr):
            text = "".join(value.value if isinstance(value, ast.Constant) else "X" for value in node.values)  # type: ignore[misc]
            if len(text.split()) >= _MESSAGE:
                yield from in_text(text, path, node.lineno)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield from in_text(token.string, path, token.start[0], sentences=False)


def _docstrings(tree: ast.AST) -> Iterator[ast.Constant]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                yield first.value


def everything() -> Iterator[Found]:
    """What could be plainer in the project."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.as_posix()
            messages = not any(part in name for part in _DATA)
            yield from in_code(path.read_text(), path.relative_to(ROOT), messages=messages)
    for name in PAGES:
        text = _CODE.sub(lambda code: "\n" * code[0].count("\n"), (ROOT / name).read_text())
        yield from in_text(text, Path(name), 1, sentences=False)


def main() -> int:
    """Print what is found; gives the exit code."""
    found = sorted(set(everything()), key=lambda one: (str(one.path), one.line, one.words))
    for one in found:
        sys.stdout.write(f"{one}\n")
    sys.stdout.write(f"{len(found)} places could be plainer\n" if found else "all plain\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
