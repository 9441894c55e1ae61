"""The settings of a transform job: its own, else what the server asks for, else SageMaker's defaults."""

import pytest

from kennel.local.transform_plan import Plan, batch_environ, make_plan, read_parameters


def test_job_counts_before_server_and_server_before_defaults() -> None:
    asked = read_parameters(b'{"MaxConcurrentTransforms": 8, "BatchStrategy": "SINGLE_RECORD", "MaxPayloadInMB": 2}')
    assert make_plan({}, {}) == Plan(concurrent=1, payload_mb=6, strategy="MultiRecord", retries=3, timeout_s=600)
    assert make_plan({}, asked) == Plan(concurrent=8, payload_mb=2, strategy="SingleRecord")
    own = {"MaxConcurrentTransforms": 2, "MaxPayloadInMB": 0, "BatchStrategy": "MultiRecord"}
    assert make_plan(own, asked) == Plan(concurrent=2, payload_mb=0, strategy="MultiRecord")
    assert make_plan({"MaxConcurrentTransforms": 0}, asked).concurrent == 8  # 0 is for: let the server say
    config = {"InvocationsTimeoutInSeconds": 5, "InvocationsMaxRetries": 0}
    assert make_plan({"ModelClientConfig": config}, {}) == Plan(retries=0, timeout_s=5)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no JSON",
        b"[]",
        b'{"MaxConcurrentTransforms": "8", "MaxPayloadInMB": 101, "BatchStrategy": "SingleRecord"}',
        b'{"MaxConcurrentTransforms": 0, "MaxPayloadInMB": true, "BatchStrategy": ["x"]}',
    ],
)
def test_parameters_that_cannot_be_used_are_left_out(body: bytes) -> None:
    assert read_parameters(body) == {}


def test_server_is_told_only_what_the_job_says() -> None:
    assert batch_environ({}) == {"SAGEMAKER_BATCH": "true"}
    request = {"MaxPayloadInMB": 0, "MaxConcurrentTransforms": 4, "BatchStrategy": "MultiRecord"}
    assert batch_environ(request) == {
        "SAGEMAKER_BATCH": "true",
        "SAGEMAKER_MAX_PAYLOAD_IN_MB": "0",
        "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS": "4",
        "SAGEMAKER_BATCH_STRATEGY": "MULTI_RECORD",
    }
