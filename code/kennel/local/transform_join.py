"""DataProcessing of a batch transform: what of a record is sent, and what of record and answer is written.

JSON and CSV only, as SageMaker has it. A JSON record gets its answer as "SageMakerOutput"; a row of CSV gets the
columns of its answer appended.
"""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from kennel.local.transform_paths import JsonPath, PathError, parse_path
from kennel.local.transform_records import Record, RecordFault
from kennel.local.validation import Json

CSV: Final = "text/csv"
JSON: Final = "application/json"
JSON_LINES: Final = "application/jsonlines"
FORMATS: Final = (CSV, JSON, JSON_LINES)
_OUTPUT: Final = "SageMakerOutput"
_INPUT: Final = "SageMakerInput"


@dataclass(frozen=True)
class Processing:
    """A job's DataProcessing, parsed. content_type, accept: one of FORMATS where they are needed."""

    input_filter: JsonPath | None
    output_filter: JsonPath | None
    is_joined: bool
    content_type: str
    accept: str

    @property
    def changes_output(self) -> bool:
        """Whether the server's answers are not written as they are."""
        return self.is_joined or self.output_filter is not None

    def sent(self, record: Record) -> bytes:
        """What the server gets of a record. Raises RecordFault."""
        if self.input_filter is None:
            return record.data
        path = self.input_filter
        rows = [self._select(path, row, record) for row in self._input_rows(record)]
        return _text(rows, self.content_type).encode() + (b"\n" if record.data.endswith(b"\n") else b"")

    def written(self, records: Sequence[Record], answer: bytes) -> bytes:
        """What is written for a request's records and their answer. Raises RecordFault."""
        if not self.changes_output:
            return answer
        rows = self._joined(records, answer) if self.is_joined else _answer_rows(answer, self.accept, None)
        if self.output_filter is not None:
            rows = [self._select(self.output_filter, row, None) for row in rows]
        return _text(rows, self.accept).encode()

    def _joined(self, records: Sequence[Record], answer: bytes) -> list[Any]:
        inputs = [row for record in records for row in self._input_rows(record)]
        answers = _answer_rows(answer, self.accept, len(inputs))
        if len(answers) != len(inputs):
            raise RecordFault(
                f"Fail to join data: mismatched line count between the input and the output. {len(inputs)} records "
                f"were sent and {len(answers)} answers came, as {self.accept}."
            )
        return [_join(one, other, self.content_type) for one, other in zip(inputs, answers, strict=True)]

    def _input_rows(self, record: Record) -> list[Any]:
        try:
            return _rows(record.data, self.content_type)
        except ValueError as error:
            raise RecordFault(f"Record {record.number} is not {self.content_type}: {error}") from error

    def _select(self, path: JsonPath, row: Any, record: Record | None) -> Any:  # noqa: ANN401  JSON in, JSON out
        try:
            return path.find(row)
        except PathError as error:
            where = f"InputFilter, record {record.number}" if record else "OutputFilter"
            raise RecordFault(f"{where}: {error}") from error


def read_processing(request: Json) -> Processing:
    """The DataProcessing of a CreateTransformJob request. Raises PathError for an expression that is none."""
    asked = request.get("DataProcessing", {})
    return Processing(
        input_filter=_path(asked.get("InputFilter")),
        output_filter=_path(asked.get("OutputFilter")),
        is_joined=asked.get("JoinSource") == "Input",
        content_type=media_type(request["TransformInput"].get("ContentType")),
        accept=media_type(request["TransformOutput"].get("Accept")),
    )


def media_type(header: str | None) -> str:
    """`text/csv` from ` Text/CSV; header=present`; application/x-ndjson and application/jsonl are JSON lines."""
    kind = (header or "").partition(";")[0].strip().lower()
    return JSON_LINES if kind in ("application/x-ndjson", "application/jsonl", "application/x-jsonlines") else kind


def _path(text: str | None) -> JsonPath | None:
    """None for `$`, which selects everything."""
    path = parse_path("$" if text is None else text)
    return path if path.steps else None


def _rows(data: bytes, kind: str) -> list[Any]:
    """JSON documents, or rows of CSV as lists of texts. Raises ValueError."""
    text = data.decode("utf-8-sig")
    if kind == CSV:
        try:
            return [row for row in csv.reader(io.StringIO(text), strict=True) if row]
        except csv.Error as error:
            raise ValueError(str(error)) from error
    if kind == JSON:
        return [json.loads(text)]
    return [json.loads(line) for line in text.split("\n") if line.strip()]


def _answer_rows(answer: bytes, kind: str, expected: int | None) -> list[Any]:
    """The server's answer in rows. One JSON answer to several records may be a list, or lines."""
    try:
        if kind != JSON:
            return _rows(answer, kind)
        try:
            [document] = _rows(answer, JSON)
        except json.JSONDecodeError:
            return _rows(answer, JSON_LINES)
        is_list = expected not in (None, 1) and isinstance(document, list)
        return list(document) if is_list else [document]
    except ValueError as error:
        raise RecordFault(f"The answer is not {kind}: {error} in {answer[:100]!r}") from error


def _join(record: Any, answer: Any, kind: str) -> Any:  # noqa: ANN401  JSON in, JSON out
    if kind == CSV:
        return [*record, *answer]
    if isinstance(record, dict):
        return {**record, _OUTPUT: answer}
    return {_INPUT: record, _OUTPUT: answer}


def _text(rows: Sequence[Any], kind: str) -> str:
    """Rows in lines, without the last line's end."""
    if kind != CSV:
        return "\n".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(row if isinstance(row, list) else [row] for row in rows)
    return text.getvalue().removesuffix("\n")
