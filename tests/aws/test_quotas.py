"""Quotas by name: the account's own, else the default, else nothing is said."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from account import Account, fault, open_account
from stand_in_quotas import Quotas

from kennel.aws.quotas import ENDPOINT, SPOT, TRAINING, Quota, find_quota, shortage

TYPE = "ml.g5.xlarge"


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with open_account(tmp_path_factory.mktemp("quotas") / "runs") as opened:
        yield opened


@pytest.fixture
def quotas(account: Account) -> Quotas:
    account.others["servicequotas"] = stand_in = Quotas(
        {f"{TYPE} for training job usage": 2, "ml.g5.2xlarge for training job usage": 9, "x": 1},
        {f"{TYPE} for training job usage": 0, f"{TYPE} for spot training job usage": 0},
    )
    return stand_in


@pytest.fixture
def client(account: Account, quotas: Quotas, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:  # noqa: ANN401
    for key, value in {**account.environ, "XDG_CACHE_HOME": str(tmp_path)}.items():
        monkeypatch.setenv(key, value)
    return boto3.client("service-quotas")


def test_the_applied_value_is_over_the_default(client: Any) -> None:  # noqa: ANN401
    assert find_quota(TYPE, TRAINING, client=client) == Quota(f"{TYPE} for training job usage", 2.0, "L-00000002")
    found = find_quota(TYPE, SPOT, client=client)
    assert found is not None and found.value == 0
    assert find_quota(TYPE, ENDPOINT, client=client) is None


def test_a_shortage_names_the_command_that_asks_for_more(client: Any) -> None:  # noqa: ANN401
    assert shortage(TYPE, TRAINING, needed=2, client=client) is None
    assert shortage(TYPE, ENDPOINT, needed=2, client=client) is None
    short = shortage(TYPE, TRAINING, needed=3, client=client)
    assert short is not None
    assert "The quota 'ml.g5.xlarge for training job usage' is 2 in us-east-1, and 3 are needed" in short.sentence
    assert short.sentence.endswith("--quota-code L-00000002 --desired-value 3 --region us-east-1")


def test_without_permission_nothing_is_said(client: Any, account: Account) -> None:  # noqa: ANN401
    account.faults["ListServiceQuotas"] = [fault("AccessDeniedException", "no")]
    assert shortage(TYPE, TRAINING, needed=99, client=client) is None


def test_the_next_question_is_one_call(client: Any, quotas: Quotas) -> None:  # noqa: ANN401
    first = find_quota(TYPE, SPOT, client=client)
    assert first is not None and first.value == 0 and len(quotas.asked) == 3
    quotas.asked.clear()
    assert find_quota(TYPE, SPOT, client=client) == first
    assert quotas.asked == ["GetServiceQuota", "GetAWSDefaultServiceQuota"]  # never changed: there is only a default
    quotas.values["ListServiceQuotas"][f"{TYPE} for spot training job usage"] = 4
    raised = find_quota(TYPE, SPOT, client=client)
    assert raised is not None and raised.value == 4
