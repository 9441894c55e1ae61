"""One archive for all tests of serving: writing it takes longer than any of them."""

from pathlib import Path

import pytest

from kennel.serving.engine import Engine, load_engine
from served_archive import make_archive


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive that no test may change."""
    return make_archive(tmp_path_factory.mktemp("archive") / "model")


@pytest.fixture(scope="session")
def engine(model_dir: Path) -> Engine:
    return load_engine(model_dir)
