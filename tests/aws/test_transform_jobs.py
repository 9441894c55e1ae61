"""Batch transform jobs through boto3, against a server that does what the records say."""

import gzip
import json
import os
import signal
import struct
from pathlib import Path
from typing import Any

import psutil
import pytest
from batch_service import Batch, started
from botocore.exceptions import ClientError

from kennel.local import daemon
from local_service import BUCKET, left_of, wait_until

S3 = f"s3://{BUCKET}"


def test_every_object_below_the_prefix_gets_its_output(batch: Batch) -> None:
    batch.put(many__one_txt=b"1", many__sub__two_txt=b"2", many_more__three_txt=b"3", many__empty__=b"")
    assert batch.run("many", f"{S3}/many/") == {"one.txt.out": b"<1>", "sub/two.txt.out": b"<2>"}
    assert batch.run("many-one", f"{S3}/many/sub/two.txt") == {"two.txt.out": b"<2>"}


def test_description_has_what_was_asked_for_and_sagemakers_defaults(batch: Batch) -> None:
    batch.put(described__one_txt=b"1")
    batch.run("described", f"{S3}/described/", Tags=[{"Key": "who", "Value": "me"}], MaxConcurrentTransforms=2)
    job = batch.job("described")
    assert job["TransformInput"]["SplitType"] == job["TransformInput"]["CompressionType"] == "None"
    assert job["TransformOutput"] == {"S3OutputPath": f"{S3}/out/described", "AssembleWith": "None", "KmsKeyId": ""}
    assert job["DataProcessing"] == {"InputFilter": "$", "OutputFilter": "$", "JoinSource": "None"}
    assert job["MaxConcurrentTransforms"] == 2
    assert job["CreationTime"] <= job["TransformStartTime"] <= job["TransformEndTime"]
    assert batch.sagemaker.list_tags(ResourceArn=job["TransformJobArn"])["Tags"] == [{"Key": "who", "Value": "me"}]
    [summary] = batch.sagemaker.list_transform_jobs(NameContains="described")["TransformJobSummaries"]
    assert summary["TransformJobStatus"] == "Completed"
    assert summary["LastModifiedTime"] >= summary["TransformEndTime"]
    assert not (batch.client.runs / "described" / "ml").exists()


