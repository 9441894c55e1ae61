"""Requests to SageMaker, checked before they are sent as the local SageMaker checks them: by botocore's own model
(patterns, lengths, limits, enums, of which boto3 itself looks at few), and by AWS's rules between members.

    check_request("CreateTrainingJob", request)     # [] or what AWS would refuse, a sentence each
    check_requests(boto3.Session())                 # from now on its clients raise UserError before they send such

Exercise it: pytest tests/unit/aws/test_request_checks.py
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from kennel.aws.instances import has_own_disk
from kennel.errors import UserError

_CHANGING: Final = ("Create", "Update")
_ID: Final = "kennel-request-checks"
# botocore's list of types lags behind AWS's: a type that is formed as types are is AWS's to judge.
_NEW_TYPE: Final = re.compile(
    r"Value 'ml\.[a-z0-9-]+\.[a-z0-9-]+' at '[\w.]*[iI]nstanceType' .*enum value set", re.DOTALL
)
# Texts that are the user's own, whatever they look like.
_FREE: Final = ("HyperParameters", "StaticHyperParameters", "Environment", "Tags")


def check_requests(session: Any) -> None:  # noqa: ANN401  a boto3 Session
    """Has every client that `session` makes raise UserError for what AWS would refuse, before it is sent."""

    def check(params: Mapping[str, Any], model: Any, **_: object) -> None:  # noqa: ANN401  a botocore OperationModel
        problems = check_request(model.name, params) if model.name.startswith(_CHANGING) else []
        if problems:
            found = "".join(f"\n  {each}" for each in problems)
            raise UserError(f"AWS would refuse this {model.name}, so it was not sent:{found}")

    session.events.register("before-parameter-build.sagemaker", check, unique_id=_ID)


def check_request(operation: str, request: Mapping[str, Any]) -> list[str]:
    """What AWS would refuse in a request to SageMaker, as boto3 takes it or as it is sent; nothing where it is well.

    Rules between members are looked at once each member is well by itself.
    """
    from kennel.local.validation import service_model, violations

    plain = json.loads(json.dumps(request, default=_plain))
    shape = service_model("sagemaker").operation_model(operation).input_shape
    problems = [each for each in violations(shape, plain) if not _NEW_TYPE.match(each)]
    problems += [
        f"'{value}' at '{path}' is on this machine, where AWS cannot read it. Upload it: scripts/upload.sh"
        for path, value in _files(plain, "")
    ]
    return problems or _contradictions(operation, plain)


def _contradictions(operation: str, request: dict[str, Any]) -> list[str]:
    """The first rule between members that is broken."""
    from kennel.local.faults import ApiError

    rule = _RULES.get(operation)
    try:
        if rule:
            rule(request)
    except ApiError as error:
        return [error.message]
    return []


def _check_training(request: dict[str, Any]) -> None:
    from kennel.local.debug_checks import check_debug_members
    from kennel.local.faults import invalid
    from kennel.local.training_members import check_training_members

    check_training_members(request)
    check_debug_members(request)
    resources = request.get("ResourceConfig", {})
    if "VolumeKmsKeyId" in resources and has_own_disk(resources.get("InstanceType", "")):
        raise invalid(
            f"You can't request a VolumeKmsKeyId when using an instance type with local storage, as "
            f"{resources['InstanceType']} has: AWS encrypts that by itself. Leave VolumeKmsKeyId out."
        )


def _check_tuning(request: dict[str, Any]) -> None:
    """The job, and the training that each of its definitions makes."""
    from kennel.local.tuning_checks import check_tuning_members
    from kennel.local.tuning_requests import definitions_of, least_parameters, seeded, trial_name, trial_request

    if "Autotune" in request:
        return
    check_tuning_members(request)
    name = trial_name(request["HyperParameterTuningJobName"], 1)
    for definition in definitions_of(seeded(request)):
        _check_training(trial_request(request, definition, name, least_parameters(definition)))


def _check_transform(request: dict[str, Any]) -> None:
    from kennel.local.transform_checks import check_transform_members

    check_transform_members(request)


def _check_model(request: dict[str, Any]) -> None:
    from kennel.local.serving_members import check_model_members

    check_model_members(request)


def _check_config(request: dict[str, Any]) -> None:
    from kennel.local.serving_members import check_config_members

    check_config_members(request)


def _check_endpoint(request: dict[str, Any]) -> None:
    from kennel.local.serving_members import check_deployment

    check_deployment(request)


_RULES: Final[Mapping[str, Callable[[dict[str, Any]], None]]] = {
    "CreateTrainingJob": _check_training,
    "CreateHyperParameterTuningJob": _check_tuning,
    "CreateTransformJob": _check_transform,
    "CreateModel": _check_model,
    "CreateEndpointConfig": _check_config,
    "CreateEndpoint": _check_endpoint,
    "UpdateEndpoint": _check_endpoint,
}


def _files(value: Any, path: str) -> Iterator[tuple[str, str]]:  # noqa: ANN401  JSON
    """Every file:// address of a request, with where it stands."""
    if isinstance(value, str) and value.startswith("file://"):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            if key not in _FREE:
                yield from _files(item, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list):
        for index, item in enumerate(value, 1):
            yield from _files(item, f"{path}.{index}")


def _plain(value: object) -> object:
    """What JSON has no kind for, as SageMaker's own JSON has it."""
    if isinstance(value, datetime):
        return value.timestamp()
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
