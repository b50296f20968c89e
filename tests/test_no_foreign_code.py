"""Nothing in the program runs code of a model, a data set or a recipe: held over its syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import ft_core
import ft_tui

_FORBIDDEN = {
    "eval", "exec", "os.system", "os.popen", "pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.loads",
    "joblib.load", "dill.load", "subprocess.getoutput", "subprocess.getstatusoutput", "shelve.open",
}  # fmt: skip
# Where what is loaded came from this very program a moment ago.
_OWN_FILES = {"make_demo.py"}


def sources() -> Iterator[tuple[Path, ast.Module]]:
    for package in (ft_core, ft_tui):
        for path in Path(str(package.__file__)).parent.rglob("*.py"):
            yield path, ast.parse(path.read_text(encoding="utf-8"))


def misuse(name: str, tree: ast.AST) -> list[str]:
    """What a module must not do, each with its line."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [f"{name}:{call.lineno} {words}" for call in calls for words in _faults(name, call)]


def _faults(name: str, call: ast.Call) -> Iterator[str]:
    called = ast.unparse(call.func)
    given = {word.arg: word.value for word in call.keywords}
    if called in _FORBIDDEN:
        yield called
    if "trust_remote_code" in given and not _is(given["trust_remote_code"], value=False):
        yield "trust_remote_code is not False"
    if called.startswith("Auto") and called.endswith((".from_pretrained", ".from_config")):
        yield from () if "trust_remote_code" in given else ("trust_remote_code is left open",)
    if called.endswith("ForCausalLM.from_pretrained") and name not in _OWN_FILES:
        yield from () if _is(given.get("use_safetensors"), value=True) else ("pickles are not refused",)
    if called == "torch.load" and not _is(given.get("weights_only"), value=True):
        yield "torch.load without weights_only"
    if called == "YAML" and not (isinstance(kind := given.get("typ"), ast.Constant) and kind.value == "safe"):
        yield "YAML that makes objects"
    if "shell" in given:
        yield "a shell"


def _is(node: ast.expr | None, *, value: bool) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def test_no_call_trusts_code_reads_pickles_or_starts_a_shell() -> None:
    trees = list(sources())
    assert len(trees) > 200
    assert [found for path, tree in trees for found in misuse(path.name, tree)] == []


@pytest.mark.parametrize(
    "line",
    [
        "AutoModelForCausalLM.from_pretrained(p, trust_remote_code=True, use_safetensors=True)",
        "AutoModelForCausalLM.from_pretrained(p, trust_remote_code=wanted, use_safetensors=True)",
        "AutoModelForCausalLM.from_pretrained(p, trust_remote_code=False)",
        "AutoTokenizer.from_pretrained(p)",
        "AutoModelForCausalLM.from_config(c)",
        "datasets.load_dataset(p, trust_remote_code=True)",
        "torch.load(p)",
        "torch.load(p, weights_only=False)",
        "pickle.loads(b)",
        "subprocess.run(c, shell=True)",
        "eval(text)",
        "YAML().load(text)",
        "YAML(typ='unsafe')",
    ],
)
def test_each_of_these_would_be_found(line: str) -> None:
    assert misuse("x.py", ast.parse(line))
