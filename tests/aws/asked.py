"""What a request to AWS asks for, read back from the wire: service, operation and parameters, by botocore's own models.

    asked = read_request(werkzeug_request, body, signing_name)
    asked.service, asked.operation, asked.parameters        # "s3", "PutObject", {"Bucket": ..., "Key": ...}

All of AWS's protocols that boto3 sends here: JSON, query, REST with JSON and with XML. Bytes are Latin-1 texts.
"""

import base64
import functools
import json
import re
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import botocore.session
from botocore.model import OperationModel, Shape
from botocore.utils import parse_timestamp
from werkzeug.wrappers import Request

from kennel.local.validation import service_model

# What boto3 calls them; several may have one signing name.
SERVICES = (
    *("sagemaker", "sagemaker-runtime", "s3", "sts", "iam", "logs", "cloudwatch", "ecr", "application-autoscaling"),
    *("scheduler", "resourcegroupstaggingapi", "pricing", "service-quotas", "cloudformation"),
)
_LABEL = re.compile(r"\\\{(\w+)(\\\+)?\\\}")
# Sent by clients beside what a model has.
_ALSO_IN_QUERY = ("x-id",)


@dataclass(frozen=True)
class Asked:
    """One request. model: botocore's, of its operation."""

    service: str
    operation: str
    parameters: dict[str, Any]
    model: OperationModel

    @property
    def protocol(self) -> str:
        """`json`, `query`, `rest-json` or `rest-xml`: how its errors are written."""
        found = str(self.model.service_model.protocol)
        return "json" if found == "smithy-rpc-v2-cbor" else found  # botocore prefers their JSON


class UnknownRequest(Exception):
    """No operation of the models at hand is asked for like this."""


def read_request(request: Request, body: bytes, signing_name: str) -> Asked:
    """Raises UnknownRequest for what no model describes."""
    for service in _signed_by(signing_name):
        model = _operation(service, request, body)
        if model is not None:
            return Asked(service, model.name, _parameters(model, request, body), model)
    raise UnknownRequest(f"{signing_name}: {request.method} {request.full_path} {request.headers.get('X-Amz-Target')}")


@functools.cache
def _signing_names() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for service in SERVICES:
        found.setdefault(service_model(service).signing_name, []).append(service)
    return found


def _signed_by(name: str) -> list[str]:
    if name in _signing_names():
        return _signing_names()[name]
    known = botocore.session.Session().get_available_services()
    return [name] if name in known else []


def _operation(service: str, request: Request, body: bytes) -> OperationModel | None:
    model = service_model(service)
    prefix, _, target = request.headers.get("X-Amz-Target", "").rpartition(".")
    if target:
        is_it = prefix == model.metadata.get("targetPrefix") and target in model.operation_names
        return model.operation_model(target) if is_it else None
    if model.protocol in ("query", "ec2"):
        name = _form(body).get("Action", "")
        return model.operation_model(name) if name in model.operation_names else None
    fitting = [(_fit(rest, request), rest) for rest in _rest_operations(service)]
    best = max(fitting, key=lambda pair: pair[0], default=(0, None))
    return best[1].model if best[0] and best[1] else None


@dataclass(frozen=True)
class _Rest:
    """An operation by its method and address. query: texts that the address must have behind `?`."""

    model: OperationModel
    method: str
    path: re.Pattern[str]
    query: Mapping[str, str]
    needed_query: tuple[str, ...]
    needed_headers: tuple[str, ...]


@functools.cache
def _rest_operations(service: str) -> list[_Rest]:
    model = service_model(service)
    if not model.protocol.startswith("rest"):
        return []
    operations = [model.operation_model(name) for name in model.operation_names]
    return [_rest(each) for each in operations if not each.deprecated]  # S3's older ones have the addresses of newer


def _rest(model: OperationModel) -> _Rest:
    path, _, query = model.http["requestUri"].partition("?")
    # An ARN has slashes, which come encoded and are decoded in the request's path.
    pattern = _LABEL.sub(
        lambda found: f"(?P<{found[1]}>{'.+' if found[2] or found[1] == 'ResourceArn' else '[^/]+'})", re.escape(path)
    )
    return _Rest(
        model,
        model.http["method"],
        re.compile(pattern.rstrip("/") + "/?"),
        dict(urllib.parse.parse_qsl(query, keep_blank_values=True)),
        tuple(_needed(model, "querystring")),
        tuple(_needed(model, "header")),
    )


def _needed(model: OperationModel, place: str) -> Iterator[str]:
    shape = model.input_shape
    for name in shape.required_members if shape else ():
        if shape.members[name].serialization.get("location") == place:
            yield shape.members[name].serialization["name"]


def _fit(rest: _Rest, request: Request) -> int:
    """How well a request fits: 0 for not at all; more for each thing it must have and has."""
    given = request.args
    is_it = (
        rest.method == request.method
        and rest.path.fullmatch(request.path) is not None
        and all(key in _ALSO_IN_QUERY or (key in given and given[key] == value) for key, value in rest.query.items())
        and all(key in given for key in rest.needed_query)
        and all(key in request.headers for key in rest.needed_headers)
    )
    return 1 + len(rest.query) + len(rest.needed_query) + len(rest.needed_headers) if is_it else 0


