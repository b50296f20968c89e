"""Files made to exhaust a machine are refused, each limit by an attack of its own, in little time and memory."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from finetune_core import limits
from tests.core.data.tokenizers_made_here import make_model_folder

pa = pytest.importorskip("pyarrow")

# Runs what it is given with no more than 1.5 GiB of memory and 20 s of computing: more ends it.
_BOUNDED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_DATA, (3 * 2**29, 3 * 2**29))
resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
from pathlib import Path
from finetune_core.errors import FtError
path = Path(sys.argv[1])
try:
    exec(sys.argv[2])
except FtError as error:
    print("refused", error.problems[0].what, "|", error.problems[0].why)
"""
_ROWS = """
from collections import Counter
from finetune_core.data.files.open import open_rows
found = Counter(row.problem.what if row.problem else "" for row in open_rows(str(path)).rows())
print(found.most_common(), sum(found.values()))
"""
_HEADER = "from finetune_core.models.weights import read_header; read_header(path)"
_CONFIG = "from finetune_core.models.config import check_folder; check_folder(path.parent)"
_RECIPE = "from finetune_core.recipe.yaml_io import load; load(path)"
_PREVIEW = """
from finetune_core.worker.rows.tokenizer import load_tokenizer
from finetune_core.data.rows import Conversation, Message
from finetune_core.worker.rows.tokenise import Encoder
encoder = Encoder(load_tokenizer(path), "assistant")
encoder.encode(Conversation(1, (Message("user", "a"), Message("assistant", "b")), completion_only=False, tools=()))
"""


def doubling(path: Path) -> Path:
    grow = "{% set ns = namespace(x='ab') %}" + "{% for i in range(40) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}"
    return make_model_folder(path, grow + "{{ ns.x }}")


def parquet_of_one_text(path: Path, rows: int = 6000) -> Path:
    from pyarrow import parquet

    texts = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["x" * 2**20]))
    parquet.write_table(pa.table({"text": texts}), path, compression="zstd")
    assert path.stat().st_size < 2000
    return path


def parquet_of_one_page(path: Path) -> Path:
    from pyarrow import parquet

    parquet.write_table(
        pa.table({"text": ["\0" * 2**28] * 5}), path, compression="zstd", use_dictionary=False, row_group_size=1
    )
    return path


def archive(path: Path, size: int = 2**30 + 2**26) -> Path:
    with gzip.open(path, "wb", compresslevel=9) as stream:
        block = b'{"text": "' + b"a" * 2**20 + b'"}\n'
        for _ in range(size // len(block) + 1):
            stream.write(block)
    return path


def header(path: Path, text: bytes, data: int = 0) -> Path:
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"\0" * data)
    return path


def tensors(path: Path, count: int) -> Path:
    one = b'"%d":{"dtype":"I8","shape":[0],"data_offsets":[0,0]}'
    return header(path, b"{" + b",".join(one % number for number in range(count)) + b"}")


def two(path: Path, first: tuple[int, int], second: tuple[int, int], names: str = "ab") -> Path:
    each = '"{}":{{"dtype":"I8","shape":[{}],"data_offsets":[{},{}]}}'
    parts = [
        each.format(name, end - begin, begin, end) for name, (begin, end) in zip(names, (first, second), strict=True)
    ]
    return header(path, ("{" + ",".join(parts) + "}").encode(), 8)


def config(path: Path, **values: object) -> Path:
    make_model_folder(path.parent)
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    return path


