"""From the bytes of an HTTP request to the pictures to classify, or a RequestError that says what is wrong with them.

What a client may send to /invocations:

    image/jpeg, image/png, image/webp, image/gif, image/bmp, image/tiff, image/*,
    application/x-image, application/octet-stream, or no type at all     one picture, as it is in its file
    application/json     {"image": "<base64>"} or {"images": ["<base64>", ...]}, and perhaps "top_k": 3

A media type counts in any case and with any parameters; a base64 text may be a data: URL. Nothing is ever fetched
from an address that a client names. Exercise it: pytest tests/unit/serving/test_request.py
"""

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from PIL import Image
from sagemaker_inference import content_types

from kennel.errors import ImageError, UserError
from kennel.images.decode import CONTENT_TYPES, DEFAULT_LIMITS, DecodeLimits, decode_image

DEFAULT_TOP_K: Final = 5
# 64 pictures of 224 x 224 are 38 MB as tensors; SageMaker's own limit on a request is 6 MB of bytes.
MAX_IMAGES: Final = 64

_BYTES_TYPES: Final = frozenset((*CONTENT_TYPES, "image/*", "application/x-image", content_types.OCTET_STREAM))
_KEYS: Final = frozenset(("image", "images", "top_k"))
_STATUS_OF_REASON: Final = {"unsupported_format": 415, "too_many_bytes": 413, "too_many_pixels": 413}


class RequestError(UserError):
    """The client's fault: `status` is the HTTP status, `code` is for programs, the message for people.

    index: which picture of the request is at fault, from 0, where it is one of several.
    """

    def __init__(
        self, message: str, *, status: int = 400, code: str = "invalid_request", index: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.index = index


@dataclass(frozen=True)
class PredictionRequest:
    """One request: encoded pictures, not yet decoded, and how many classes to name for each.

    source: where the pictures came from, for messages; "images" is a list, in which a fault has an index.
    """

    images: tuple[bytes, ...]
    top_k: int = DEFAULT_TOP_K
    source: Literal["The body", "image", "images"] = "The body"
    limits: DecodeLimits = DEFAULT_LIMITS

    def decoded(self) -> Iterator[Image.Image]:
        """The pictures in turn, RGB and upright; one at a time, because a request of 6 MB may hold 3 GB of pixels.

        Raises RequestError for one that cannot be used.
        """
        for index, data in enumerate(self.images):
            is_list = self.source == "images"
            name = f"images[{index}]" if is_list else self.source
            try:
                yield decode_image(data, limits=self.limits, name=name)
            except ImageError as error:
                raise RequestError(
                    str(error),
                    status=_STATUS_OF_REASON.get(error.reason, 400),
                    code="empty_image" if error.reason == "empty" else error.reason,
                    index=index if is_list else None,
                ) from error


def parse_request(
    body: bytes | str, content_type: str | None, *, limits: DecodeLimits = DEFAULT_LIMITS
) -> PredictionRequest:
    """The request in an HTTP body. Raises RequestError; the pictures themselves are judged by `decoded`.

    body: str is what the toolkit's own transformer makes of application/json.
    """
    kind = media_type(content_type)
    if kind and kind not in _BYTES_TYPES and kind != content_types.JSON:
        raise RequestError(
            f"Content-Type {content_type!a:.100} is not read here. Send a picture as image/jpeg, image/png, "
            f'image/webp, image/gif, image/bmp or image/tiff, or application/json with {{"image": "<base64>"}}.',
            status=415,
            code="unsupported_media_type",
        )
    if not body:
        raise RequestError("The body is empty. Send the bytes of a picture.", code="empty_body")
    if kind == content_types.JSON:
        return _parse_json(body, limits)
    data = body.encode() if isinstance(body, str) else bytes(body)
    return PredictionRequest(images=(data,), limits=limits)


def header_of(headers: Mapping[str, Any], name: str) -> str | None:
    """A header in any case of letters. (A part of a form stands among them as a mapping: that is no header.)"""
    for key, value in headers.items():
        if key.lower() == name and isinstance(value, str):
            return value
    return None


def media_type(header: str | None) -> str:
    """`application/json` from ` Application/JSON; charset=utf-8`; empty where there is no header."""
    return (header or "").partition(";")[0].strip().lower()


def _parse_json(body: bytes | str, limits: DecodeLimits) -> PredictionRequest:
    content = _load_json(body)
    if not isinstance(content, dict) or len(content.keys() & {"image", "images"}) != 1:
        raise RequestError('Expected {"image": "<base64>"} or {"images": ["<base64>", ...]}, one of the two.')
    unknown = sorted(content.keys() - _KEYS)
    if unknown:
        raise RequestError(f"Unknown key {unknown[0]!a:.100}. Expected image or images, and perhaps top_k.")
    top_k = _top_k(content.get("top_k", DEFAULT_TOP_K))
    if "image" in content:
        image = _decode_base64(content["image"], "image", None)
        return PredictionRequest((image,), top_k, source="image", limits=limits)
    images = tuple(_decode_base64(each, f"images[{i}]", i) for i, each in enumerate(_image_list(content["images"])))
    return PredictionRequest(images, top_k, source="images", limits=limits)


def _load_json(body: bytes | str) -> Any:  # noqa: ANN401  whatever JSON can hold
    try:
        text = body if isinstance(body, str) else bytes(body).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RequestError(f"The body is not UTF-8 (byte {error.start} cannot be read).", code="invalid_utf8") from None
    try:
        return json.loads(text)
    except RecursionError:
        raise RequestError("The body is nested too deeply to be a request.", code="invalid_json") from None
    except ValueError as error:
        raise RequestError(f"The body is not JSON: {error}.", code="invalid_json") from None


def _image_list(images: object) -> list[object]:
    if not isinstance(images, list) or not images:
        raise RequestError("images is not a list of at least one base64 text.")
    if len(images) > MAX_IMAGES:
        raise RequestError(
            f"{len(images)} images in one request; at most {MAX_IMAGES} are answered. Send several requests.",
            status=413,
            code="too_many_images",
        )
    return images


def _top_k(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise RequestError(f"top_k is {value!a:.100}. Expected a whole number from 1.")
    return value


def _decode_base64(text: object, name: str, index: int | None) -> bytes:
    if not isinstance(text, str):
        raise RequestError(f"{name} is not a base64 text.", index=index)
    if text[:5].lower() == "data:":
        text = text.partition(",")[2]
    try:
        # Line breaks are part of MIME's base64; whatever else is foreign to the alphabet is an error, not skipped.
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError(f"{name} is not base64: {error}.", code="invalid_base64", index=index) from None
