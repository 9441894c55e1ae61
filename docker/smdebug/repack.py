#!/usr/bin/env python3
"""Makes smdebug 1.0.34 work beside current packages: the upstream wheel in, a wheel with a few edits out.

    pip download --no-deps --require-hashes -r docker/smdebug/requirements.txt -d DIR
    python docker/smdebug/repack.py DIR/smdebug-1.0.34-py2.py3-none-any.whl OUTPUT_DIR      prints the new wheel's path

Upstream's last release wants protobuf <= 3.20.3, where sagemaker-training wants >= 5.28.1, and numpy 1. Its source is
the wheel, so the edits are made there: each one is a text that must occur exactly once, else nothing is written. The
version becomes 1.0.34+kennel.1, the requirements are what its imports need, and each edited file says so (Apache
License 2.0, section 4b). The same input gives the same bytes, on every machine and Python (nothing is compressed).

It needs the standard library only. Left as they are: TensorFlow, MXNet and XGBoost hooks, bokeh notebooks, and what
only warns (`datetime.utcfromtimestamp` and an escape in a regular expression, on Python 3.12).
"""

import argparse
import ast
import base64
import hashlib
import io
import re
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest a zip can name


class RepackError(Exception):
    """The wheel is not the one that these edits were written for."""


@dataclass(frozen=True)
class Edit:
    """Replacements in one file: each old text occurs exactly once. reason: for the notice in the file."""

    path: str
    reason: str
    replacements: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Recipe:
    """What to make of one upstream wheel.

    edits: of texts. descriptors: modules made by protoc before 3.20, to be rebuilt from the descriptor they hold.
    """

    name: str
    version: str
    local_version: str
    sha256: str
    edits: tuple[Edit, ...]
    descriptors: tuple[str, ...]

    @property
    def full_version(self) -> str:
        return f"{self.version}+{self.local_version}"

    @property
    def dist_info(self) -> str:
        return f"{self.name}-{self.version}.dist-info"

    @property
    def new_dist_info(self) -> str:
        return f"{self.name}-{self.full_version}.dist-info"


_STRTOBOOL = '''def strtobool(val):
    """distutils.util.strtobool, which Python 3.12 dropped: 1 or 0, ValueError for any other word."""
    val = val.lower()
    if val in ("y", "yes", "t", "true", "on", "1"):
        return 1
    if val in ("n", "no", "f", "false", "off", "0"):
        return 0
    raise ValueError(f"invalid truth value {val!r}")


'''

