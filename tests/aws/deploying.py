"""An account for tests of `kennel deploy` and `kennel invoke`: archives in its bucket, a stand-in that serves them.

    with open_deploying(folder) as deploying:
        deploying.kennel("deploy", deploying.archive("poodle"), "--endpoint-name", "dogs", "--on", "aws")

What is checked before anything is made (kennel.launch.preflight) has tests of its own and is not asked here; prices are
made up; scaling and schedules are moto's, which runs neither.
"""

import dataclasses
import io
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from account import REGION, Account, App, open_account
from stand_in_prices import Prices, product

from conftest import impatient
from kennel import cli
from kennel.aws.profile import Profile
from kennel.aws.schedule import TimeToLive
from kennel.launch.endpoint import deploy_command, endpoint_steps
from kennel.launch.places import Place
from kennel.launch.preflight.clear import Cleared
from kennel.launch.watching import attend

HERE = Path(__file__).parent
BUCKET = "kennel-tests"
ROLE = "arn:aws:iam::123456789012:role/kennel-execution"
SCHEDULER = "arn:aws:iam::123456789012:role/kennel-scheduler"
KEY = f"arn:aws:kms:{REGION}:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
PRICES = (product("ml.c7i.large", "Hosting", "0.11"), product("ml.m5.large", "AsyncInf", "0.12"))


class Deploying:
    """The account, and shorthands for what is in it. sagemaker: the administrator's."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.sagemaker = account.admin("sagemaker")
        self.s3 = account.admin("s3")
        self.scaling = account.admin("application-autoscaling")
        self.cloudwatch = account.admin("cloudwatch")
        self.ttl = TimeToLive(account.admin("scheduler"), SCHEDULER)
        self.s3.create_bucket(Bucket=BUCKET)

    def archive(self, label: str, *, is_broken: bool = False) -> str:
        """The address of an archive whose model says `label` of every photo."""
        buffer, text = io.BytesIO(), label.encode()
        with tarfile.open(fileobj=buffer, mode="w:gz") as files:
            entry = tarfile.TarInfo("model.txt")
            entry.size = len(text)
            files.addfile(entry, io.BytesIO(text))
        key = f"kennel/jobs/{label}/output/model.tar.gz"
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=b"no archive" if is_broken else buffer.getvalue())
        return f"s3://{BUCKET}/{key}"

    def kennel(self, *arguments: object) -> int:
        """The CLI, in this process."""
        return cli.main([*map(str, arguments), "--on", "aws"])

    def deploy(self, name: str, archive: str, *more: object) -> int:
        return self.kennel("deploy", archive, "--endpoint-name", name, *more)

    def left(self) -> dict[str, list[str]]:
        """All that is there, by kind; kinds of which there is nothing are left out."""
        targets = self.scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
        kinds = {
            "endpoints": [each["EndpointName"] for each in self.sagemaker.list_endpoints()["Endpoints"]],
            "configs": [
                each["EndpointConfigName"] for each in self.sagemaker.list_endpoint_configs()["EndpointConfigs"]
            ],
            "models": [each["ModelName"] for each in self.sagemaker.list_models()["Models"]],
            "targets": [each["ResourceId"] for each in targets],
            "alarms": [each["AlarmName"] for each in self.cloudwatch.describe_alarms()["MetricAlarms"]],
            "schedules": [each["Name"] for each in self.ttl.client.list_schedules()["Schedules"]],
        }
        return {kind: sorted(names) for kind, names in kinds.items() if names}

    def clear(self) -> None:
        """Everything that a test left goes, and what was called and planned."""
        self.account.faults.clear()
        left = self.left()
        for resource in left.get("targets", []):
            self.scaling.deregister_scalable_target(
                ServiceNamespace="sagemaker",
                ResourceId=resource,
                ScalableDimension="sagemaker:variant:DesiredInstanceCount",
            )
        if alarms := left.get("alarms"):
            self.cloudwatch.delete_alarms(AlarmNames=alarms)
        for name in left.get("endpoints", []):
            self.ttl.cancel(name)
            self.sagemaker.delete_endpoint(EndpointName=name)
            self.sagemaker.get_waiter("endpoint_deleted").wait(EndpointName=name, WaiterConfig={"Delay": 0.1})
        for name in left.get("configs", []):
            self.sagemaker.delete_endpoint_config(EndpointConfigName=name)
        for name in left.get("models", []):
            self.sagemaker.delete_model(ModelName=name)
        self.account.calls.clear()


@contextmanager
def open_deploying(folder: Path) -> Iterator[Deploying]:
    """Meanwhile this process's AWS is an account of its own, and its working folder an empty one."""
    with impatient(), pytest.MonkeyPatch.context() as patch:  # in this order: the one's undone before the other's
        patch.setenv("KENNEL_SERVE_COMMAND", f"{sys.executable} -S {HERE / 'stand_in_classifier.py'}")
        patch.setenv("KENNEL_ROLE", ROLE)
        patch.setenv("KENNEL_SCHEDULER_ROLE", SCHEDULER)
        patch.setenv("KENNEL_BUCKET", BUCKET)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setenv("KENNEL_RUNS", str(folder / "none"))
        patch.chdir(folder)
        patch.setattr(deploy_command, "clear_endpoint", _cleared)
        patch.setattr(endpoint_steps, "_GONE", {True: (0.2, 100)})
        patch.setattr(attend, "_AWS", dataclasses.replace(attend._AWS, poll_s=0.2))
        profile = Profile(ROLE, SCHEDULER, REGION, BUCKET, kms_key=KEY)
        with open_account(folder / "runs", profile=profile) as account:
            for key, value in {**account.environ, "AWS_RETRY_MODE": "standard", "AWS_MAX_ATTEMPTS": "3"}.items():
                patch.setenv(key, value)
            account.others["pricing"] = Prices(*PRICES)
            yield Deploying(account)


def moto_app() -> App:
    """moto, for what the local SageMaker does not do."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    app: App = DomainDispatcherApplication(create_backend_app)
    return app


def variant_of(request: dict[str, Any]) -> dict[str, Any]:
    """The one production variant of CreateEndpointConfig's request."""
    [variant] = request["ProductionVariants"]
    return dict(variant)


def _cleared(place: Place, **_: object) -> Cleared:
    return Cleared(place)
