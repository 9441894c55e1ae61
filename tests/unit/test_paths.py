import json
from pathlib import Path

from kennel.paths import MlPaths, ml_paths


def test_the_folder_is_opt_ml_unless_moved() -> None:
    assert ml_paths({}).model_dir == Path("/opt/ml/model")
    assert ml_paths({"SAGEMAKER_BASE_DIR": "/somewhere"}).failure_file == Path("/somewhere/output/failure")


def test_channels_are_those_of_inputdataconfig(tmp_path: Path) -> None:
    paths = MlPaths(tmp_path)
    paths.input_config_dir.mkdir(parents=True)
    (paths.input_config_dir / "inputdataconfig.json").write_text(json.dumps({"train": {}, "valid": {}}))
    assert paths.channels() == {name: paths.input_data_dir / name for name in ("train", "valid")}


def test_channels_are_the_folders_when_no_configuration_lists_them(tmp_path: Path) -> None:
    paths = MlPaths(tmp_path)
    (paths.input_data_dir / "train").mkdir(parents=True)
    (paths.input_data_dir / "train-manifest").write_text("[]")  # SageMaker's file beside the folder
    assert paths.channels() == {"train": paths.input_data_dir / "train"}


def test_there_are_no_channels_when_the_job_has_none(tmp_path: Path) -> None:
    assert MlPaths(tmp_path).channels() == {}
