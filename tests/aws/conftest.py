"""A real local SageMaker on loopback with stand-in programs, for tests that need no torch.

Fixtures do nothing unless a test names them: tests with the real programs live in this folder too. But what all tests
ask of the account is written down, for test_policies, which runs last.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from batch_service import Batch, started
from gatekeeper import RECORD

from kennel.local import daemon
from local_service import Client, left_of
from sdk_scripts import own_service

HERE = Path(__file__).parent
LAST = "test_policies.py"
IS_WHOLE = pytest.StashKey[bool]()
# Short enough for tests, long enough for a machine that is busy with others.
IMPATIENT = {
    "KENNEL_TRAIN_COMMAND": f"{sys.executable} -S {HERE / 'stand_in_train.py'}",
    "KENNEL_SERVE_COMMAND": f"{sys.executable} -S {HERE / 'stand_in_serve.py'}",
    "KENNEL_COMPANION_COMMAND": f"{sys.executable} -S {HERE / 'stand_in_companion.py'}",
    "KENNEL_LOCAL_STOP_GRACE_S": "3",
    "KENNEL_LOCAL_SERVE_GRACE_S": "3",
    "KENNEL_LOCAL_ORPHAN_GRACE_S": "3",
    "KENNEL_LOCAL_PING_LIMIT_S": "2",
    "KENNEL_LOCAL_INVOKE_LIMIT_S": "1",
    "KENNEL_LOCAL_CHECKPOINT_EVERY_S": "0.3",
    "KENNEL_LOCAL_RULES_SETTLE_S": "2",
    "KENNEL_LOCAL_RULES_GRACE_S": "2",
}


@pytest.fixture(scope="session", autouse=True)
def record(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the account writes what it is asked."""
    with pytest.MonkeyPatch.context() as patch:
        path = Path(os.environ.get(RECORD) or tmp_path_factory.mktemp("record") / "requests.jsonl")
        patch.setenv(RECORD, str(path))
        yield path


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What looks at the requests of all others comes after them."""
    items.sort(key=lambda item: item.path.name == LAST)
    if items:
        items[0].config.stash[IS_WHOLE] = _is_whole(items)


def _is_whole(items: list[pytest.Item]) -> bool:
    """Whether all tests of this folder run, and not some of them."""
    options = items[0].config.option
    is_chosen = options.keyword or options.markexpr or any("::" in each for each in items[0].config.args)
    return not is_chosen and {item.path for item in items} >= set(HERE.glob("test_*.py"))


@pytest.fixture
def is_whole(request: pytest.FixtureRequest) -> bool:
    """Whether all tests of this folder have run."""
    return request.config.stash[IS_WHOLE]


@contextmanager
def quiet_runs(runs: Path) -> Iterator[Path]:
    """A runs folder; its service is ended afterwards, and nothing of it may still run then."""
    try:
        yield runs
    finally:
        daemon.stop(runs)
        left = left_of(runs)
        for process in left:
            process.kill()
    assert not left, f"left running: {left}"


@contextmanager
def impatient() -> Iterator[None]:
    """A service started meanwhile runs the stand-ins, and waits only seconds."""
    with pytest.MonkeyPatch.context() as patch:
        for key, value in IMPATIENT.items():
            patch.setenv(key, value)
        yield


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runs folder of the test's own, for the real programs; whatever was started on it has ended afterwards."""
    with own_service(tmp_path / "runs") as folder:
        monkeypatch.setenv("KENNEL_RUNS", str(folder))
        yield folder


@pytest.fixture(scope="session")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Clients of a service that many tests share; each uses names of its own."""
    with quiet_runs(tmp_path_factory.mktemp("runs").resolve()) as runs:
        with impatient():
            state = daemon.start(runs)
        yield Client(state)


@pytest.fixture(scope="session")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Batch]:
    """A service for batch transforms that many tests share, with a model called `model`."""
    with quiet_runs(tmp_path_factory.mktemp("batch").resolve()) as runs:
        with impatient():
            batch = started(runs)
        batch.model("model", MINE="the model's")
        yield batch


@pytest.fixture
def own_runs(tmp_path: Path) -> Iterator[Path]:
    """A runs folder of the test's own, for tests that end its service."""
    with impatient(), quiet_runs(tmp_path.resolve() / "runs") as runs:
        yield runs


@pytest.fixture
def start(own_runs: Path) -> Callable[[], Client]:
    """Starts (again) a service on the test's own runs folder."""
    return lambda: Client(daemon.start(own_runs))
