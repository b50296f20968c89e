"""Nothing in the program runs code of a model, a data set or a recipe: held over its syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import finetune_core
import finetune_tui

_FORBIDDEN = {
    "eval", "exec", "os.system", "os.popen", "pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.loads",
    "joblib.load", "dill.load", "subprocess.getoutput", "subprocess.getstatusoutput", "shelve.open",
}  # fmt: skip
_OWN = "from finetune_core.models.trust import is_trusted"
# Where what is loaded came from this very program a moment ago.
_OWN_FILES = {"make_demo.py"}


def sources() -> Iterator[tuple[Path, ast.Module]]:
    for package in (finetune_core, finetune_tui):
        for path in Path(str(package.__file__)).parent.rglob("*.py"):
            yield path, ast.parse(path.read_text(encoding="utf-8"))


def misuse(name: str, tree: ast.AST) -> list[str]:
    """What a module must not do, each with its line."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    asks = _asks_for_consent(tree)
    return [f"{name}:{call.lineno} {words}" for call in calls for words in _faults(name, call, asks=asks)]


def _faults(name: str, call: ast.Call, *, asks: bool) -> Iterator[str]:
    called = ast.unparse(call.func)
    given = {word.arg: word.value for word in call.keywords}
    if called in _FORBIDDEN:
        yield called
    trusts = given.get("trust_remote_code")
    if trusts is not None and not (_is(trusts, value=False) or (asks and _is_consent(trusts))):
        yield "trust_remote_code is neither False nor the user's consent"
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


def _asks_for_consent(tree: ast.AST) -> bool:
    """Whether `is_trusted` is the program's own, and nothing else of this name is made in the module."""
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    own = any(
        node.module == "finetune_core.models.trust"
        and any(one.name == "is_trusted" and not one.asname for one in node.names)
        for node in imports
    )
    others = [
        one
        for node in imports
        for one in node.names
        if node.module != "finetune_core.models.trust" or one.name != "is_trusted"
    ]
    made = {
        *(one.asname or one.name for one in others),
        *(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)),
        *(node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)),
        *(node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)),
    }
    return own and "is_trusted" not in made


def _is_consent(node: ast.expr) -> bool:
    """`is_trusted(folder)`: one plain name, and nothing around it."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "is_trusted"
        and not node.keywords
        and [type(one) for one in node.args] == [ast.Name]
    )


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
        "AutoTokenizer.from_pretrained(p, trust_remote_code=is_trusted(p))",
        f"{_OWN}\nAutoTokenizer.from_pretrained(p, trust_remote_code=is_trusted)",
        f"{_OWN}\nAutoTokenizer.from_pretrained(p, trust_remote_code=not is_trusted(p))",
        f"{_OWN}\nAutoTokenizer.from_pretrained(p, trust_remote_code=is_trusted(p) or wanted)",
        f"{_OWN}\nAutoTokenizer.from_pretrained(p, trust_remote_code=is_trusted('/other'))",
        f"{_OWN}\nAutoTokenizer.from_pretrained(p, trust_remote_code=trust.is_trusted(p))",
        f"{_OWN}\nis_trusted = print\nAutoTokenizer.from_pretrained(p, trust_remote_code=is_trusted(p))",
        f"{_OWN}\ndef is_trusted(p): ...\nAutoTokenizer.from_pretrained(p, trust_remote_code=is_trusted(p))",
        "from evil import is_trusted\nAutoTokenizer.from_pretrained(p, trust_remote_code=is_trusted(p))",
        f"{_OWN}\nfrom evil import x as is_trusted\nAutoTokenizer.from_pretrained(p, trust_remote_code=is_trusted(p))",
        f"{_OWN}\nfrom finetune_core.models.trust import wants_code as is_trusted\nf(trust_remote_code=is_trusted(p))",
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


def test_the_consent_of_the_user_is_the_one_other_way() -> None:
    line = f"{_OWN}\nAutoTokenizer.from_pretrained(p, trust_remote_code=is_trusted(p))"
    assert misuse("x.py", ast.parse(line)) == []
