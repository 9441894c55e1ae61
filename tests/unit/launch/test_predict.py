from pathlib import Path

import pytest

from kennel.errors import DataError
from kennel.launch.predict import MAX_PAYLOAD_BYTES, Answer, check_photos, table


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
        check_photos([tmp_path / "gone.jpg"])


def test_a_photo_over_the_request_limit_is_named_with_both_sizes(tmp_path: Path) -> None:
    large = tmp_path / "large.jpg"
    large.write_bytes(bytes(MAX_PAYLOAD_BYTES + 1))
    with pytest.raises(DataError, match=r"6,291,457 bytes; SageMaker takes 6,291,456"):
        check_photos([large])
