import base64
import io
import json
from typing import Any

import pytest
from PIL import Image

from kennel.images.decode import DecodeLimits
from kennel.serving.request import MAX_IMAGES, PredictionRequest, RequestError, media_type, parse_request


def encoded(kind: str = "PNG", *, size: tuple[int, int] = (8, 6), colour: str = "red") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, colour).save(stream, kind)
    return stream.getvalue()


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def as_json(**content: Any) -> bytes:  # noqa: ANN401
    return json.dumps(content).encode()


def fault(body: bytes | str, content_type: str | None = "application/json", **options: Any) -> RequestError:  # noqa: ANN401
    with pytest.raises(RequestError) as caught:
        list(parse_request(body, content_type, **options).decoded())
    return caught.value


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "image/jpeg",
        "IMAGE/JPEG",
        "image/png; charset=binary",
        " image/webp ",
        "image/gif",
        "image/bmp",
        "image/tiff",
        "image/*",
        "application/x-image",
        "application/octet-stream",
        "Application/Octet-Stream;a=b",
    ],
)
def test_a_body_of_bytes_is_one_image_whatever_its_type_is_called(content_type: str | None) -> None:
    request = parse_request(encoded("JPEG"), content_type)
    (image,) = request.decoded()
    assert (image.mode, image.size, request.top_k) == ("RGB", (8, 6), 5)


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; charset=utf-8"])
def test_json_with_one_image_is_decoded(content_type: str) -> None:
    request = parse_request(as_json(image=text(encoded(size=(3, 2))), top_k=2), content_type)
    assert [image.size for image in request.decoded()] == [(3, 2)]
    assert request.top_k == 2


def test_json_with_several_images_keeps_their_order() -> None:
    request = parse_request(as_json(images=[text(encoded(size=(n, 1))) for n in (1, 2, 3)]), "application/json")
    assert [image.size for image in request.decoded()] == [(1, 1), (2, 1), (3, 1)]


@pytest.mark.parametrize("prefix", ["data:image/png;base64,", "DATA:;base64,"])
def test_json_takes_a_data_url(prefix: str) -> None:
    request = parse_request(as_json(image=prefix + text(encoded())), "application/json")
    assert request.images == (encoded(),)


def test_json_takes_base64_with_line_breaks_and_a_byte_order_mark() -> None:
    body = as_json(image=base64.encodebytes(encoded()).decode())
    assert parse_request(b"\xef\xbb\xbf" + body, "application/json").images == (encoded(),)


def test_json_takes_text_as_the_toolkit_hands_it_over() -> None:
    assert parse_request(as_json(image=text(encoded())).decode(), "application/json").images == (encoded(),)


def test_images_are_decoded_one_at_a_time() -> None:
    request = PredictionRequest(images=(encoded(), b"no image"), source="images")
    images = request.decoded()
    assert next(images).size == (8, 6)
    with pytest.raises(RequestError, match=r"images\[1\] is not an image"):
        next(images)


@pytest.mark.parametrize("content_type", ["text/html", "image/svg+xml", "multipart/form-data; boundary=x", "x" * 500])
def test_an_unknown_content_type_is_415_and_named(content_type: str) -> None:
    error = fault(encoded(), content_type)
    assert (error.status, error.code) == (415, "unsupported_media_type")
    assert content_type[:20] in str(error)
    assert len(str(error)) < 400


@pytest.mark.parametrize("content_type", [None, "image/png", "application/json"])
def test_an_empty_body_is_400(content_type: str | None) -> None:
    error = fault(b"", content_type)
    assert (error.status, error.code, str(error)) == (
        400,
        "empty_body",
        "The body is empty. Send the bytes of a picture.",
    )


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (b"\xff\xfe{}", "invalid_utf8", "not UTF-8"),
        (b"{", "invalid_json", "The body is not JSON"),
        (b"[" * 100_000, "invalid_json", "nested too deeply"),
        (b'{"image": ' + b"1" * 5000 + b"}", "invalid_json", "The body is not JSON"),
        (b"[]", "invalid_request", "one of the two"),
        (b"{}", "invalid_request", "one of the two"),
        (b'{"image": "", "images": []}', "invalid_request", "one of the two"),
        (b'{"image": "", "topk": 3}', "invalid_request", "Unknown key 'topk'"),
        (b'{"image": "", "\\ud800": 3}', "invalid_request", "Unknown key"),
        (b'{"image": 7}', "invalid_request", "image is not a base64 text"),
        (b'{"images": "abc"}', "invalid_request", "not a list"),
        (b'{"images": []}', "invalid_request", "at least one"),
        (b'{"image": "a*b="}', "invalid_base64", "image is not base64"),
        (b'{"image": "abcde"}', "invalid_base64", "image is not base64"),
        ('{"image": "ä"}'.encode(), "invalid_base64", "image is not base64"),
        (b'{"image": ""}', "empty_image", "image is empty"),
        (b'{"image": "data:image/png;base64,"}', "empty_image", "image is empty"),
    ],
)
def test_json_that_is_no_request_is_400_and_says_why(body: bytes, code: str, message: str) -> None:
    error = fault(body)
    assert (error.status, error.code) == (400, code)
    assert message in str(error)
    assert error.index is None


@pytest.mark.parametrize("top_k", [0, -1, 1.5, True, "3", None, float("nan")])
def test_a_top_k_that_is_no_count_is_400(top_k: object) -> None:
    error = fault(as_json(image=text(encoded()), top_k=top_k))
    assert (error.status, error.code) == (400, "invalid_request")
    assert "Expected a whole number from 1" in str(error)


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"hello, this is text", 400, "not_an_image"),
        (encoded("JPEG", size=(64, 64))[:-60], 400, "truncated"),
        (b"%PDF-1.7 ...", 415, "unsupported_format"),
        (encoded(size=(20, 6)), 413, "too_many_pixels"),
        (encoded() + bytes(5000), 413, "too_many_bytes"),
    ],
)
def test_a_picture_that_cannot_be_used_has_its_own_code_and_status(data: bytes, status: int, code: str) -> None:
    error = fault(data, "image/png", limits=DecodeLimits(max_bytes=5000, max_pixels=64 * 64 if status == 400 else 100))
    assert (error.status, error.code, error.index) == (status, code, None)
    assert str(error).startswith("The body")


def test_a_fault_in_a_list_names_the_index() -> None:
    good = text(encoded())
    assert fault(as_json(images=[good, good, text(b"no")])).index == 2
    assert fault(as_json(images=[good, "*"])).index == 1
    assert fault(as_json(images=[None])).index == 0


def test_more_images_than_allowed_are_413() -> None:
    error = fault(as_json(images=["" for _ in range(MAX_IMAGES + 1)]))
    assert (error.status, error.code) == (413, "too_many_images")
    assert "at most 64" in str(error)


def test_media_type_drops_parameters_and_case() -> None:
    assert media_type(" Text/CSV ;header=absent") == "text/csv"
    assert media_type(None) == ""
