"""JSONPath as batch transform has it."""

from typing import Any

import pytest

from kennel.local.transform_paths import PathError, parse_path

ROW = ["a", "b", "c", "d", "e", "f"]
DOCUMENT = {"id": 7, "field1": {"child1": 1, "child2": 2, "child3": 3}, "list": [{"x": 1}, {"x": 2}], "a b": "spaced"}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("$", DOCUMENT),
        ("$.id", 7),
        ("$['id']", 7),
        ('$["id"]', 7),
        ("$['a b']", "spaced"),
        ("$.field1.child2", 2),
        ("$['id','a b']", {"id": 7, "a b": "spaced"}),
        ("$.field1.['child1','child2']", {"child1": 1, "child2": 2}),
        ("$.field1['child1', 'child3']", {"child1": 1, "child3": 3}),
        ("$.field1.*", [1, 2, 3]),
        ("$.list[*].x", [1, 2]),
        ("$.list[-1].x", 2),
        ("$.list[0:1]", [{"x": 1}, {"x": 2}]),
    ],
)
def test_object_is_searched(path: str, found: Any) -> None:  # noqa: ANN401  JSON
    assert parse_path(path).find(DOCUMENT) == found


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("$[0]", "a"),
        ("$[-1]", "f"),
        ("$[1,3,5]", ["b", "d", "f"]),
        ("$[1:]", ["b", "c", "d", "e", "f"]),
        ("$[1:4]", ["b", "c", "d", "e"]),  # AWS: the second to the fifth column
        ("$[:5]", ROW),
        ("$[0,4:]", ["a", "e", "f"]),
        ("$[-2:]", ["e", "f"]),
        ("$[:-2]", ["a", "b", "c", "d", "e"]),
        ("$[*]", ROW),
    ],
)
def test_row_is_taken_by_index_and_slices_include_their_end(path: str, found: Any) -> None:  # noqa: ANN401  JSON
    assert parse_path(path).is_by_index
    assert parse_path(path).find(ROW) == found


@pytest.mark.parametrize(
    "path", ["", "x", "$.", "$..x", "$[", "$[?(@.x)]", "$.x[a]", "$[1:2:3]", "$['a.b'", "$x", "$.a b"]
)
def test_other_expressions_are_refused(path: str) -> None:
    with pytest.raises(PathError, match="does not begin with|cannot be read from"):
        parse_path(path)


@pytest.mark.parametrize(
    ("path", "document", "message"),
    [
        ("$.x", {"y": 1, "z": 2}, "there is no 'x' \\(it has y, z\\)"),
        ("$['y','x']", {"y": 1}, "there is no 'x'"),
        ("$.x.y", {"x": 3}, "3 is no object"),
        ("$[6]", ROW, "index 6 is not within the 6 elements"),
        ("$[2:9]", ROW, "index 9 is not within the 6 elements .* the end of a slice is included"),
        ("$[0]", {"x": 1}, "an index was asked of .* which is no list"),
        ("$.*", 3, "\\* was asked of 3"),
    ],
)
def test_what_is_not_there_is_an_error(path: str, document: Any, message: str) -> None:  # noqa: ANN401  JSON
    with pytest.raises(PathError, match=message):
        parse_path(path).find(document)


def test_names_are_not_for_rows() -> None:
    assert not parse_path("$.a").is_by_index
    assert not parse_path("$[0][1]").is_by_index
