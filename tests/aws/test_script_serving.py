"""Scripts that others wrote for SageMaker's PyTorch containers serve here, as the SDK packs and deploys them."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from PIL import Image

from local_service import BUCKET, ROLE, Client
from sdk_scripts import own_service, run_script


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A runs folder whose service runs the real programs; nothing of it is left afterwards."""
    with own_service(tmp_path_factory.mktemp("runs").resolve()) as folder:
        yield folder


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    stream = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(stream, "JPEG", quality=100)
    path = tmp_path / "photo.jpg"
    path.write_bytes(stream.getvalue())
    return path


def test_pytorch_models_of_the_sdk_answer_by_their_own_scripts(runs: Path, tmp_path: Path, photo: Path) -> None:
    answers = run_script(runs, "sdk_v2_pytorch_model.py", tmp_path, photo)["answer"]
    (row,) = answers["picture"]
    assert len(row) == 3
    assert answers["default accept"] == [row]
    assert answers["initial args"] == [pytest.approx(row, abs=0.02)]  # the same picture, without JPEG between
    code, message = answers["unsupported"]
    assert (
        code == "ModelError" and "input_fn of the script raised Exception: Requested unsupported ContentType" in message
    )
    assert "Traceback" not in message
    expected = [pytest.approx(row, abs=1e-6) for row in answers["expected"]]
    for name in ("npy", "json", "json to npy", "npy to bytes"):
        assert answers[name] == expected, name
    assert [[float(number) for number in row] for row in answers["csv"]] == expected


def test_a_projects_script_comes_to_an_endpoint_by_every_road(runs: Path, tmp_path: Path, photo: Path) -> None:
    answers = run_script(runs, "sdk_v2_pytorch_model_roads.py", tmp_path, photo)["answer"]
    reason = answers.pop("faulty")
    assert "ERROR ScriptError: inference.py: model_fn raised FileNotFoundError: [Errno 2] No such file" in reason
    assert "net.pth' (inference.py:4)" in reason
    assert len(answers["estimator"][0]) == 3
    assert answers.pop("train") == [pytest.approx(answers["estimator"][0], abs=1e-4)]
    assert answers == dict.fromkeys(("estimator", "model", "boto3"), answers["estimator"])


def test_a_script_that_is_not_where_the_model_says_is_refused_at_once(client: Client) -> None:
    environment = {
        "SAGEMAKER_PROGRAM": "inference.py",
        "SAGEMAKER_SUBMIT_DIRECTORY": f"s3://{BUCKET}/no/sourcedir.tar.gz",
    }
    with pytest.raises(
        ClientError, match="Could not find the inference script's archive at s3://.*/no/sourcedir.tar.gz"
    ):
        client.sagemaker.create_model(
            ModelName="no-script",
            PrimaryContainer={"Image": "kennel-serve:1", "Environment": environment},
            ExecutionRoleArn=ROLE,
        )