def test_files_of_this_machine_are_read_and_written_without_the_local_s3(batch: Batch, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    (folder / "a b.txt").write_text("1")
    (folder / "sub" / "two.txt").write_text("2")
    (folder / ".DS_Store").write_text("no")
    out = tmp_path / "out"
    batch.run("files", folder.as_uri(), S3OutputPath=out.as_uri())
    assert {path.relative_to(out).as_posix(): path.read_text() for path in out.rglob("*") if path.is_file()} == {
        "a b.txt.out": "<1>",
        "sub/two.txt.out": "<2>",
    }
    batch.run("file", (folder / "a b.txt").as_uri(), S3OutputPath=(tmp_path / "one").as_uri())
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["a b.txt.out"]


def test_manifest_names_the_objects(batch: Batch) -> None:
    batch.put(chosen__a_txt=b"a", chosen__b_txt=b"b", chosen__c__d_txt=b"d")
    content = [{"prefix": f"{S3}/chosen/"}, "a.txt", "c/d.txt"]
    batch.client.s3.put_object(Bucket=BUCKET, Key="manifest.json", Body=json.dumps(content).encode())
    outputs = batch.run("chosen", f"{S3}/manifest.json", S3DataType="ManifestFile")
    assert outputs == {"a.txt.out": b"<a>", "c/d.txt.out": b"<d>"}


def test_lines_go_one_by_one_or_together(batch: Batch) -> None:
    batch.put(lines__l_txt=b"one\ntwo\n\nthree")
    single = {"SplitType": "Line", "BatchStrategy": "SingleRecord"}
    assert batch.run("lines-1", f"{S3}/lines/", **single) == {"l.txt.out": b"<one\n><two\n><three>"}
    assert batch.run("lines-2", f"{S3}/lines/", SplitType="Line") == {"l.txt.out": b"<one\ntwo\nthree>"}
    assembled = batch.run("lines-3", f"{S3}/lines/", AssembleWith="Line", **single)
    assert assembled == {"l.txt.out": b"<one\n>\n<two\n>\n<three>\n"}


def test_many_records_are_as_many_as_fit_into_the_payload(batch: Batch) -> None:
    line = b"x" * (400 * 1024 - 1) + b"\n"
    batch.put(large__l_txt=line * 5)
    [output] = batch.run("large", f"{S3}/large/", SplitType="Line", MaxPayloadInMB=1).values()
    assert [len(part) for part in output.split(b">")] == [2 * len(line) + 1, 2 * len(line) + 1, len(line) + 1, 0]


def test_binary_records_lose_their_framing_when_they_go_alone(batch: Batch) -> None:
    record_io = b"".join(
        struct.pack("<II", 0xCED7230A, len(each)) + each + b"\0" * (-len(each) % 4) for each in (b"one", b"four")
    )
    tf = b"".join(struct.pack("<QI", len(each), 7) + each + struct.pack("<I", 8) for each in (b"one", b"two"))
    batch.put(io__r_rec=record_io, tf__r_tfrecord=tf)
    single = {"BatchStrategy": "SingleRecord"}
    assert batch.run("record-io", f"{S3}/io/", SplitType="RecordIO", **single) == {"r.rec.out": b"<one><four>"}
    assert batch.run("record-io-all", f"{S3}/io/", SplitType="RecordIO") == {"r.rec.out": b"<" + record_io + b">"}
    assert batch.run("tf-record", f"{S3}/tf/", SplitType="TFRecord", **single) == {"r.tfrecord.out": b"<one><two>"}


def test_gzip_inputs_are_unpacked(batch: Batch) -> None:
    batch.put(zipped__l_gz=gzip.compress(b"one\ntwo\n"))
    single = {"SplitType": "Line", "BatchStrategy": "SingleRecord"}
    outputs = batch.run("zipped", f"{S3}/zipped/", CompressionType="Gzip", **single)
    assert outputs == {"l.gz.out": b"<one\n><two\n>"}
    batch.put(unzipped__l_txt=b"one")
    batch.create("unzipped", f"{S3}/unzipped/", CompressionType="Gzip")
    assert "Not a gzipped file" in batch.finished("unzipped")["FailureReason"]


@pytest.mark.parametrize("strategy", ["SingleRecord", "MultiRecord"])
def test_json_lines_are_filtered_and_joined(batch: Batch, strategy: str) -> None:
    batch.put(json__l_jsonl=b'{"id": 1, "x": [1, 2]}\n{"id": 2, "x": [3, 4]}\n')
    outputs = batch.run(
        f"json-{strategy}",
        f"{S3}/json/",
        ContentType="application/jsonlines",
        Accept="application/jsonlines",
        SplitType="Line",
        AssembleWith="Line",
        BatchStrategy=strategy,
        DataProcessing={"InputFilter": "$.x", "JoinSource": "Input", "OutputFilter": "$['id','SageMakerOutput']"},
    )
    rows = [json.loads(line) for line in outputs["l.jsonl.out"].splitlines()]
    assert rows == [
        {"id": 1, "SageMakerOutput": {"got": [1, 2]}},
        {"id": 2, "SageMakerOutput": {"got": [3, 4]}},
    ]


def test_csv_columns_are_filtered_and_appended(batch: Batch) -> None:
    batch.put(csv__l_csv=b'"a, 1",1,2\nb,3,4\n')
    outputs = batch.run(
        "csv",
        f"{S3}/csv/",
        ContentType="text/csv",
        Accept="text/csv",
        SplitType="Line",
        AssembleWith="Line",
        DataProcessing={"InputFilter": "$[1:]", "JoinSource": "Input", "OutputFilter": "$[0,-1]"},
    )
    assert outputs == {"l.csv.out": b'"a, 1",3.0\nb,7.0\n'}


def test_answers_that_are_not_as_many_as_records_cannot_be_joined(batch: Batch) -> None:
    batch.put(mismatch__a_jsonl=b'"1"\n', mismatch__b_jsonl=b"status 200\n")
    asked = {"ContentType": "application/jsonlines", "Accept": "application/jsonlines"}
    both = {"SplitType": "Line", "AssembleWith": "Line", "DataProcessing": {"JoinSource": "Input"}}
    batch.create("mismatch", f"{S3}/mismatch/", **asked, **both)
    assert "mismatch/b.jsonl" in batch.finished("mismatch")["FailureReason"]
    assert list(batch.outputs("mismatch")) == ["a.jsonl.out"]
    assert "Record 1 is not application/jsonlines" in batch.log("mismatch") or "mismatched" in batch.log("mismatch")


def look(batch: Batch, name: str, **changes: Any) -> dict[str, Any]:  # noqa: ANN401  a request's members
    batch.put(look__l_txt=b"hello")
    [output] = batch.run(name, f"{S3}/look/", ContentType="x/look", **changes).values()
    return dict(json.loads(output))


def test_server_is_told_what_the_job_says(batch: Batch) -> None:
    told = look(batch, "look", Environment={"MINE": "the job's"}, Accept="x/any")
    assert told["environment"]["SAGEMAKER_BATCH"] == "true"
    assert told["environment"]["MINE"] == "the job's"
    assert told["headers"]["Accept"] == "x/any"
    assert not {key for key in told["environment"] if "PAYLOAD" in key or "STRATEGY" in key or "CONCURRENT" in key}
    all_of_them = {"MaxPayloadInMB": 2, "MaxConcurrentTransforms": 3, "BatchStrategy": "SingleRecord"}
    environment = look(batch, "look-2", **all_of_them)["environment"]
    assert environment["SAGEMAKER_MAX_PAYLOAD_IN_MB"] == "2"
    assert environment["SAGEMAKER_MAX_CONCURRENT_TRANSFORMS"] == "3"
    assert environment["SAGEMAKER_BATCH_STRATEGY"] == "SINGLE_RECORD"


def test_execution_parameters_count_where_the_job_says_nothing(batch: Batch) -> None:
    parameters = '{"MaxConcurrentTransforms": 8, "BatchStrategy": "SINGLE_RECORD", "MaxPayloadInMB": 1}'
    batch.model("asking", EXECUTION_PARAMETERS=parameters)
    look(batch, "asked-1", ModelName="asking")
    assert "MaxConcurrentTransforms=8, MaxPayloadInMB=1, BatchStrategy=SINGLE_RECORD" in batch.log("asked-1")
    look(batch, "asked-2", ModelName="asking", MaxConcurrentTransforms=2, BatchStrategy="MultiRecord")
    assert "MaxConcurrentTransforms=2, MaxPayloadInMB=1, BatchStrategy=MULTI_RECORD" in batch.log("asked-2")
    look(batch, "asked-3")
    assert "MaxConcurrentTransforms=1, MaxPayloadInMB=6, BatchStrategy=MULTI_RECORD" in batch.log("asked-3")


def test_as_many_requests_at_once_as_allowed(batch: Batch) -> None:
    batch.put(**{f"busy__{number}_txt": b"sleep 0.3" for number in range(8)}, busy__last_txt=b"sleep 1")
    batch.put(**{"busy__z_txt": b"hello"})
    [seen] = [json.loads(body) for name, body in look_at(batch, "busy").items() if name == "z.txt.out"]
    assert seen["most"] == 3


def look_at(batch: Batch, name: str) -> dict[str, bytes]:
    return batch.run(name, f"{S3}/{name}/", ContentType="x/look", MaxConcurrentTransforms=3)


def test_failing_object_is_named_and_the_others_are_kept(batch: Batch) -> None:
    batch.put(bad__a_txt=b"1", bad__b_txt=b"fine\nstatus 400\n", bad__c_txt=b"3")
    batch.create("bad", f"{S3}/bad/", SplitType="Line", BatchStrategy="SingleRecord")
    job = batch.finished("bad")
    assert job["TransformJobStatus"] == "Failed"
    assert job["FailureReason"].startswith(
        f"ClientError: See job logs for more information. 1 of 3 objects failed, the first: {BUCKET}/bad/b.txt: 400: "
    )
    assert batch.outputs("bad") == {"a.txt.out": b"<1>", "c.txt.out": b"<3>"}
    lines = [line.partition("]: ")[2] for line in batch.log("bad").splitlines()[1:]]
    key = f"{BUCKET}/bad/b.txt"
    assert lines[:4] == [
        f"{key}: ClientError: 400",
        f"{key}: ",
        f"{key}: Message:",
        f'{key}: {{"error": "no picture"}}',
    ]


def test_record_over_the_payload_names_object_and_line(batch: Batch) -> None:
    batch.put(huge__a_txt=b"short\n" + b"x" * (2 * 2**20) + b"\nshort\n", huge__b_txt=b"short")
    batch.create("huge", f"{S3}/huge/", SplitType="Line", MaxPayloadInMB=1)
    reason = batch.finished("huge")["FailureReason"]
    assert f"{BUCKET}/huge/a.txt: Too much data for max payload size. Line 2 has more than 1 MB" in reason
    batch.create("huge-whole", f"{S3}/huge/", MaxPayloadInMB=1)
    assert (
        "The object has more than 1 MB: raise MaxPayloadInMB, or split it"
        in batch.finished("huge-whole")["FailureReason"]
    )


def test_without_a_limit_an_object_is_sent_in_chunks(batch: Batch) -> None:
    body = bytes(range(256)) * 40_000  # 10 MB
    batch.put(endless__a_bin=body)
    assert batch.run("endless", f"{S3}/endless/", MaxPayloadInMB=0) == {"a.bin.out": b"<" + body + b">"}


def test_passing_failures_are_tried_again(batch: Batch) -> None:
    batch.put(flaky__a_txt=b"flaky 2")
    assert batch.run("flaky", f"{S3}/flaky/") == {"a.txt.out": b"try 3"}
    batch.put(flakier__a_txt=b"flaky 3")
    batch.create("flakier", f"{S3}/flakier/", ModelClientConfig={"InvocationsMaxRetries": 1})
    job = batch.finished("flakier")
    assert "503: busy" in job["FailureReason"] and job["ModelClientConfig"] == {"InvocationsMaxRetries": 1}


def test_request_that_takes_too_long_fails_its_object(batch: Batch) -> None:
    batch.put(slow__a_txt=b"sleep 20", slow__b_txt=b"quick")
    config = {"InvocationsTimeoutInSeconds": 1, "InvocationsMaxRetries": 0}
    batch.create("slow", f"{S3}/slow/", ModelClientConfig=config)
    assert "slow/a.txt: no answer within 1 s" in batch.finished("slow")["FailureReason"]
    assert batch.outputs("slow") == {"b.txt.out": b"<quick>"}


def test_stopped_job_stops_within_the_grace_time(batch: Batch) -> None:
    batch.put(long__a_txt=b"1", long__b_txt=b"sleep 60")
    batch.create("long", f"{S3}/long/")
    wait_until(lambda: batch.outputs("long"), what="the first output")
    batch.sagemaker.stop_transform_job(TransformJobName="long")
    assert batch.job("long")["TransformJobStatus"] in ("Stopping", "Stopped")
    job = batch.finished("long")
    assert job["TransformJobStatus"] == "Stopped" and "FailureReason" not in job
    with pytest.raises(ClientError, match="in status Stopped"):
        batch.sagemaker.stop_transform_job(TransformJobName="long")
    assert not [each for each in left_of(batch.client.runs) if "stand_in" in " ".join(each.cmdline())]


def test_server_that_dies_fails_the_job_in_its_own_words(batch: Batch) -> None:
    batch.put(deadly__a_txt=b"1", deadly__b_txt=b"die", deadly__c_txt=b"3")
    batch.create("deadly", f"{S3}/deadly/")
    reason = batch.finished("deadly")["FailureReason"]
    assert reason.startswith("AlgorithmError: ") and "exit status 9" in reason and "the model went away" in reason
    assert "a.txt.out" in batch.outputs("deadly")


def test_server_that_does_not_start_fails_the_job(batch: Batch) -> None:
    batch.model("refusing", REFUSE_TO_START="ERROR there is no model here")
    batch.put(refused__a_txt=b"1")
    batch.create("refused", f"{S3}/refused/", ModelName="refusing")
    assert "there is no model here" in batch.finished("refused")["FailureReason"]


def test_logs_are_those_of_the_server_and_of_the_data(batch: Batch) -> None:
    batch.put(logged__a_txt=b"1")
    batch.run("logged", f"{S3}/logged/")
    group = "/aws/sagemaker/TransformJobs"
    streams = batch.client.logs.describe_log_streams(logGroupName=group, logStreamNamePrefix="logged/")["logStreams"]
    names = [stream["logStreamName"] for stream in streams]
    assert names == [names[0], f"{names[0]}/data-log"] and names[0].startswith("logged/i-")
    for name, text in zip(names, ("INFO serving", "MaxConcurrentTransforms=1"), strict=True):
        events = batch.client.logs.get_log_events(logGroupName=group, logStreamName=name)["events"]
        assert text in events[0]["message"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ModelName": "none"}, 'Could not find model "arn:aws:sagemaker:us-east-1:123456789012:model/none"'),
        ({"source": f"{S3}/nothing/"}, 'No S3 objects found under S3 URL "s3://[^"]*/nothing/"'),
        ({"source": "s3://no-such-bucket/x"}, "No S3 objects found"),
        ({"source": "file:///no/such/folder"}, "No S3 objects found"),
        ({"source": "https://bucket/x"}, "is no address the local SageMaker reads"),
        ({"S3OutputPath": "s3://no-such-bucket/x"}, "The bucket of 's3://no-such-bucket/x' is not in the local S3"),
        ({"S3DataType": "AugmentedManifestFile"}, "S3DataType 'AugmentedManifestFile' is not one"),
        ({"S3DataType": "ManifestFile"}, "is no manifest of objects"),
        ({"MaxPayloadInMB": 101}, "MaxPayloadInMB 101 cannot be greater than 100 MB"),
        ({"MaxPayloadInMB": 20, "MaxConcurrentTransforms": 6}, "6 \\* 20 MB cannot exceed 100 MB. Use at most 5"),
        ({"DataCaptureConfig": {"DestinationS3Uri": f"{S3}/c"}}, "DataCaptureConfig is not supported"),
        ({"DataProcessing": {"InputFilter": "x"}}, "'x' does not begin with \\$. Expected \\$ followed by"),
        ({"DataProcessing": {"InputFilter": "$..x"}}, "'\\$..x' cannot be read from '..x' on"),
        ({"DataProcessing": {"InputFilter": "$.x"}}, "TransformInput.ContentType '' cannot be used"),
        (
            {"DataProcessing": {"JoinSource": "Input"}, "ContentType": "image/jpeg"},
            "ContentType 'image/jpeg' cannot be used with DataProcessing. Use one of text/csv",
        ),
        (
            {"DataProcessing": {"JoinSource": "Input"}, "ContentType": "application/json"},
            "TransformOutput.Accept '' cannot be used",
        ),
        (
            {
                "DataProcessing": {"JoinSource": "Input"},
                "ContentType": "application/json",
                "Accept": "application/json",
                "SplitType": "Line",
            },
            "SplitType is 'Line' and AssembleWith is 'None'. Use 'Line' for both",
        ),
        (
            {"DataProcessing": {"JoinSource": "Input"}, "ContentType": "application/json", "SplitType": "RecordIO"},
            "SplitType 'RecordIO' cannot be used with DataProcessing",
        ),
        (
            {"DataProcessing": {"InputFilter": "$.a"}, "ContentType": "text/csv", "SplitType": "Line"},
            "only index based JSONPaths",
        ),
        (
            {"DataProcessing": {"InputFilter": "$[0]"}, "ContentType": "text/csv"},
            "SplitType 'None' cannot be used with text/csv",
        ),
        (
            {
                "DataProcessing": {"JoinSource": "Input"},
                "ContentType": "text/csv",
                "SplitType": "Line",
                "Accept": "application/json",
                "AssembleWith": "Line",
            },
            "cannot join text/csv .* with application/json",
        ),
        ({"MaxConcurrentTransforms": -1}, "greater than or equal to 0|valid min value: 0"),
        ({"ModelClientConfig": {"InvocationsMaxRetries": 4}}, "less than or equal to 3"),
    ],
)
def test_request_that_cannot_be_done_is_refused_before_anything_starts(
    batch: Batch, changes: dict[str, Any], message: str
) -> None:
    batch.put(refuse__a_txt=b"1")
    source = changes.pop("source", f"{S3}/refuse/a.txt")
    with pytest.raises(Exception, match=message):
        batch.create("never", source, **changes)
    assert not (batch.client.runs / "never").exists()


