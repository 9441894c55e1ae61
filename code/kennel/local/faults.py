"""The errors the local SageMaker answers with: AWS's code, AWS's wording where it is known, and the HTTP status."""

from collections.abc import Mapping


class ApiError(Exception):
    """A refused request: becomes {"__type": code, "message": message} and boto3's ClientError.

    fields: further members of the error's shape, such as ModelError's OriginalStatusCode.
    """

    def __init__(
        self, code: str, message: str, *, status: int = 400, fields: Mapping[str, object] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.fields = dict(fields or {})


def invalid(message: str) -> ApiError:
    """A ValidationException: what AWS answers to nearly every request it refuses."""
    return ApiError("ValidationException", message)


def not_found() -> ApiError:
    """What AWS says of a training job that does not exist."""
    return invalid("Requested resource not found.")
