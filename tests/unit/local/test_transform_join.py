"""What of a record is sent, and what of record and answer is written."""

import json
from typing import Any

import pytest

from kennel.local.transform_join import Processing, media_type, read_processing
from kennel.local.transform_records import Record, RecordFault


def processing(kind: str, accept: str | None = None, **asked: str) -> Processing:
    return read_processing(
        {
            "DataProcessing": asked,
            "TransformInput": {"ContentType": kind},
            "TransformOutput": {"Accept": accept or kind},
        }
    )


def record(text: str, number: int = 1) -> Record:
    return Record(number, text.encode(), text.encode())


def joined(kind: str, records: list[str], answer: str, accept: str | None = None, **asked: str) -> Any:  # noqa: ANN401
    made = processing(kind, accept, JoinSource="Input", **asked)
    return made.written([record(text, number) for number, text in enumerate(records, 1)], answer.encode()).decode()


def test_without_processing_bytes_stay_as_they_are() -> None:
    plain = processing("image/jpeg", "x/any", InputFilter="$", OutputFilter="$", JoinSource="None")
    assert plain.sent(record("\x00 no JSON")) == b"\x00 no JSON"
    assert plain.written([], b"no JSON either\n") == b"no JSON either\n"


def test_json_object_gets_its_answer_and_anything_else_a_new_object() -> None:
    assert json.loads(joined("application/json", ['{"key": 1}'], '{"label": 1}')) == {
        "key": 1,
        "SageMakerOutput": {"label": 1},
    }
    assert json.loads(joined("application/json", ["[1, 2]"], "3")) == {"SageMakerInput": [1, 2], "SageMakerOutput": 3}


@pytest.mark.parametrize("answer", ['{"a": 1}\n{"a": 2}\n', '[{"a": 1}, {"a": 2}]'])
def test_one_json_answer_to_two_records_is_a_list_or_lines(answer: str) -> None:
    lines = joined("application/json", ['{"k": 1}\n', '{"k": 2}\n'], answer).split("\n")
    assert [json.loads(line)["SageMakerOutput"] for line in lines] == [{"a": 1}, {"a": 2}]


def test_a_pretty_printed_answer_to_one_record_is_read() -> None:
    assert json.loads(joined("application/json", ["{}"], '{\n  "a": 1\n}')) == {"SageMakerOutput": {"a": 1}}


def test_csv_row_gets_the_columns_of_its_answer() -> None:
    assert joined("text/csv", ["1,2,3\n"], "1") == "1,2,3,1"
    text = joined("text/csv", ['"a, b",2\n', "c,4\n"], "0.5,x\n0.25,y\n", OutputFilter="$[0,-2]")
    assert text == '"a, b",0.5\nc,0.25'


def test_csv_input_is_filtered_by_columns() -> None:
    assert processing("text/csv", InputFilter="$[1:]").sent(record('7,"a ""b"", c",d\n')) == b'"a ""b"", c",d\n'
    assert processing("text/csv", InputFilter="$[-1]").sent(record("7,8")) == b"8"


def test_json_lines_in_one_record_are_filtered_line_by_line() -> None:
    sent = processing("application/jsonlines", InputFilter="$.x").sent(record('{"x": [1]}\n{"x": "ä\u2028"}\n'))
    assert sent.decode() == '[1]\n"ä\u2028"\n'


def test_output_filter_works_without_joining() -> None:
    made = processing("image/jpeg", "application/jsonlines", OutputFilter="$['label']")
    assert made.written([], b'{"label": "a", "x": 1}\n{"label": "b"}\n') == b'"a"\n"b"'


@pytest.mark.parametrize(
    ("kind", "records", "answer", "message"),
    [
        ("application/jsonlines", ["1\n", "2\n"], "1\n", "mismatched line count.* 2 records were sent and 1 answers"),
        ("application/json", ["1"], "oops", "The answer is not application/json: .* in b'oops'"),
        ("application/json", ["oops"], "1", "Record 1 is not application/json"),
        ("text/csv", ['"a'], "1", "Record 1 is not text/csv"),
    ],
)
def test_what_does_not_fit_together_is_told(kind: str, records: list[str], answer: str, message: str) -> None:
    with pytest.raises(RecordFault, match=message):
        joined(kind, records, answer)


def test_filter_that_finds_nothing_names_the_record() -> None:
    with pytest.raises(RecordFault, match="InputFilter, record 3: .* there is no 'x'"):
        processing("application/json", InputFilter="$.x").sent(record('{"y": 1}', 3))
    with pytest.raises(RecordFault, match="OutputFilter: .* index 5 is not within the 2 elements"):
        joined("text/csv", ["1\n"], "2", OutputFilter="$[5]")


def test_media_types_are_compared_without_parameters() -> None:
    assert media_type(" Text/CSV; header=present") == "text/csv"
    assert media_type("application/x-ndjson") == "application/jsonlines"
    assert media_type(None) == ""
