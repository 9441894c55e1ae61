import os
import sys
from pathlib import Path

import pytest

from kennel.errors import ContractError
from kennel.serving import frontend
from kennel.serving.java import Java
from kennel.serving.settings import ServerSettings, read_settings


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> ServerSettings:
    return read_settings({"KENNEL_LOOPBACK": "1", "SAGEMAKER_BIND_TO_PORT": "9123", "SAGEMAKER_MAX_PAYLOAD_IN_MB": "2"})


def properties(folder: Path) -> dict[str, str]:
    lines = (folder / "mms.properties").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines)


def test_the_private_folder_is_removed_with_everything_in_it(settings: ServerSettings) -> None:
    with frontend.private_folder() as folder:
        frontend.write_files(folder, settings)
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()


def test_management_is_on_a_socket_of_the_private_folder_and_not_on_a_port(
    settings: ServerSettings, tmp_path: Path
) -> None:
    frontend.write_files(tmp_path, settings)
    assert properties(tmp_path)["management_address"] == f"unix:{tmp_path}/management.sock"
    assert properties(tmp_path)["inference_address"] == "http://127.0.0.1:9123"


def test_settings_reach_multi_model_server(settings: ServerSettings, tmp_path: Path) -> None:
    frontend.write_files(tmp_path, settings)
    found = properties(tmp_path)
    assert (found["default_response_timeout_seconds"], found["max_request_size"]) == ("60", str(2 * 2**20))
    assert found["default_workers_per_model"] == str(settings.workers)


def test_the_command_has_the_settings_options_for_java(settings: ServerSettings, tmp_path: Path) -> None:
    old = frontend.java_command(tmp_path, settings, Java(Path("/usr/bin/java"), 8))
    new = frontend.java_command(tmp_path, settings, Java(Path("/usr/bin/java"), 25))
    assert old[0] == "/usr/bin/java"
    assert set(settings.vmargs) <= set(old)
    assert set(new) - set(old) == {"--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow"}


def test_variables_that_would_override_our_files_do_not_reach_java(tmp_path: Path) -> None:
    found = frontend.environment(tmp_path, {"MMS_CONFIG_FILE": "x", "MODEL_SERVER_HOME": "y", "MINE": "z"})
    assert (found["MINE"], found["OMP_NUM_THREADS"], found["TMPDIR"]) == ("z", "1", str(tmp_path))
    assert not found.keys() & {"MMS_CONFIG_FILE", "MODEL_SERVER_HOME"}


def test_the_worker_imports_from_where_the_server_does(settings: ServerSettings, tmp_path: Path) -> None:
    frontend.write_files(tmp_path, settings)
    script = (tmp_path / "home" / "mms" / "model_service_worker.py").read_text()
    assert f"sys.path[:] = {sys.path!r}" in script


def test_a_temporary_folder_whose_path_is_too_long_for_a_socket_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(frontend.tempfile, "gettempdir", lambda: str(long))
    with frontend.private_folder() as folder:
        assert folder.parent != long


def test_no_place_for_sockets_names_every_place_and_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    class Noexec:
        f_flag = os.ST_NOEXEC

    monkeypatch.setattr(frontend.os, "statvfs", lambda path: Noexec())
    with (
        pytest.raises(ContractError, match=r"no place for its sockets: /.*\(mounted with noexec\).* Set TMPDIR"),
        frontend.private_folder(),
    ):
        pytest.fail("there is a place")


def test_a_place_without_programs_will_do_where_java_need_not_load_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Noexec:
        f_flag = os.ST_NOEXEC

    monkeypatch.setattr(frontend.os, "statvfs", lambda path: Noexec())
    with frontend.private_folder(is_for_java=False) as folder:
        assert folder.is_dir()
    monkeypatch.setattr(frontend.native, "is_unpacked", lambda: True)
    with frontend.private_folder() as folder:
        assert folder.is_dir()


def test_no_worker_is_ready_where_nothing_answers(tmp_path: Path) -> None:
    assert frontend.ready_workers(tmp_path) == 0
