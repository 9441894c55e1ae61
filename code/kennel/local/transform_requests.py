"""From one object of a batch transform to its requests, and from their answers to what is written."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from kennel.local.transform_client import TransformClient
from kennel.local.transform_inputs import Source
from kennel.local.transform_join import Processing
from kennel.local.transform_plan import Plan
from kennel.local.transform_records import Record, batches, filtered, read_records

_PIECE = 1 << 16


@dataclass(frozen=True)
class Requests:
    """How a job's objects are sent. split_type: TransformInput's."""

    client: TransformClient
    plan: Plan
    processing: Processing
    split_type: str

    def of(self, source: Source) -> Iterator[Callable[[], bytes]]:
        """One function a request of the object: it sends, and returns what is to be written.

        Reading raises RecordFault or what the storage raises; a function also Refused, NoAnswer and Ended. An object
        that is not split is read by the function itself, so that many small ones are read side by side.
        """
        if self._is_streamed or self.split_type == "None":
            yield partial(self._send_whole, source)
            return
        with closing(source.open()) as stream:
            is_framed = self.plan.strategy == "MultiRecord"
            records = read_records(stream, self.split_type, limit_bytes=self.plan.limit_bytes, is_framed=is_framed)
            if self.processing.input_filter:
                records = filtered(records, self.processing.sent)
            for batch in batches(records, self.plan.strategy, limit_bytes=self.plan.limit_bytes):
                yield partial(self._send, batch)

    @property
    def _is_streamed(self) -> bool:
        """Whether objects go as they are, in chunks, of any size: MaxPayloadInMB is 0, and no record is looked at."""
        needs_records = self.processing.input_filter or self.processing.is_joined
        is_whole = self.split_type == "None" or self.plan.strategy == "MultiRecord"
        return self.plan.payload_mb == 0 and is_whole and not needs_records

    def _send_whole(self, source: Source) -> bytes:
        if self._is_streamed:
            return self.processing.written((), self.client.invoke(partial(_pieces, source)))
        with closing(source.open()) as stream:
            records = read_records(stream, "None", limit_bytes=self.plan.limit_bytes, is_framed=False)
            [record] = filtered(records, self.processing.sent)
        return self._send((record,))

    def _send(self, records: tuple[Record, ...]) -> bytes:
        body = b"".join(record.sent for record in records)
        answer = self.client.invoke(body if self.plan.payload_mb else lambda: [body])
        return self.processing.written(records, answer)


def _pieces(source: Source) -> Iterator[bytes]:
    with closing(source.open()) as stream:
        while piece := stream.read(_PIECE):
            yield piece
