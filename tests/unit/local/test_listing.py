"""Pages, filters and order of List calls."""

import pytest

from kennel.local.faults import ApiError
from kennel.local.listing import list_page, page_of

MODELS = [{"ModelName": name, "CreationTime": float(time), "Hidden": 1} for time, name in enumerate(["b", "a", "Cab"])]


def names(**request: object) -> list[str]:
    answer = list_page(request, MODELS, key="Models", prefix="Model", members=("ModelName", "CreationTime"))
    assert all("Hidden" not in each for each in answer["Models"])
    return [each["ModelName"] for each in answer["Models"]]


def test_newest_first_unless_asked_otherwise() -> None:
    assert names() == ["Cab", "a", "b"]
    assert names(SortOrder="Ascending") == ["b", "a", "Cab"]
    assert names(SortBy="Name", SortOrder="Ascending") == ["Cab", "a", "b"]


def test_filters_are_all_applied() -> None:
    assert names(NameContains="B") == ["Cab", "b"]
    assert names(NameContains="b", CreationTimeAfter=1.0) == ["Cab"]
    assert names(CreationTimeBefore=1.0) == ["b"]
    assert names(WarmPoolStatusEquals="Available") == []


def test_pages_of_ten_unless_asked_otherwise() -> None:
    first = page_of({}, range(25), key="items")
    assert first["items"] == list(range(10))
    second = page_of({"NextToken": first["NextToken"], "MaxResults": 20}, range(25), key="items")
    assert second == {"items": list(range(10, 25))}


@pytest.mark.parametrize("token", ["nonsense", "", "ZnJvbSAtMQ==", "ZnJvbQ==", "\xe4"])
def test_foreign_token_is_refused(token: str) -> None:
    with pytest.raises(ApiError, match="Invalid NextToken"):
        page_of({"NextToken": token}, [], key="items")