ATTACKS: dict[str, tuple[str, Callable[[Path], Path], str, str]] = {
    "UNPACKED_TIMES": ("a.parquet", parquet_of_one_text, _ROWS, "unpacks to more than 300 times its size"),
    "UNPACKED_BYTES": ("a.parquet", parquet_of_one_page, _ROWS, "unpacks to more than 300 times its size"),
    "gzip": ("a.jsonl.gz", archive, _ROWS, "unpacks to more than 300 times its size"),
    "ROW_BYTES": (
        "a.jsonl",
        lambda path: (path.write_text('{"text": "' + "a" * (limits.ROW_BYTES + 1) + '"}\n{"text": "b"}\n'), path)[1],
        _ROWS,
        "too long to read",
    ),
    "HEADER_TENSORS": ("a.safetensors", lambda path: tensors(path, 250_000), _HEADER, "250,000 tensors"),
    "HEADER_BYTES": ("a.safetensors", lambda path: tensors(path, 900_000), _HEADER, "MiB, and real ones have less"),
    "overlap": ("a.safetensors", lambda path: two(path, (0, 6), (4, 8)), _HEADER, "`b` overlaps the tensor before it"),
    "gap": ("a.safetensors", lambda path: two(path, (0, 2), (4, 8)), _HEADER, "`b` does not begin where"),
    "twice": ("a.safetensors", lambda path: two(path, (0, 4), (4, 8), "aa"), _HEADER, "names `a` more than once"),
    "heads": ("m/config.json", lambda path: config(path, num_attention_heads=-3), _CONFIG, "num_attention_heads is -3"),
    "hidden": ("m/config.json", lambda path: config(path, hidden_size=0), _CONFIG, "hidden_size is 0"),
    "layers": ("m/config.json", lambda path: config(path, num_hidden_layers=1e308), _CONFIG, "is 1e+308"),
    "JSON_BYTES": ("m/config.json", lambda path: config(path, x="a" * limits.JSON_BYTES), _CONFIG, "MiB"),
    "JSON_DEPTH": (
        "m/config.json", lambda path: config(path, x=json.loads("[" * 40 + "]" * 40)), _CONFIG, "deeper than 32 levels"
    ),
    "TEMPLATE_BYTES": (
        "m/config.json",
        lambda path: (config(path), (path.parent / "chat_template.jinja").write_text("x" * (limits.TEMPLATE_BYTES + 1)))
        and path,
        _CONFIG,
        "chat_template.jinja",
    ),
    "SHARDS": (
        "m/model.safetensors.index.json",
        lambda path: (
            path.parent.mkdir(),
            path.write_text(json.dumps({"weight_map": {str(n): f"{n}.safetensors" for n in range(10_001)}})),
        )
        and path,
        "from finetune_core.models.weights import read_weights; read_weights(path.parent)",
        "index",
    ),
    "RENDER_BYTES": ("m", doubling, _PREVIEW, "MemoryError"),
    "YAML_BYTES": ("r.yaml", lambda path: (path.write_text("#" * (limits.YAML_BYTES + 1)), path)[1], _RECIPE, "KiB"),
    "YAML_DEPTH": ("r.yaml", lambda path: (path.write_text("a: " + "[" * 40 + "]" * 40), path)[1], _RECIPE, "levels"),
    "YAML_PARTS": (
        "r.yaml", lambda path: (path.write_text("a: [" + "1," * 20_000 + "]"), path)[1], _RECIPE, "parts"
    ),
}  # fmt: skip
# Tried where templates are: tests/core/worker/test_ask.py.
ELSEWHERE = {"RENDER_SECONDS"}


def test_every_limit_is_tried() -> None:
    named = {name for name in vars(limits) if name.isupper()} - {"MIB", "GIB"}
    assert named - ELSEWHERE <= ATTACKS.keys()


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_would_exhaust_the_machine_is_refused_by_name(attack: str, tmp_path: Path) -> None:
    name, make, code, words = ATTACKS[attack]
    path = make(tmp_path / name)
    done = subprocess.run(
        [sys.executable, "-c", _BOUNDED, str(path), code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert words in done.stdout


def test_what_is_large_and_honest_is_read(tmp_path: Path) -> None:
    from pyarrow import parquet

    rows = [
        [{"role": "system", "content": "You are helpful. " * 300}, {"role": "user", "content": str(n)}]
        for n in range(3000)
    ]
    kind = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    parquet.write_table(pa.table({"messages": pa.array(rows, kind), "n": range(3000)}), tmp_path / "a.parquet")
    from finetune_core.data.files.open import open_rows

    found = list(open_rows(str(tmp_path / "a.parquet")).rows())
    assert [row.value for row in found] == [{"messages": turns, "n": n} for n, turns in enumerate(rows)]
