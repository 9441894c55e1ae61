"""SageMaker's tag operations, for whatever has an ARN here."""

from collections.abc import Iterable, Mapping
from typing import Final

from kennel.local.faults import invalid
from kennel.local.listing import page_of
from kennel.local.places import ON
from kennel.local.settings import arn
from kennel.local.store import Store
from kennel.local.validation import Json, Operation

_MOST: Final = 50


class Tags:
    """The tags of every record. stores: by the kind an ARN names, as in `endpoint-config`."""

    def __init__(self, stores: Mapping[str, Store]) -> None:
        self._stores = stores

    def operations(self) -> dict[str, Operation]:
        """The operations answered here, by SageMaker's names."""
        return {"AddTags": self.add, "ListTags": self.list_page, "DeleteTags": self.delete}

    def add(self, request: Json) -> Json:
        store, name = self._find(request["ResourceArn"])

        _check_keys(tag["Key"] for tag in request["Tags"])

        def added(tags: tuple[Json, ...]) -> tuple[Json, ...]:
            merged = {tag["Key"]: tag for tag in (*tags, *request["Tags"])}
            if len(merged) > _MOST:
                raise invalid(f"{request['ResourceArn']} would have {len(merged)} tags. At most {_MOST} are allowed.")
            return tuple(merged.values())

        return {"Tags": list(store.tag(name, added))}

    def list_page(self, request: Json) -> Json:
        store, name = self._find(request["ResourceArn"])
        return page_of({"MaxResults": _MOST, **request}, store.tag(name, lambda tags: tags), key="Tags")

    def delete(self, request: Json) -> Json:
        store, name = self._find(request["ResourceArn"])
        gone = set(request["TagKeys"])
        _check_keys(gone)
        store.tag(name, lambda tags: tuple(tag for tag in tags if tag["Key"] not in gone))
        return {}

    def _find(self, resource: str) -> tuple[Store, str]:
        kind, _, name = resource.rpartition(":")[2].partition("/")
        if kind not in self._stores or resource != arn(kind, name) or self._stores[kind].get(name) is None:
            raise invalid(f"Resource {resource} does not exist.")
        return self._stores[kind], name


def _check_keys(keys: Iterable[str]) -> None:
    """Raises ApiError for the tag that says where a resource runs: it does, and changing the tag would not."""
    if ON in keys:
        raise invalid(f"Tag '{ON}' says where a resource runs and cannot be changed. Give it when you create one.")