SMDEBUG = Recipe(
    name="smdebug",
    version="1.0.34",
    local_version="kennel.1",
    sha256="cf468938aa8e502888060b1508b7c78220074da23cd6c9e663e939057784b3f8",
    edits=(
        Edit("smdebug/_version.py", "the version", (('"1.0.34"', '"1.0.34+kennel.1"'),)),
        Edit(
            "smdebug/core/tfevent/util.py",
            "numpy 2 has no ndarray.tostring",
            (("nparray_data.tostring()", "nparray_data.tobytes()"),),
        ),
        Edit(
            "smdebug/core/tfevent/summary.py",
            "numpy 2 makes no float of an array that has dimensions",
            (("scalar = float(scalar)\n", "scalar = float(scalar.item())\n"),),
        ),
        Edit(
            "smdebug/pytorch/hook.py",
            "numpy has no bfloat16, such tensors are saved as float32",
            (
                (
                    '            return tensor_value.to(torch.device("cpu")).data.numpy()\n',
                    '            tensor_value = tensor_value.to(torch.device("cpu")).data\n'
                    "            if tensor_value.dtype == torch.bfloat16:\n"
                    "                tensor_value = tensor_value.float()\n"
                    "            return tensor_value.numpy()\n",
                ),
            ),
        ),
        Edit(
            "smdebug/profiler/utils.py",
            "Python 3.12 has no distutils, strtobool is defined here",
            (("from distutils.util import strtobool\n", ""), ("def str2bool(v):\n", f"{_STRTOBOOL}def str2bool(v):\n")),
        ),
        Edit(
            "smdebug/core/config_validator.py",
            "Python 3.12 has no distutils, strtobool comes from smdebug.profiler.utils",
            (
                ("from distutils.util import strtobool\n", ""),
                (
                    "from smdebug.profiler.profiler_config_parser import ProfilerConfigParser\n",
                    "from smdebug.profiler.profiler_config_parser import ProfilerConfigParser\n"
                    "from smdebug.profiler.utils import strtobool\n",
                ),
            ),
        ),
        Edit(
            "smdebug-1.0.34.dist-info/METADATA",
            "version, requirements",
            (
                ("\nVersion: 1.0.34\n", "\nVersion: 1.0.34+kennel.1\n"),
                ("Requires-Python: >=3.6\n", "Requires-Python: >=3.11\n"),
                (
                    "Classifier: Programming Language :: Python :: 3.6\n"
                    "Classifier: Programming Language :: Python :: 3.7\n"
                    "Classifier: Programming Language :: Python :: 3.8\n",
                    "Classifier: Programming Language :: Python :: 3.11\n"
                    "Classifier: Programming Language :: Python :: 3.12\n",
                ),
                (
                    "Requires-Dist: protobuf (<=3.20.3,>=3.20.0)\n"
                    "Requires-Dist: numpy (>=1.16.0)\n"
                    "Requires-Dist: packaging\n"
                    "Requires-Dist: boto3 (>=1.10.32)\n"
                    "Requires-Dist: pyinstrument (==3.4.2)\n",
                    # Everything `import smdebug.pytorch` reaches. The descriptors are rebuilt by what protobuf 3.20 to
                    # 7 offer to the code that protoc makes; pyinstrument 5 comes as a wheel (3.4.2 needs a compiler).
                    "Requires-Dist: protobuf (<8,>=5.28.1)\n"
                    "Requires-Dist: numpy (<3,>=2)\n"
                    "Requires-Dist: packaging\n"
                    "Requires-Dist: boto3 (>=1.10.32)\n"
                    "Requires-Dist: pandas\n"
                    "Requires-Dist: psutil\n"
                    "Requires-Dist: pyinstrument (<6,>=5)\n"
                    "Requires-Dist: requests\n"
                    "Requires-Dist: six\n",
                ),
                (
                    "This library powers Amazon SageMaker Debugger,",
                    "This is smdebug 1.0.34 as Amazon published it, changed by the Kennel project so that it works\n"
                    "with protobuf 5 to 7, numpy 2, bfloat16 tensors and Python 3.12. Each changed file says so.\n\n"
                    "This library powers Amazon SageMaker Debugger,",
                ),
            ),
        ),
        Edit(
            "smdebug-1.0.34.dist-info/WHEEL",
            "made by this script, for Python 3",
            (
                ("Generator: bdist_wheel (0.36.2)\n", "Generator: Kennel's docker/smdebug/repack.py\n"),
                ("Tag: py2-none-any\n", ""),
            ),
        ),
    ),
    descriptors=tuple(
        f"smdebug/core/tfevent/proto/{name}_pb2.py"
        for name in (
            "attr_value",
            "event",
            "graph",
            "node_def",
            "resource_handle",
            "summary",
            "tensor",
            "tensor_shape",
            "types",
            "versions",
        )
    ),
)


def repack(wheel: Path, output_dir: Path, recipe: Recipe = SMDEBUG) -> Path:
    """The path of the new wheel in `output_dir`. RepackError, and nothing written, if an edit does not fit."""
    content = wheel.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != recipe.sha256:
        raise RepackError(f"{wheel} has sha256 {found}, not {recipe.sha256} of {recipe.name} {recipe.version}.")
    files = change(read_wheel(content), recipe)
    output_dir.mkdir(parents=True, exist_ok=True)
    target = output_dir / f"{recipe.name}-{recipe.full_version}-py3-none-any.whl"
    target.write_bytes(write_wheel(files))
    return target


def read_wheel(content: bytes) -> dict[str, bytes]:
    """Path to content of every file in a wheel, in its order."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {entry.filename: archive.read(entry) for entry in archive.infolist() if not entry.is_dir()}


def change(files: Mapping[str, bytes], recipe: Recipe) -> dict[str, bytes]:
    """All files of the new wheel, edited, under the new version's names, with a RECORD that fits them."""
    changed = {path: content for path, content in files.items() if path != f"{recipe.dist_info}/RECORD"}
    for edit in recipe.edits:
        changed[edit.path] = apply(edit, _text(changed, edit.path), recipe).encode()
    outdated = sorted(path for path in changed if path.endswith("_pb2.py"))
    if outdated != sorted(recipe.descriptors):
        raise RepackError(f"The wheel's *_pb2.py are {outdated}; {sorted(recipe.descriptors)} were expected.")
    for path in recipe.descriptors:
        changed[path] = rebuild_descriptor(path, _text(changed, path), recipe).encode()
    renamed = {
        path.replace(f"{recipe.dist_info}/", f"{recipe.new_dist_info}/"): content for path, content in changed.items()
    }
    renamed[f"{recipe.new_dist_info}/RECORD"] = record(renamed, f"{recipe.new_dist_info}/RECORD")
    return renamed