def _parameters(model: OperationModel, request: Request, body: bytes) -> dict[str, Any]:
    shape = model.input_shape
    if shape is None:
        return {}
    if "X-Amz-Target" in request.headers:
        return dict(_from_json(shape, json.loads(body or b"{}")))
    if model.service_model.protocol in ("query", "ec2"):
        return dict(_from_form(shape, {k: v for k, v in _form(body).items() if k not in ("Action", "Version")}, ""))
    return _from_rest(model, request, body)


def _form(body: bytes) -> dict[str, str]:
    return dict(urllib.parse.parse_qsl(body.decode(errors="replace"), keep_blank_values=True))


def _from_json(shape: Shape, value: Any) -> Any:  # noqa: ANN401  JSON in and out
    """By the members' own names; what the model does not know stays as it is."""
    if shape.type_name == "structure" and isinstance(value, dict):
        names = {member.serialization.get("name", name): name for name, member in shape.members.items()}
        return {
            names.get(key, key): _from_json(shape.members[names[key]], item) if key in names else item
            for key, item in value.items()
        }
    if shape.type_name == "list" and isinstance(value, list):
        return [_from_json(shape.member, item) for item in value]
    if shape.type_name == "map" and isinstance(value, dict):
        return {key: _from_json(shape.value, item) for key, item in value.items()}
    return base64.b64decode(value).decode("latin-1") if shape.type_name == "blob" else value


def _from_form(shape: Shape, form: Mapping[str, str], prefix: str) -> Any:  # noqa: ANN401  JSON out
    """A value whose parts are named `prefix.part`."""
    start = f"{prefix}." if prefix else ""
    below = {key.removeprefix(start): value for key, value in form.items() if key.startswith(start)}
    if shape.type_name == "structure":
        found = {}
        for name, member in shape.members.items():
            wire = member.serialization.get("name", name)
            if any(key == wire or key.startswith(f"{wire}.") for key in below):
                found[name] = _from_form(member, below, wire)
        return found
    if shape.type_name == "list":
        member = "" if shape.serialization.get("flattened") else shape.member.serialization.get("name", "member") + "."
        found_at = sorted({int(key.removeprefix(member).split(".")[0]) for key in below if key.startswith(member)})
        return [_from_form(shape.member, below, f"{member}{index}") for index in found_at]
    return _typed(shape, form[prefix])


def _from_rest(model: OperationModel, request: Request, body: bytes) -> dict[str, Any]:
    shape = model.input_shape
    path = _rest(model).path.fullmatch(request.path)
    found: dict[str, Any] = {}
    payload = shape.serialization.get("payload")
    in_body = {}
    for name, member in shape.members.items():
        place, wire = member.serialization.get("location"), member.serialization.get("name", name)
        if place == "uri" and path:
            found[name] = _typed(member, path[wire])
        elif place == "querystring" and wire in request.args:
            is_list = member.type_name == "list"
            found[name] = request.args.getlist(wire) if is_list else _typed(member, request.args[wire])
        elif place == "header" and wire in request.headers:
            found[name] = _typed(member, request.headers[wire])
        elif place == "headers":
            start = wire.lower()
            pairs = {
                k.lower().removeprefix(start): v for k, v in request.headers.items() if k.lower().startswith(start)
            }
            found |= {name: pairs} if pairs else {}
        elif place is None:
            in_body[name] = member
    if not body:
        return found
    if payload is None:
        return found | (dict(_from_json(shape, json.loads(body))) if in_body else {})
    return found | {payload: _payload(shape.members[payload], model.service_model.protocol, body)}


def _payload(shape: Shape, protocol: str, body: bytes) -> Any:  # noqa: ANN401  JSON out
    if shape.type_name != "structure":
        return body.decode("latin-1")
    return _from_json(shape, json.loads(body)) if protocol == "rest-json" else _from_xml(shape, _parsed(body))


def _parsed(body: bytes) -> ElementTree.Element:
    """Without namespaces: there is one only."""
    return ElementTree.fromstring(re.sub(rb'\sxmlns="[^"]*"', b"", body))  # noqa: S314  sent by boto3, in these tests


def _from_xml(shape: Shape, element: ElementTree.Element) -> Any:  # noqa: ANN401  JSON out
    if shape.type_name == "structure":
        found = {}
        for name, member in shape.members.items():
            wire = member.serialization.get("name", name)
            is_flat = member.type_name == "list" and member.serialization.get("flattened")
            inside = element.findall(wire)
            if inside:
                found[name] = (
                    [_from_xml(member.member, each) for each in inside] if is_flat else _from_xml(member, inside[0])
                )
        return found
    if shape.type_name == "list":
        return [_from_xml(shape.member, each) for each in element]
    return _typed(shape, element.text or "")


def _typed(shape: Shape, text: str) -> Any:  # noqa: ANN401  JSON out
    """What a text stands for, where texts are all there is."""
    if shape.type_name in ("integer", "long"):
        return int(text)
    if shape.type_name in ("float", "double"):
        return float(text)
    if shape.type_name == "boolean":
        return text == "true"
    return parse_timestamp(text).timestamp() if shape.type_name == "timestamp" else text
