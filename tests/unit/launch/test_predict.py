from pathlib import Path

import pytest

from kennel.errors import DataError, UserError
from kennel.launch.endpoint.predict import Answer, check_there, payload_limit, table


def answer(photo: str, *shares: tuple[str, float], abstain: bool = False) -> Answer:
    top = [{"label": label, "probability": share} for label, share in shares]
    return Answer(Path("somewhere") / photo, {**top[0], "abstain": abstain, "top_k": top}, {})


def test_the_table_has_a_row_a_photo_with_the_next_classes() -> None:
    text = table([answer("a.jpg", ("Solid", 0.9), ("Merle", 0.06), ("Ticked", 0.04)), answer("b.jpg", ("Merle", 1.0))])
    assert text.splitlines() == [
        "photo  label  probability  then",
        "a.jpg  Solid        90.0%  Merle 6.0%, Ticked 4.0%",
        "b.jpg  Merle       100.0%",
    ]


def test_an_unsure_answer_is_marked_and_explained() -> None:
    text = table([answer("a.jpg", ("Solid", 0.3), abstain=True)])
    assert "Solid?" in text and "abstain threshold" in text


def test_a_photo_that_is_not_there_is_named_before_any_is_sent(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"There is no photo at .*gone\.jpg"):
        check_there([tmp_path / "gone.jpg"])


@pytest.mark.parametrize(("text", "limit"), [("", 6_291_456), ("25000000", 25_000_000)])
def test_the_limit_of_a_request_is_sagemakers_or_the_variables(
    monkeypatch: pytest.MonkeyPatch, text: str, limit: int
) -> None:
    monkeypatch.setenv("KENNEL_MAX_PAYLOAD_BYTES", text)
    assert payload_limit() == limit


@pytest.mark.parametrize("text", ["many", "0", "25000001", "-1"])
def test_a_limit_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("KENNEL_MAX_PAYLOAD_BYTES", text)
    with pytest.raises(UserError, match=f"KENNEL_MAX_PAYLOAD_BYTES is '{text}'"):
        payload_limit()
