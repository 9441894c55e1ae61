"""smdebug's files of one step, bit for bit as its own reader wants them, without the copies its writer makes.

    with_writer: hook.writer = StepFiles(folder, 105); hook.writer.write_tensor(...); hook.writer.close()

smdebug copies a tensor four times on its way into a record (measured: 1.2 s for the 238 MB of a ResNet-18's step) and
starts a thread for every step. Here the record's few bytes of framing are made with smdebug's own protobuf classes, and
the tensor goes from where it lies to the file. Exercise it: pytest tests/unit/debug/test_hook_files.py
"""

import functools
import json
import os
import struct
import time
from io import BufferedWriter
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kennel.debug.quiet import quiet_import

with quiet_import():
    from smdebug.core.modes import MODE_PLUGIN_NAME, MODE_STEP_PLUGIN_NAME, ModeKeys
    from smdebug.core.tfevent.proto.event_pb2 import Event
    from smdebug.core.tfevent.proto.summary_pb2 import Summary, SummaryMetadata
    from smdebug.core.tfevent.proto.tensor_pb2 import TensorProto
    from smdebug.core.tfevent.proto.tensor_shape_pb2 import TensorShapeProto
    from smdebug.core.tfevent.util import _get_proto_dtype
    from smdebug.core.tfrecord.record_writer import CHECKSUM_MAGIC_BYTES, masked_crc32c

WORKER: Final = "worker_0"
# Without checksums of the content smdebug writes that of a constant.
_FOOTER: Final = struct.pack("I", masked_crc32c(CHECKSUM_MAGIC_BYTES))
# Keys on the wire of the fields that hold what is inside: (number << 3) | 2, a length and as many bytes.
_CONTENT: Final = bytes([TensorProto.TENSOR_CONTENT_FIELD_NUMBER << 3 | 2])
_TENSOR: Final = bytes([Summary.Value.TENSOR_FIELD_NUMBER << 3 | 2])
_TAG: Final = bytes([Summary.Value.TAG_FIELD_NUMBER << 3 | 2])
_VALUE: Final = bytes([Summary.VALUE_FIELD_NUMBER << 3 | 2])
_SUMMARY: Final = bytes([Event.SUMMARY_FIELD_NUMBER << 3 | 2])


class StepFiles:
    """The event file and the index of one step; smdebug's FileWriter for its hook. What is not closed is not there.

    size_bytes: of what was written so far.
    """

    def __init__(self, folder: Path, step: int, *, worker: str = WORKER) -> None:
        name = f"{step:012}_{worker}"
        self._step, self._relative = step, f"events/{step:012}/{name}.tfevents"
        self._events = folder / self._relative
        self._index = folder / "index" / f"{step // 1000:09}" / f"{name}.json"
        self._file: BufferedWriter | None = None
        self._mode: tuple[ModeKeys, int] | None = None
        self._tensors: dict[str, dict[str, object]] = {}
        self._shapes: list[dict[str, object]] = []
        self.size_bytes = 0

    def write_tensor(
        self, tdata: NDArray[Any], tname: str, *, mode: ModeKeys, mode_step: int, timestamp: float | None = None
    ) -> None:
        """Writes one; a name that is there already is passed over, as smdebug's reader would see one of them only."""
        if tname in self._tensors:
            return
        self._mode = (mode, mode_step)
        array = np.asarray(tdata, order="C")
        head = self._head(array, tname, timestamp or time.time())
        begin = _length(len(head) + array.nbytes) + head
        if self._file is None:
            self._events.parent.mkdir(parents=True, exist_ok=True)
            self._file = _beside(self._events).open("wb")
        self._file.write(begin)
        self._file.write(array.reshape(-1).view(np.uint8).data)
        self._file.write(_FOOTER)
        taken = len(begin) + array.nbytes + len(_FOOTER)
        self._tensors[tname] = {"tensorname": tname, "start_idx": self.size_bytes, "length": taken}
        self.size_bytes += taken

    def write_shape(
        self, name: str, shape: tuple[int, ...], mode: ModeKeys, mode_step: int, original_name: str | None = None
    ) -> None:
        self._mode = (mode, mode_step)
        self._shapes.append({"tensorname": name, "originalname": original_name or name, "shape": list(shape)})

    def flush(self) -> None:
        """Nothing: all of a step is seen at once, when it is closed."""

    def close(self) -> None:
        """Puts both files in their places, the index last: whoever sees it finds the tensors."""
        if self._file is not None:
            self._file.close()
            os.replace(_beside(self._events), self._events)
            self._file = None
        if self._mode is None:
            return
        mode, mode_step = self._mode
        meta: dict[str, object] = {"mode": mode.name, "mode_step": mode_step}
        if self._tensors:
            meta["event_file_name"] = self._relative
        index = {"meta": meta, "tensor_payload": list(self._tensors.values()), "shape_payload": self._shapes}
        self._index.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(index)
        _beside(self._index).write_text(text)
        os.replace(_beside(self._index), self._index)
        self.size_bytes += len(text)
        self._mode = None

    def abandon(self) -> None:
        """Leaves nothing of a step that could not be finished."""
        if self._file is not None:
            self._file.close()
            self._file = None
        _beside(self._events).unlink(missing_ok=True)
        _beside(self._index).unlink(missing_ok=True)

    @property
    def count(self) -> int:
        """Records so far."""
        return len(self._tensors)

    def _head(self, array: NDArray[Any], name: str, timestamp: float) -> bytes:
        """An Event up to the tensor's bytes, which are its last field on every level."""
        mode, mode_step = self._mode or (ModeKeys.GLOBAL, self._step)
        tag = name.encode()
        head = _tensor(array.dtype, array.shape) + _CONTENT + _varint(array.nbytes)
        value = _TAG + _varint(len(tag)) + tag + _metadata(mode, mode_step) + _TENSOR
        head = value + _varint(len(head) + array.nbytes) + head
        head = _VALUE + _varint(len(head) + array.nbytes) + head
        event: bytes = Event(wall_time=timestamp, step=self._step).SerializeToString()
        event += _SUMMARY + _varint(len(head) + array.nbytes) + head
        return event


@functools.lru_cache
def _tensor(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """A TensorProto without content."""
    _, kind = _get_proto_dtype(dtype)
    dimensions = TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in shape])
    found: bytes = TensorProto(dtype=kind, tensor_shape=dimensions).SerializeToString()
    return found


@functools.lru_cache(maxsize=2)
def _metadata(mode: ModeKeys, mode_step: int) -> bytes:
    """What a Value holds beside its tensor and its name."""
    plugins = [
        SummaryMetadata.PluginData(plugin_name=MODE_STEP_PLUGIN_NAME, content=str(mode_step)),
        SummaryMetadata.PluginData(plugin_name=MODE_PLUGIN_NAME, content=str(mode.value)),
    ]
    found: bytes = Summary.Value(metadata=SummaryMetadata(plugin_data=plugins)).SerializeToString()
    return found


@functools.lru_cache
def _length(size: int) -> bytes:
    """How a record of this size begins: the size, and its checksum, which takes 10 us in Python."""
    packed = struct.pack("Q", size)
    return packed + struct.pack("I", masked_crc32c(packed))


def _beside(path: Path) -> Path:
    return path.with_name(path.name + ".tmp")


def _varint(number: int) -> bytes:
    """Protobuf's base 128, the low bits first."""
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)
