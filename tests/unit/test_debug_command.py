"""kennel debug, as typed: over a folder, a run, and what lies in S3."""

import json
import shutil
import subprocess
import sys
import tarfile
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from kennel import cli, job_output

GROWING = Path(__file__).resolve().parents[1] / "contract" / "scripts" / "growing_trial.py"
FIRES = {"rule_to_invoke": "VanishingGradient", "threshold": "1000"}
SILENT = {"rule_to_invoke": "VanishingGradient", "threshold": "0"}
OWN_RULE = """
from smdebug.rules import Rule

class Always(Rule):
    def __init__(self, base_trial):
        super().__init__(base_trial)

    def invoke_at_step(self, step):
        return step == 1
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tensors of a net's four steps."""
    folder = tmp_path_factory.mktemp("trained") / "tensors"
    run = subprocess.run(
        [sys.executable, str(GROWING), str(folder)], input="4\n", capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return folder


@pytest.fixture
def runs(tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A runs folder with `first`, which had one rule that fires and tells somebody, and `bare`, which had none."""
    runs = tmp_path / "runs"
    shutil.copytree(trained, runs / "first" / "ml" / "output" / "tensors")
    shutil.copytree(trained, runs / "bare" / "ml" / "output" / "data" / "debug-output")
    (runs / "hookless").mkdir()
    action = json.dumps({"name": "command", "command": f"touch {tmp_path}/told"})
    write_orders(runs / "first", {"small": FIRES | {"action_json": action}, "fine": SILENT})
    monkeypatch.setenv("KENNEL_RUNS", str(runs))
    return runs


def write_orders(run: Path, rules: dict[str, dict[str, str]], **more: object) -> None:
    (run / "rules").mkdir(exist_ok=True)
    entries = [{"RuleConfigurationName": name, "RuleParameters": given} for name, given in rules.items()]
    orders = {"job_name": run.name, "tensors": str(run / "ml" / "output" / "tensors"), "debug_rules": entries, **more}
    (run / "rules" / "rules.json").write_text(json.dumps(orders))


Debug = Callable[..., tuple[int, str]]


@pytest.fixture
def debug(capsys: pytest.CaptureFixture[str]) -> Debug:
    """The verb's exit status and what it printed, on both streams."""

    def run(*words: str | Path) -> tuple[int, str]:
        status = cli.main(["debug", *map(str, words)])
        said = capsys.readouterr()
        return status, said.out + said.err

    return run


def statuses(said: str) -> dict[str, str]:
    return {rule["RuleConfigurationName"]: rule["RuleEvaluationStatus"] for rule in json.loads(said)["rules"]}


def test_a_runs_own_rules_are_asked_again_and_left_as_they_are(debug: Debug, runs: Path, tmp_path: Path) -> None:
    before = sorted((path, path.read_bytes()) for path in (runs / "first" / "rules").iterdir())
    status, said = debug("first")
    assert status == 1
    assert "small (VanishingGradient)  IssuesFound        4" in said
    assert "mean absolute value" in said and "what to do: " in said
    assert "fine (VanishingGradient)   NoIssuesFound      4  looked at 4 steps" in said
    assert sorted((path, path.read_bytes()) for path in (runs / "first" / "rules").iterdir()) == before
    assert not (tmp_path / "told").exists()


def test_a_rule_that_is_named_has_awss_defaults_and_the_given_threshold(debug: Debug, runs: Path) -> None:
    assert debug("first", "--rule", "VanishingGradient")[0] == 0
    status, said = debug("first", "--rule", "VanishingGradient", "-p", "threshold=1000", "--json")
    (rule,) = json.loads(said)["rules"]
    assert (status, rule["RuleEvaluationStatus"]) == (1, "IssuesFound")
    assert rule["parameters"]["threshold"] == 1000
    assert rule["actions"] == []


def test_a_run_without_rules_gets_the_recommended_ones(debug: Debug, runs: Path) -> None:
    status, said = debug("bare", "--json")
    assert status == 0
    assert {"LossNotDecreasing", "VanishingGradient", "Overfit"} <= statuses(said).keys()
    assert "too few steps" in debug("bare", "--rule", "Overfit")[1]


def test_a_folder_of_tensors_will_do(debug: Debug, trained: Path) -> None:
    assert debug(trained, "--rule", "ExplodingTensor")[0] == 0
    assert debug(trained.as_uri(), "--rule", "ExplodingTensor")[0] == 0


def test_a_rules_file_is_sagemakers_own_configuration(debug: Debug, runs: Path, tmp_path: Path) -> None:
    rules = [{"RuleConfigurationName": "a", "RuleParameters": FIRES}]
    (tmp_path / "rules.json").write_text(json.dumps({"DebugRuleConfigurations": rules}))
    status, said = debug("bare", "--rules", tmp_path / "rules.json", "--json", "--save", tmp_path / "saved")
    assert (status, statuses(said)) == (1, {"a": "IssuesFound"})
    saved = json.loads((tmp_path / "saved" / "a.json").read_text())
    assert saved == json.loads(said)["rules"][0]


def test_a_rule_of_the_users_own_is_asked_again(debug: Debug, runs: Path, tmp_path: Path) -> None:
    """Also without the end marker: what is there is all there is."""
    (tmp_path / "mine.py").write_text(OWN_RULE)
    (runs / "first" / "ml" / "output" / "tensors" / "training_job_end.ts").unlink()
    rule = {"rule_to_invoke": "Always", "source_s3_uri": "s3://gone/mine.py"}
    write_orders(runs / "first", {"mine": rule}, custom_sources={"mine": str(tmp_path / "mine.py")})
    status, said = debug("first")
    assert status == 1
    assert "Evaluation of the rule Always at step 1 resulted in the condition being met" in " ".join(said.split())


def test_a_rule_that_cannot_be_evaluated_is_neither_found_nor_fine(debug: Debug, runs: Path) -> None:
    status, said = debug("first", "--rule", "VanishingGradient", "-p", "tensor_regex=.*", "--json")
    assert status == 0, said
    rule = {"rule_to_invoke": "Gone", "source_s3_uri": str(runs / "first" / "rules")}
    write_orders(runs / "first", {"mine": rule})
    status, said = debug("first")
    assert status == 4
    assert "No class 'Gone' is defined in" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "There is no run 'nowhere' in"),
        (["hookless"], "hookless has no tensors"),
        (["first", "--rule", "Nothing"], "There is no rule 'Nothing'"),
        (["first", "--rule", "Overfit", "-p", "ratio=1"], "there is no parameter 'ratio'"),
        (["first", "-p", "ratio_threshold=1"], "-p belongs to one rule"),
        (["first", "--rule", "Overfit", "-p", "1"], "'-p 1' is no assignment"),
        (["first", "--rules", "nowhere.json"], "The rules in nowhere.json cannot be read"),
    ],
)
def test_what_cannot_be_done_ends_with_a_sentence(debug: Debug, runs: Path, words: list[str], message: str) -> None:
    status, said = debug(*words)
    assert status == 2
    assert message in said


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """boto3's client of moto's S3, which the environment names too."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    urllib.request.urlopen(urllib.request.Request(f"{url}/moto-api/reset", method="POST"), timeout=30).close()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", url)
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(key, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    client = boto3.client("s3")
    yield client
    client.close()
    server.stop()


def upload(s3: Any, folder: Path, prefix: str) -> None:  # noqa: ANN401
    s3.create_bucket(Bucket="bucket")
    for path in folder.rglob("*"):
        if path.is_file():
            s3.upload_file(str(path), "bucket", f"{prefix}/{path.relative_to(folder)}")


@pytest.mark.parametrize("address", ["s3://bucket/a/job-1/debug-output", "s3://bucket/a/job-1/"])
def test_a_sagemaker_jobs_output_in_s3_is_looked_at(
    debug: Debug,
    runs: Path,
    trained: Path,
    s3: Any,  # noqa: ANN401
    address: str,
) -> None:
    upload(s3, trained, "a/job-1/debug-output")
    s3.put_object(Bucket="bucket", Key="a/job-1/debug-output-of-another/x", Body=b"")
    status, said = debug(address, "--rule", "VanishingGradient", "-p", "threshold=1000", "--json")
    assert (status, statuses(said)) == (1, {"VanishingGradient": "IssuesFound"})
    assert list(runs.glob("*job*")) == []


def test_tensors_packed_in_a_jobs_results_are_looked_at(
    debug: Debug,
    trained: Path,
    s3: Any,  # noqa: ANN401
    tmp_path: Path,
) -> None:
    """A training with debug=on was its own platform."""
    with tarfile.open(tmp_path / "output.tar.gz", "w:gz") as tar:
        tar.add(trained, "debug-output")
    s3.create_bucket(Bucket="bucket")
    s3.upload_file(str(tmp_path / "output.tar.gz"), "bucket", "a/job-1/output/output.tar.gz")
    status, said = debug("s3://bucket/a/job-1", "--rule", "VanishingGradient", "-p", "threshold=1000", "--json")
    assert (status, statuses(said)) == (1, {"VanishingGradient": "IssuesFound"})


def test_a_file_from_s3_keeps_its_time(trained: Path, s3: Any, tmp_path: Path) -> None:  # noqa: ANN401
    upload(s3, trained, "job-1")
    assert job_output.download("s3://bucket/job-1", tmp_path / "copy", None) == sum(
        path.is_file() for path in trained.rglob("*")
    )
    key = "collections/000000000/worker_0_collections.json"
    written = s3.head_object(Bucket="bucket", Key=f"job-1/{key}")["LastModified"].timestamp()
    assert (tmp_path / "copy" / key).stat().st_mtime == written


def test_the_local_sagemakers_bucket_is_read_where_no_endpoint_is_set(
    trained: Path,
    s3: Any,  # noqa: ANN401
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    upload(s3, trained, "job-1")
    local = {
        "AWS_ENDPOINT_URL_S3": s3.meta.endpoint_url,
        "AWS_ACCESS_KEY_ID": "kennel",
        "AWS_SECRET_ACCESS_KEY": "kennel",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    assert job_output.download("s3://bucket/job-1", tmp_path / "copy", local) > 0


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("s3://nowhere/job-1", "s3://nowhere/job-1/debug-output cannot be read: "),
        ("s3://bucket/empty", "s3://bucket/empty has no tensors"),
        ("s3://bucket", "'s3://bucket' names no folder"),
    ],
)
def test_what_is_not_in_s3_ends_with_a_sentence(debug: Debug, runs: Path, s3: Any, address: str, message: str) -> None:  # noqa: ANN401
    s3.create_bucket(Bucket="bucket")
    status, said = debug(address)
    assert status == 2
    assert message in said


def test_credentials_that_are_missing_are_said(debug: Debug, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(runs / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(runs / "none"))
    status, said = debug("s3://bucket/job-1/debug-output")
    assert status == 2
    assert "Unable to locate credentials. Check the address and the AWS credentials" in said


def test_a_key_that_would_leave_the_folder_is_refused(s3: Any, tmp_path: Path) -> None:  # noqa: ANN401
    from kennel.errors import ContractError

    items = [{"Key": "job/../../etc/passwd", "Size": 1}]
    with pytest.raises(ContractError, match="would be written outside its folder"):
        list(job_output._below("job", items))
