"""What can be said of an image without running it: the words SageMaker calls, manifest, sizes, labels, secrets."""

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from kennel.conformance.checks import Subject, check, failed, passed, skipped, warned
from kennel.conformance.findings import Finding
from kennel.conformance.image_files import ImageFiles, find_program
from kennel.conformance.image_programs import (
    INITS,
    environment_of,
    head,
    interpreter_fault,
    may,
    own_entrypoint,
    programs,
    search_path,
    unreadable,
    user_name,
)
from kennel.delivery.registry import RegistryError, accepted_by_sagemaker, fetch_manifest
from kennel.errors import UserError

_MIB: Final = 2**20
_MAX_LAYER_BYTES: Final = 52_000 * _MIB  # Amazon ECR
_MAX_SERVERLESS_BYTES: Final = 10 * 10**9
_MAX_REFERENCE: Final = 255  # TrainingImage and Image in SageMaker's API
_MOUNTED: Final = ("/opt/ml/input", "/opt/ml/model", "/opt/ml/output", "/opt/ml/checkpoints")
_SERVER_LABELS: Final = (
    "com.amazonaws.sagemaker.capabilities.accept-bind-to-port",
    "com.amazonaws.sagemaker.capabilities.multi-models",
)
_KEY_ID: Final = re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b")
_SECRET_NAME: Final = re.compile(r"AWS_(?:SECRET_ACCESS_KEY|SESSION_TOKEN|ACCESS_KEY_ID)")
_DUBIOUS_NAME: Final = re.compile(r"(?i)(?:password|passwd|secret|token|api_?key|credential)")


@check("image.reference", kind="image")
def reference(subject: Subject) -> Finding:
    length = len(subject.image)
    seen = f"{subject.attributes.get('Id', '')[:19]} ({length} characters)"
    if length <= _MAX_REFERENCE:
        return passed("the reference, as a job would name it", seen)
    return failed(
        "the reference", seen, "SageMaker's API refuses more than 255 characters", "tag it with a shorter name"
    )


@check("image.architecture", kind="image")
def architecture(subject: Subject) -> Finding:
    """SageMaker's training instances, and all but the Graviton ones for serving, are x86-64."""
    platform = f"{subject.attributes.get('Os')}/{subject.attributes.get('Architecture')}"
    if platform == "linux/amd64":
        return passed("platform in the image's configuration", platform)
    return failed(
        "platform in the image's configuration",
        platform,
        "the container ends at once with `exec format error` on ml.* instances with x86-64 processors",
        "build with --platform linux/amd64",
    )


@check("image.manifest", kind="image")
def manifest(subject: Subject) -> Finding:
    """An index, most often made for an attestation, is what SageMaker hosting refuses."""
    tried = "manifest in the registry"
    local = (subject.attributes.get("Descriptor") or {}).get("mediaType", "")
    if "index" in local or "manifest.list" in local:
        return _unaccepted("the image as Docker stores it, and would push it", local)
    if not _names_a_registry(subject.image):
        return skipped(tried, "the reference names no registry; `kennel push` checks it again")
    try:
        stored = fetch_manifest(subject.image)
    except (RegistryError, UserError) as error:
        return skipped(tried, str(error))
    fault = accepted_by_sagemaker(stored)
    is_other = stored.content.get("config", {}).get("digest") != subject.attributes.get("Id")
    note = "; its configuration is not that of the image here" if is_other and not fault else ""
    return _unaccepted(tried, fault) if fault else passed(tried, f"{stored.media_type}{note}")


@check("image.size", kind="image")
def size(subject: Subject) -> Finding:
    """Layers against ECR's limit, the whole against serverless inference's."""
    layers = [int(layer["Size"]) for layer in _history(subject)]
    total = int(subject.attributes.get("Size") or sum(layers))
    largest = max(layers, default=0)
    seen = f"{_megabytes(total)} unpacked, the largest of {sum(map(bool, layers))} layers {_megabytes(largest)}"
    tried = "sizes, unpacked"
    if largest > _MAX_LAYER_BYTES:
        return failed(tried, seen, "ECR refuses layers of more than 52,000 MiB", "split the layer; leave data out")
    if "serve" in subject.kinds and total > _MAX_SERVERLESS_BYTES:
        consequence = "serverless inference takes images up to 10 GB; every other endpoint starts later"
        return warned(tried, seen, consequence, "build a variant for CPUs; leave compilers and caches out")
    return passed(tried, seen)


