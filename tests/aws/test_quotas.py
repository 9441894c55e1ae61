"""Quotas by name: the account's own, else the default, else nothing is said."""

from collections.abc import Iterator
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
        opened.others["servicequotas"] = Quotas(
            {f"{TYPE} for training job usage": 2, "ml.g5.2xlarge for training job usage": 9, "x": 1},
            {f"{TYPE} for training job usage": 0, f"{TYPE} for spot training job usage": 0},
        )
        yield opened


@pytest.fixture
def client(account: Account, monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: ANN401
    for key, value in account.environ.items():
        monkeypatch.setenv(key, value)
    return boto3.client("service-quotas")


def test_the_applied_value_is_over_the_default(client: Any) -> None:  # noqa: ANN401
    assert find_quota(TYPE, TRAINING, client=client) == Quota(f"{TYPE} for training job usage", 2.0, "L-00000001")
    found = find_quota(TYPE, SPOT, client=client)
    assert found is not None and found.value == 0
    assert find_quota(TYPE, ENDPOINT, client=client) is None


def test_a_shortage_names_the_command_that_asks_for_more(client: Any) -> None:  # noqa: ANN401
    assert shortage(TYPE, TRAINING, needed=2, client=client) is None
    assert shortage(TYPE, ENDPOINT, needed=2, client=client) is None
    short = shortage(TYPE, TRAINING, needed=3, client=client)
    assert short is not None
    assert "The quota 'ml.g5.xlarge for training job usage' is 2 in us-east-1, and 3 are needed" in short.sentence
    assert short.sentence.endswith("--quota-code L-00000001 --desired-value 3 --region us-east-1")


def test_without_permission_nothing_is_said(client: Any, account: Account) -> None:  # noqa: ANN401
    account.faults["ListServiceQuotas"] = [fault("AccessDeniedException", "no")]
    assert shortage(TYPE, TRAINING, needed=99, client=client) is None
