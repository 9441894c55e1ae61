"""Requests are checked against botocore's description of SageMaker, in AWS's words."""

from pathlib import Path
from typing import Any

import pytest

from kennel.local.faults import ApiError
from kennel.local.service import Service
from kennel.local.settings import Layout, Settings
from kennel.local.validation import compile_pattern, from_iso, map_times, service_model, to_iso, validate


def check(operation: str, request: Any) -> dict[str, Any]:  # noqa: ANN401  whatever JSON held
    return validate(service_model("sagemaker").operation_model(operation).input_shape, request)


def refused(operation: str, request: Any) -> ApiError:  # noqa: ANN401  as above
    with pytest.raises(ApiError) as caught:
        check(operation, request)
    return caught.value


def model(**container: Any) -> dict[str, Any]:  # noqa: ANN401  as above
    return {"ModelName": "m", "PrimaryContainer": container}


def test_valid_request_comes_back_without_nulls_and_with_times_in_seconds() -> None:
    request = {"NameContains": "x", "StatusEquals": None, "CreationTimeAfter": "2026-01-02T00:00:00+00:00"}
    assert check("ListTrainingJobs", request) == {"NameContains": "x", "CreationTimeAfter": 1767312000.0}
    assert check("ListTrainingJobs", {"CreationTimeAfter": 5}) == {"CreationTimeAfter": 5.0}


def test_every_violation_is_listed_with_its_place() -> None:
    error = refused(
        "CreateEndpointConfig",
        {
            "EndpointConfigName": "a_b",
            "ProductionVariants": [{"VariantName": "v", "InstanceType": "ml.abacus", "InitialInstanceCount": 0}],
        },
    )
    assert error.code == "ValidationException"
    assert error.message.startswith("3 validation errors detected: Value 'a_b' at 'endpointConfigName' failed to")
    assert "Value 'ml.abacus' at 'productionVariants.1.member.instanceType' failed to satisfy" in error.message
    assert (
        "Value '0' at 'productionVariants.1.member.initialInstanceCount' failed to satisfy constraint: "
        "Member must have value greater than or equal to 1" in error.message
    )


def test_missing_member_must_not_be_null() -> None:
    error = refused("CreateModel", {"PrimaryContainer": {}})
    assert error.message == (
        "1 validation error detected: Value null at 'modelName' failed to satisfy constraint: Member must not be null"
    )


def test_unknown_member_gets_the_nearest_name() -> None:
    assert "(did you mean ModelDataUrl?)" in refused("CreateModel", model(ModelDataUri="s3://a/b")).message


def test_length_of_lists_maps_and_texts() -> None:
    many = {f"k{number}": "v" for number in range(101)}
    assert (
        "Member must have length less than or equal to 100" in refused("CreateModel", model(Environment=many)).message
    )
    assert "Map keys must satisfy constraint: [" in refused("CreateModel", model(Environment={"a-b": "c"})).message
    tags = [{"Key": "k", "Value": "v"}] * 51
    assert "less than or equal to 50" in refused("CreateModel", {**model(), "Tags": tags}).message
    assert "greater than or equal to 1" in refused("DescribeTrainingJob", {"TrainingJobName": ""}).message


@pytest.mark.parametrize(
    ("operation", "request_", "message"),
    [
        ("DescribeModel", {"ModelName": 5}, "5 at 'modelName' can not be converted to a String"),
        ("ListModels", {"MaxResults": "5"}, "5 at 'maxResults' can not be converted to an Integer"),
        ("ListModels", {"MaxResults": True}, "true at 'maxResults' can not be converted to an Integer"),
        ("CreateModel", model(Environment=[]), "[] at 'primaryContainer.environment' can not be converted to a map"),
        ("CreateModel", [], "[] at '' can not be converted to a structure"),
        ("ListModels", {"CreationTimeAfter": "soon"}, "'soon' at 'creationTimeAfter' can not be read as a time"),
    ],
)
def test_wrong_type_is_a_serialization_exception(operation: str, request_: Any, message: str) -> None:  # noqa: ANN401
    error = refused(operation, request_)
    assert (error.code, error.message) == ("SerializationException", message)


def test_file_address_is_accepted_where_s3_is() -> None:
    check("CreateModel", model(ModelDataUrl="file:///models/m.tar.gz"))
    assert "regular expression" in refused("CreateModel", model(ModelDataUrl="ftp://models")).message


def test_java_classes_in_patterns_are_understood() -> None:
    tags = [{"Key": "Größe", "Value": "a b=c@d"}]
    check("CreateModel", {**model(), "Tags": tags})
    assert "tags.1.member.key" in refused("CreateModel", {**model(), "Tags": [{"Key": "a;b", "Value": ""}]}).message


@pytest.mark.parametrize(
    ("pattern", "fits", "does_not"),
    [
        (r"\p{Print}+", "kennel-dogs {1}", "a\nb"),
        (r"[\u0020-\uD7FF\uE000-\uFFFD\uD800\uDC00-\uDBFF\uDFFF\t]*", "endpoint/\U0001f415", "a\rb"),
        (r"\A\S[\p{Print}]*\z", "a b", " a"),
        (r"[\w-_]*", "a-b_c", "a.b"),
        (r"[^\]]*", "a[", "a]"),
    ],
)
def test_patterns_of_other_services_are_understood(pattern: str, fits: str, does_not: str) -> None:
    assert compile_pattern(pattern).fullmatch(fits) and not compile_pattern(pattern).fullmatch(does_not)


def test_every_pattern_of_every_answered_operation_compiles(tmp_path: Path) -> None:
    answered = Service(Layout(tmp_path), Settings(), "http://127.0.0.1:1").operations
    seen: set[str] = set()

    def walk(shape: Any) -> None:  # noqa: ANN401  botocore's Shape
        if shape.name not in seen:
            seen.add(shape.name)
            if "pattern" in shape.metadata:
                compile_pattern(shape.metadata["pattern"])
            parts = {"structure": lambda: shape.members.values(), "list": lambda: [shape.member]}
            parts["map"] = lambda: [shape.key, shape.value]
            for part in parts.get(shape.type_name, list)():
                walk(part)

    for name in answered["sagemaker"]:
        walk(service_model("sagemaker").operation_model(name).input_shape)
    for name in answered["logs"]:
        walk(service_model("logs").operation_model(name).input_shape)
    assert {"CreateTrainingJob", "UpdateEndpoint", "ListTags"} < answered["sagemaker"].keys() and len(seen) > 100


def test_times_of_a_description_go_to_text_and_back() -> None:
    shape = service_model("sagemaker").operation_model("DescribeTrainingJob").output_shape
    description = {"CreationTime": 1767312000.125, "FinalMetricDataList": [{"MetricName": "a", "Timestamp": 1.5}]}
    text = map_times(shape, description, to_iso)
    assert text["CreationTime"] == "2026-01-02T00:00:00.125+00:00"
    assert map_times(shape, text, from_iso) == description