def apply(edit: Edit, text: str, recipe: Recipe) -> str:
    """The edited text; a Python file has a notice above it."""
    for old, new in edit.replacements:
        if text.count(old) != 1:
            raise RepackError(f"{edit.path} has {text.count(old)} times {old!r}; once was expected.")
        text = text.replace(old, new)
    return f"{notice(edit.reason, recipe)}{text}" if edit.path.endswith(".py") else text


def notice(reason: str, recipe: Recipe) -> str:
    """The comment that Apache License 2.0, section 4b, asks for in a changed file."""
    return f"# This file was changed by the Kennel project ({recipe.name} {recipe.full_version}): {reason}.\n"


def rebuild_descriptor(path: str, source: str, recipe: Recipe) -> str:
    """A module with the same messages, as protoc writes it today: built from the descriptor that `source` holds.

    Only the serialized descriptor, and the imports of the modules it depends on, are taken from `source`.
    """
    name = path.replace("_pb2.py", ".proto")
    calls = [
        node.value
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "DESCRIPTOR"
    ]
    if len(calls) != 1:
        raise RepackError(f"{path} has {len(calls)} times 'DESCRIPTOR = ...(...)'; once was expected.")
    if not isinstance(calls[0], ast.Call):
        raise RepackError(f"{path} has a DESCRIPTOR that is no call.")
    values = {word.arg: word.value for word in calls[0].keywords}
    serialized = ast.literal_eval(values["serialized_pb"]) if "serialized_pb" in values else b""
    # A FileDescriptorProto begins with its field 1, the name: tag 10, length, text.
    if not serialized.startswith(bytes([10, len(name)]) + name.encode()):
        raise RepackError(f"{path} holds no serialized descriptor of {name}.")
    imports = re.findall(r"^from smdebug\.[\w.]+ import \w+ as \w+$", source, flags=re.MULTILINE)
    return "\n".join(
        (
            "# -*- coding: utf-8 -*-",
            "# Generated by the protocol buffer compiler.  DO NOT EDIT!",
            f"# source: {name}",
            notice(
                "protobuf since 4 refuses descriptors made in Python, so they are built from the serialized one", recipe
            ),
            "from google.protobuf import descriptor_pool as _descriptor_pool",
            "from google.protobuf.internal import builder as _builder",
            "",
            *imports,
            "",
            f"DESCRIPTOR = _descriptor_pool.Default().AddSerializedFile({serialized!r})",
            "",
            "_builder.BuildMessageAndEnumDescriptors(DESCRIPTOR, globals())",
            f"_builder.BuildTopDescriptorsAndMessages(DESCRIPTOR, {path[:-3].replace('/', '.')!r}, globals())",
            "",
        )
    )


def record(files: Mapping[str, bytes], own_path: str) -> bytes:
    """The wheel's list of its files, with hash and size; its own line has neither."""
    lines = [f"{path},sha256={_url_safe_sha256(content)},{len(content)}" for path, content in files.items()]
    return "\n".join([*lines, f"{own_path},,", ""]).encode()


def write_wheel(files: Mapping[str, bytes]) -> bytes:
    """A zip whose bytes depend on `files` only: no compression, whose bytes differ between versions of zlib."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for path, content in files.items():
            entry = zipfile.ZipInfo(path, _ZIP_DATE)
            entry.create_system = 3  # Unix, wherever this runs
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, content)
    return stream.getvalue()


def _text(files: Mapping[str, bytes], path: str) -> str:
    if path not in files:
        raise RepackError(f"The wheel has no {path}.")
    return files[path].decode()


def _url_safe_sha256(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def main() -> int:
    summary, _, usage = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=usage, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("wheel", type=Path, metavar="WHEEL")
    parser.add_argument("output_dir", type=Path, metavar="OUTPUT_DIR")
    arguments = parser.parse_args()
    try:
        print(repack(arguments.wheel, arguments.output_dir))
    except (RepackError, OSError, zipfile.BadZipFile) as error:
        print(f"repack.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