@check("image.entrypoint", kind="image")
def entrypoint(subject: Subject) -> Finding:
    """`docker run IMAGE train` gives the word to the entrypoint; a shell's `-c` does not hand it on."""
    parts = list(subject.config.get("Entrypoint") or [])
    tried = "ENTRYPOINT, which gets the word `train` or `serve` as its argument"
    if not parts:
        return passed(tried, "none: the word itself is run")
    name = posixpath.basename(parts[0])
    if name in ("sh", "bash", "dash", "ash") and "-c" in parts[1:2] + parts[2:3]:
        return failed(
            tried,
            f"shell form: {parts}",
            "`train` never reaches the program, and SIGTERM ends at the shell: the program is killed later",
            'write it in exec form: ENTRYPOINT ["program"], or leave it out and put `train` and `serve` on PATH',
        )
    if name in INITS:
        consequence = "SageMaker's guide names tini as an entrypoint that gets confused by the words train and serve"
        return warned(tried, f"{parts}", consequence, "leave the init out; let `train` be the first process (exec)")
    return passed(tried, f"exec form: {parts}")


@check("image.words", kind="image")
def words(subject: Subject) -> Iterator[Finding]:
    """`train` or `serve`, found as `docker run IMAGE train` finds it."""
    files = ImageFiles(subject)
    path = search_path(subject.config)
    roles = sorted(subject.kinds - {"image"})
    if not roles:
        yield failed(
            "`train` and `serve` on PATH",
            f"neither is in {path}",
            'the container ends at once: exec: "train": executable file not found in $PATH',
            "install an executable named `train` or `serve` on PATH; if the entrypoint knows the word, say --kind",
        )
    for word in roles:
        found = find_program(files, subject.config, word)
        own = own_entrypoint(subject.config)
        if found:
            yield passed(f"`{word}` on PATH", found)
        elif own:
            yield passed(f"`{word}` on PATH", f"no, but it is given to the entrypoint {own}")
        else:
            yield failed(
                f"`{word}` on PATH",
                f"not in {path}",
                f'the container ends at once: exec: "{word}": executable file not found in $PATH',
                f"install an executable named `{word}` on PATH, by ENV PATH if need be: no shell profile is read",
            )


@check("image.executable", kind="image", needs=("image.words",))
def executable(subject: Subject) -> Finding:
    """The programs may be executed by the image's user, and every folder on the way be entered."""
    tried = f"execution of the entry programs by {user_name(subject)}"
    denied = [path for path, entry in programs(subject) if not may(subject, path, entry, 1)]
    if not denied:
        return passed(tried, ", ".join(f"{path} {entry.mode & 0o7777:o}" for path, entry in programs(subject)) or "-")
    return failed(
        tried,
        f"not allowed: {', '.join(denied)}",
        "the container ends at once with `permission denied`",
        f"chmod a+rx {denied[0]} in the Dockerfile (COPY --chmod=0755), and a+x on the folders above it",
    )


@check("image.line_ends", kind="image", needs=("image.words",))
def line_ends(subject: Subject) -> Finding:
    """A script that was edited on Windows names an interpreter that ends in a carriage return."""
    tried = "line ends of the entry programs that are scripts"
    wrong = [path for path, _ in programs(subject) if b"\r\n" in head(subject, path).split(b"\0")[0][:4096]]
    scripts = [path for path, _ in programs(subject) if head(subject, path).startswith(b"#!")]
    if not wrong:
        return passed(tried, ", ".join(f"{path} LF" for path in scripts) or "no scripts")
    return failed(
        tried,
        f"CRLF in {', '.join(wrong)}",
        r"the container ends at once: /usr/bin/env: 'python3\r': No such file or directory",
        f"save {wrong[0]} with LF (dos2unix; `*.sh text eol=lf` in .gitattributes)",
    )


@check("image.interpreter", kind="image", needs=("image.words", "image.line_ends"))
def interpreter(subject: Subject) -> Finding:
    """What the #! line names is in the image."""
    tried = "the #! lines of the entry programs"
    seen: list[str] = []
    faults: list[str] = []
    for path, _ in programs(subject):
        content = head(subject, path)
        if content.startswith(b"\x7fELF"):
            seen.append(f"{path}: ELF")
            continue
        fault = interpreter_fault(subject, content)
        line = content.split(b"\n")[0][:120].decode(errors="replace")
        (faults if fault else seen).append(f"{path}: {fault or line}")
    if not faults:
        return passed(tried, ", ".join(seen) or "-")
    return failed(
        tried,
        "; ".join(faults),
        "the container ends at once with `no such file or directory` or `exec format error`",
        "install the interpreter, or name the one that is there in the script's first line",
    )


