"""A tiny model and its data, made once for a test process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.core.worker import tiny
from tests.core.worker.model_hub import Hub, serving


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_rows(tmp_path_factory.mktemp("data") / "rows.jsonl", tiny.rows())


@pytest.fixture
def hub(model: Path) -> Iterator[Hub]:
    """A hub that has the tiny model as some/tiny."""
    with serving({path.name: path.read_bytes() for path in model.iterdir()}) as server:
        yield server