def test_names_are_unique_and_unknown_ones_are_not_found(batch: Batch) -> None:
    batch.put(twice__a_txt=b"1")
    batch.run("twice", f"{S3}/twice/")
    with pytest.raises(batch.sagemaker.exceptions.ResourceInUse, match="already exists"):
        batch.create("twice", f"{S3}/twice/")
    with pytest.raises(ClientError, match="Requested resource not found"):
        batch.job("nobody")


def test_training_and_transform_may_have_one_name(batch: Batch) -> None:
    batch.client.train("shared-name")
    batch.client.finished_job("shared-name")
    batch.put(sharing__a_txt=b"1")
    assert batch.run("shared-name", f"{S3}/sharing/") == {"a.txt.out": b"<1>"}
    assert batch.client.job("shared-name")["TrainingJobStatus"] == "Completed"


def test_service_killed_leaves_a_failed_job_its_outputs_and_no_process(own_runs: Path) -> None:
    batch = started(own_runs)
    batch.model("model")
    batch.put(killed__a_txt=b"1", killed__b_txt=b"sleep 60")
    batch.create("killed", f"{S3}/killed/")
    wait_until(lambda: batch.outputs("killed"), what="the first output")
    service = psutil.Process(batch.client.state.pid)
    os.kill(service.pid, signal.SIGKILL)
    service.wait(10)
    wait_until(lambda: not left_of(own_runs), what="the server's end")

    again = started(own_runs)
    job = again.job("killed")
    assert job["TransformJobStatus"] == "Failed"
    assert "the local SageMaker ended while the job was in progress" in job["FailureReason"]
    assert again.outputs("killed") == {"a.txt.out": b"<1>"}  # found again on disk
    assert not (own_runs / "killed" / "ml").exists() and not (own_runs / "killed" / "part").exists()
    [summary] = again.sagemaker.list_transform_jobs(StatusEquals="Failed")["TransformJobSummaries"]
    assert summary["LastModifiedTime"]


def test_service_that_is_stopped_stops_its_jobs(own_runs: Path) -> None:
    batch = started(own_runs)
    batch.model("model")
    batch.put(ended__a_txt=b"sleep 60")
    batch.create("ended", f"{S3}/ended/")
    wait_until(lambda: (own_runs / "ended" / "data-log.txt").exists(), what="the first request")
    daemon.stop(own_runs)
    assert not left_of(own_runs)
    record = json.loads((own_runs / "ended" / "transform.json").read_text())
    assert record["description"]["TransformJobStatus"] == "Stopped"
