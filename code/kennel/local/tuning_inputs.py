"""What the trials of a search read from the local S3, kept on disk for as long as it runs.

The local S3 is in memory and is lost with a service that is killed; a search goes on in the next one, and its later
trials need what the first ones had. runs/<tuning job>/inputs holds the objects, and index.json names them.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from kennel.local.json_file import write_json
from kennel.local.restoring import RestoringS3
from kennel.local.storage import LocalS3, S3Address, read_address
from kennel.local.validation import Json

# Where a framework estimator of the SDK says that its script is.
_SOURCE = "sagemaker_submit_directory"


class TuningInputs:
    """The kept inputs of one tuning job."""

    def __init__(self, folder: Path, s3: LocalS3, objects: RestoringS3) -> None:
        self._folder = folder
        self._index = folder / "index.json"
        self._s3 = s3
        self._objects = objects

    def keep(self, definitions: Sequence[Json]) -> None:
        """Copies what the training job definitions name in the local S3, if that was not done before.

        Raises what reading the local S3 or writing files does (storage.STORAGE_ERRORS).
        """
        beginnings = {address for each in definitions for address in _addresses(each)}
        if self._index.is_file() or not beginnings:
            return
        found = {S3Address(each.bucket, key) for each in beginnings for key in self._s3.keys(each)}
        index = []
        for number, address in enumerate(sorted(found, key=str)):
            self._s3.download(address, self._folder / str(number))
            index.append({"bucket": address.bucket, "key": address.key, "file": str(number)})
        write_json(self._index, index)

    def announce(self, definitions: Sequence[Json]) -> None:
        """Lets the local S3 of a new service find the objects again, and the buckets that results go to."""
        for definition in definitions:
            for member in ("OutputDataConfig", "CheckpointConfig"):
                uri = next((value for key, value in definition.get(member, {}).items() if key.startswith("S3")), None)
                address = read_address(uri) if uri else None
                if isinstance(address, S3Address):
                    self._objects.announce_bucket(address.bucket)
        if self._index.is_file():
            for each in json.loads(self._index.read_text()):
                self._objects.announce(S3Address(each["bucket"], each["key"]), self._folder / each["file"])

    def remove(self) -> None:
        """Once no trial is to come."""
        self._objects.withdraw(self._folder)
        shutil.rmtree(self._folder, ignore_errors=True)


def _addresses(definition: Json) -> Iterator[S3Address]:
    sources = [channel["DataSource"].get("S3DataSource", {}) for channel in definition.get("InputDataConfig", [])]
    uris = [source["S3Uri"] for source in sources if "S3Uri" in source]
    script = definition.get("StaticHyperParameters", {}).get(_SOURCE, "").strip('"')
    for uri in (*uris, *([script] if script.startswith("s3://") else [])):
        address = read_address(uri)
        if isinstance(address, S3Address):
            yield address
