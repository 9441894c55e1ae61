import json
from dataclasses import replace
from pathlib import Path

import pytest

from kennel.conformance.ml_folder import Job, configuration, lay_out


@pytest.fixture
def job(tmp_path: Path) -> Job:
    channels = {"training": tmp_path / "pictures"}
    return Job(channels=channels, hyperparameters={"epochs": "2", "name": 'a "b"'})


def test_quoted_values_are_json_inside_the_string(job: Job) -> None:
    assert configuration(job, "algo-1")["hyperparameters"] == {"epochs": "2", "name": 'a "b"'}
    quoted = configuration(replace(job, is_quoted=True), "algo-1")["hyperparameters"]
    assert quoted["epochs"] == '"2"'
    assert {name: json.loads(value) for name, value in quoted.items()} == job.hyperparameters


def test_extras_are_every_file_seen_in_real_jobs_with_their_nulls(job: Job) -> None:
    files = configuration(job, "algo-1")
    assert set(files) == {
        "hyperparameters",
        "inputdataconfig",
        "resourceconfig",
        "metric-definition-regex",
        "checkpointconfig",
        "debughookconfig",
        "tensorboardoutputconfig",
        "profilerconfig",
        "init-config",
        "trainingjobconfig",
        "upstreamoutputdataconfig",
    }
    assert files["debughookconfig"]["CollectionConfigurations"] is None
    assert "instance_groups" in files["resourceconfig"]


def test_without_extras_only_what_is_documented_is_there(job: Job, tmp_path: Path) -> None:
    plain = replace(job, has_extras=False)
    ml = lay_out(tmp_path / "ml", plain)
    assert {path.stem for path in (ml.base / "input" / "config").iterdir()} == {
        "hyperparameters",
        "inputdataconfig",
        "resourceconfig",
    }
    assert set(configuration(plain, "algo-1")["resourceconfig"]) == {"current_host", "hosts", "network_interface_name"}
    assert [path.name for path in (ml.base / "input" / "data").iterdir()] == ["training"]


def test_a_manifest_file_stands_beside_each_channel(job: Job, tmp_path: Path) -> None:
    ml = lay_out(tmp_path / "ml", job)
    assert sorted(path.name for path in (ml.base / "input" / "data").iterdir()) == ["training", "training-manifest"]
    assert (ml.base / "input" / "data" / "training-manifest").is_file()


def test_folders_are_mounted_one_by_one_and_input_alone_is_read_only(job: Job, tmp_path: Path) -> None:
    mounts = {each.target: each for each in lay_out(tmp_path / "ml", job).mounts()}
    assert set(mounts) == {
        "/opt/ml/input",
        "/opt/ml/input/data/training",
        "/opt/ml/model",
        "/opt/ml/output",
        "/opt/ml/checkpoints",
    }
    assert {target for target, each in mounts.items() if each.is_read_only} == {
        "/opt/ml/input",
        "/opt/ml/input/data/training",
    }
    assert mounts["/opt/ml/input/data/training"].source == tmp_path / "pictures"


def test_a_restarted_job_has_the_checkpoints_of_the_first_and_nothing_else(job: Job, tmp_path: Path) -> None:
    first = lay_out(tmp_path / "first", job)
    (first.checkpoints_dir / "state").write_text("1")
    (first.model_dir / "model").write_text("1")
    second = lay_out(tmp_path / "second", job, checkpoints_dir=first.checkpoints_dir)
    assert (second.checkpoints_dir / "state").exists()
    assert not any(second.model_dir.iterdir())


def test_each_host_of_two_knows_both_and_its_own_name(job: Job) -> None:
    files = configuration(replace(job, hosts=("algo-2", "algo-1")), "algo-2")
    assert files["resourceconfig"]["hosts"] == ["algo-1", "algo-2"]
    assert files["resourceconfig"]["current_host"] == "algo-2"
    assert files["init-config"]["hostConfig"] == {"clusterSize": 2, "hostNumber": 1}


def test_a_failure_file_is_read_where_it_is_there(job: Job, tmp_path: Path) -> None:
    ml = lay_out(tmp_path / "ml", job)
    assert ml.failure() is None
    (ml.output_dir / "failure").write_bytes(b"no \xff data")
    assert ml.failure() == "no \ufffd data"