@check("image.user", kind="image")
def user(subject: Subject) -> Finding:
    """SageMaker's guide expects containers to run as root; hosting with a user is common all the same."""
    name = subject.config.get("User") or "root"
    if name in ("root", "0", "0:0"):
        return passed("USER", name)
    denied = list(unreadable(subject))
    if denied:
        return warned(
            "files of the image that its USER may not read",
            f"USER {name} may not read {', '.join(denied[:5])}{', ...' if len(denied) > 5 else ''}",
            "the container runs as that user and fails when it opens one of them",
            f"COPY --chown={name}, or chmod a+r; a build as root copies files with the modes they have on disk",
        )
    if "train" not in subject.kinds:
        return passed("USER", name)
    return warned(
        "USER",
        name,
        "SageMaker's guide expects root; whether a job's /opt/ml may be written by another user is not documented",
        "leave USER out of training images, or try a small job first",
    )


@check("image.opt_ml", kind="image")
def opt_ml(subject: Subject) -> Finding:
    """/opt/ml belongs to SageMaker: its folders are mounted over the image's."""
    tried = f"files in {', '.join(_MOUNTED)}"
    files = ImageFiles(subject)
    hidden = [member.name for folder in _MOUNTED for member in files.members(folder) if not member.isdir()]
    if not hidden:
        return passed(tried, "none")
    return warned(
        tried,
        f"{len(hidden)}: {', '.join(hidden[:4])}{', ...' if len(hidden) > 4 else ''}",
        "the mounts hide them: the container does not see these files on SageMaker",
        "keep them elsewhere, such as /opt/program; code may stand in /opt/ml/code",
    )


@check("image.secrets", kind="image")
def secrets(subject: Subject) -> Finding:
    """Everybody who can pull the image reads its ENV and its build history."""
    environment = environment_of(subject.config)
    tried = "AWS keys and other secrets in ENV, labels and the build's history"
    leaked = [
        name for name, value in environment.items() if value and (_SECRET_NAME.fullmatch(name) or _KEY_ID.search(value))
    ]
    leaked += [f"label {name}" for name, value in subject.labels.items() if _KEY_ID.search(value or "")]
    history = " ".join(str(layer.get("CreatedBy") or "") for layer in _history(subject))
    if _KEY_ID.search(history) or re.search(rf"{_SECRET_NAME.pattern}=(?!\s|$)\S", history):
        leaked.append("the build's history")
    if leaked:
        return failed(
            tried,
            f"AWS keys in {', '.join(leaked)}",
            "whoever may pull the image has them; inside SageMaker they win over the job's role",
            "take them out, revoke them, and let the job's role give access; in builds use RUN --mount=type=secret",
        )
    dubious = [name for name, value in environment.items() if value and _DUBIOUS_NAME.search(name)]
    if dubious:
        consequence = "whoever may pull the image reads it"
        return warned(
            tried, f"ENV {', '.join(dubious)}", consequence, "pass secrets to the job, or read a secret store"
        )
    return passed(tried, "none")


@check("image.stop_signal", kind="image")
def stop_signal(subject: Subject) -> Finding:
    signal = subject.config.get("StopSignal") or "SIGTERM"
    if signal in ("SIGTERM", "15"):
        return passed("STOPSIGNAL", signal)
    return warned(
        "STOPSIGNAL",
        signal,
        "SageMaker's guide promises SIGTERM; a program that only knows another signal may be killed with its work",
        "handle SIGTERM too, and leave STOPSIGNAL out",
    )


@check("image.labels", kind="image")
def labels(subject: Subject) -> Finding:
    """The two labels by which SageMaker knows what a server can do."""
    tried = "labels of a server"
    if "serve" not in subject.kinds:
        return skipped(tried, "the image does not serve")
    absent = [name for name in _SERVER_LABELS if subject.labels.get(name) != "true"]
    if not absent:
        return passed(tried, "accept-bind-to-port and multi-models are true")
    return warned(
        tried,
        f"not true: {', '.join(name.rpartition('.')[2] for name in absent)}",
        "the image cannot stand in a multi-container endpoint or pipeline, or behind a multi-model endpoint",
        f"LABEL {absent[0]}=true, if the server listens on SAGEMAKER_BIND_TO_PORT (accept-bind-to-port) "
        "or answers /models (multi-models)",
    )


def _unaccepted(tried: str, seen: str) -> Finding:
    return failed(
        tried,
        seen,
        "hosting refuses it: `Unsupported manifest media type`; the endpoint ends as Failed",
        "build with --provenance=false and oci-mediatypes=false, so that one Docker manifest is pushed and no index",
    )


def _names_a_registry(reference: str) -> bool:
    """Docker's own rule: the part before the first slash is a host if it looks like one."""
    host, slash, _ = reference.partition("/")
    return bool(slash) and ("." in host or ":" in host or host == "localhost")


def _history(subject: Subject) -> Sequence[Mapping[str, Any]]:
    history: Sequence[Mapping[str, Any]] = subject.containers.client.images.get(subject.image).history()
    return history


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"
