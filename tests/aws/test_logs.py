"""CloudWatch Logs' reading calls, as the SDK and people use them."""

import pytest
from botocore.exceptions import ClientError

from local_service import Client, wait_until

GROUP = "/aws/sagemaker/TrainingJobs"


@pytest.fixture(scope="module")
def stream(client: Client) -> str:
    """The log stream of a finished job with 25 lines."""
    client.train("logged", steps=25)
    client.finished_job("logged")
    [stream] = client.logs.describe_log_streams(logGroupName=GROUP, logStreamNamePrefix="logged/")["logStreams"]
    assert stream["lastEventTimestamp"] >= stream["firstEventTimestamp"] >= stream["creationTime"]
    return str(stream["logStreamName"])


def test_stream_is_named_as_sagemaker_does(client: Client, stream: str) -> None:
    created = int(client.job("logged")["CreationTime"].timestamp())
    assert stream == f"logged/algo-1-{created}"


def test_events_page_forward_until_the_token_stays(client: Client, stream: str) -> None:
    messages: list[str] = []
    position: dict[str, str] = {}
    while True:
        page = client.logs.get_log_events(
            logGroupName=GROUP, logStreamName=stream, startFromHead=True, limit=10, **position
        )
        messages += [event["message"] for event in page["events"]]
        if position.get("nextToken") == page["nextForwardToken"]:
            break
        position = {"nextToken": page["nextForwardToken"]}
    assert [message.split()[0] for message in messages] == [f"step={step}" for step in range(25)]


def test_events_from_the_end_page_backward(client: Client, stream: str) -> None:
    last = client.logs.get_log_events(logGroupName=GROUP, logStreamName=stream, limit=5)
    assert [event["message"].split()[0] for event in last["events"]] == [f"step={step}" for step in range(20, 25)]
    before = client.logs.get_log_events(
        logGroupName=GROUP, logStreamName=stream, limit=5, nextToken=last["nextBackwardToken"]
    )
    assert before["events"][-1]["message"].startswith("step=19 ")


def test_events_can_be_bounded_in_time(client: Client, stream: str) -> None:
    everything = client.logs.get_log_events(logGroupName=GROUP, logStreamName=stream, startFromHead=True)["events"]
    times = [event["timestamp"] for event in everything]
    assert times == sorted(times)
    later = client.logs.get_log_events(
        logGroupName=GROUP, logStreamName=stream, startFromHead=True, startTime=times[-1] + 1
    )
    assert later["events"] == []


def test_filter_finds_lines_by_all_words(client: Client, stream: str) -> None:
    found = client.logs.filter_log_events(
        logGroupName=GROUP, logStreamNamePrefix="logged/", filterPattern='"step=1" -step=19'
    )
    steps = [event["message"].split()[0] for event in found["events"]]
    assert steps == ["step=1", *(f"step=1{digit}" for digit in range(9))]
    assert found["events"][0]["logStreamName"] == stream
    with pytest.raises(ClientError, match="is not read here; give words or phrases"):
        client.logs.filter_log_events(logGroupName=GROUP, filterPattern="{ $.level = 1 }")


def test_line_can_be_read_while_the_job_runs(client: Client) -> None:
    client.train("live", steps=1000, orders={"step-s": "0.1"})
    client.wait_for_line("live", "step=1 ")

    def lines() -> int:
        found = client.logs.filter_log_events(logGroupName=GROUP, logStreamNamePrefix="live/")
        return len(found["events"])

    before = lines()
    wait_until(lambda: lines() > before > 0, what="more lines")
    client.sagemaker.stop_training_job(TrainingJobName="live")
    client.finished_job("live")


def test_unknown_groups_and_streams_are_refused_as_cloudwatch_does(client: Client, stream: str) -> None:
    with pytest.raises(client.logs.exceptions.ResourceNotFoundException, match="The specified log group does not"):
        client.logs.describe_log_streams(logGroupName="/aws/sagemaker/Endpoints/none")
    with pytest.raises(client.logs.exceptions.ResourceNotFoundException, match="The specified log stream does not"):
        client.logs.get_log_events(logGroupName=GROUP, logStreamName="none/algo-1-1")
    groups = client.logs.describe_log_groups(logGroupNamePrefix="/aws/sagemaker/")["logGroups"]
    assert [group["logGroupName"] for group in groups] == [GROUP]


def test_a_deleted_stream_is_gone_and_its_job_is_not(client: Client) -> None:
    client.train("forgotten")
    client.finished_job("forgotten")
    [found] = client.logs.describe_log_streams(logGroupName=GROUP, logStreamNamePrefix="forgotten/")["logStreams"]
    client.logs.delete_log_stream(logGroupName=GROUP, logStreamName=found["logStreamName"])
    assert client.logs.describe_log_streams(logGroupName=GROUP, logStreamNamePrefix="forgotten/")["logStreams"] == []
    assert client.job("forgotten")["TrainingJobStatus"] == "Completed"
    with pytest.raises(ClientError, match="ResourceNotFoundException.*log stream does not exist"):
        client.logs.delete_log_stream(logGroupName=GROUP, logStreamName=found["logStreamName"])
    with pytest.raises(ClientError, match="ResourceNotFoundException.*log group does not exist"):
        client.logs.delete_log_group(logGroupName="/aws/sagemaker/Endpoints/none")
