"""`kennel attach` on what runs on this machine: as its own verb follows it."""

import pytest

from kennel import cli
from local_service import ROLE, Client, training_request

Said = pytest.CaptureFixture[str]


@pytest.fixture
def here(client: Client, monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setenv("KENNEL_RUNS", str(client.runs))
    return client


def test_a_training_is_its_log_and_its_end(here: Client, capsys: Said) -> None:
    here.train("attached-here", steps=3, orders={"step-s": "0.2"})
    assert cli.main(["attach", "attached-here"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said if line.startswith("step=")] == ["step=0", "step=1", "step=2"]
    assert said[-1] == "deploy it: kennel deploy attached-here"
    assert not [line for line in said if line.startswith("training job attached-here: Starting")]

    here.train("unwanted-here", steps=500, orders={"step-s": "0.2"})
    assert cli.main(["attach", "unwanted-here", "--stop"]) == 1
    assert "training job unwanted-here: Stopped after" in capsys.readouterr().out


def test_an_endpoint_is_its_states(here: Client, capsys: Said) -> None:
    here.sagemaker.create_model(
        ModelName="attached-here", PrimaryContainer={"Image": "kennel-serve:1"}, ExecutionRoleArn=ROLE
    )
    variant = {
        "VariantName": "AllTraffic",
        "ModelName": "attached-here",
        "InitialInstanceCount": 1,
        "InstanceType": training_request("x")["ResourceConfig"]["InstanceType"],
    }
    here.sagemaker.create_endpoint_config(EndpointConfigName="attached-here", ProductionVariants=[variant])
    here.sagemaker.create_endpoint(EndpointName="attached-here", EndpointConfigName="attached-here")
    assert cli.main(["attach", "attached-here", "--kind", "endpoint"]) == 0
    said = capsys.readouterr().out
    assert "endpoint attached-here: InService\n" in said and "INFO serving" not in said
    assert "delete it: kennel delete --endpoint-name attached-here --on local" in said
    here.sagemaker.delete_endpoint(EndpointName="attached-here")
