"""The verbs on images: build, conformance, layers, sbom, push."""

import argparse
from pathlib import Path
from typing import Any, Final

from kennel import __version__
from kennel.cli.options import add_repeated, add_verb

_PLACES_TO_PUSH: Final = "REG: else KENNEL_REGISTRY, else ECR_REGISTRY, else ECR of this AWS account and region."


def add_verbs(verbs: Any) -> None:  # noqa: ANN401  argparse does not name its type
    """build, conformance, layers, sbom and push."""
    _add_image_verbs(verbs)
    _add_layer_verbs(verbs)
    _add_push_verb(verbs)


def _add_image_verbs(verbs: Any) -> None:  # noqa: ANN401
    verb = add_verb(verbs, "build", build, "builds the images kennel-train:TAG and kennel-serve:TAG")
    verb.add_argument("which", choices=("train", "serve", "all"), nargs="?", default="all", help="(all)")
    verb.add_argument(
        "--cpu",
        action="store_true",
        help="kennel-serve:TAG-cpu, without torch and CUDA, for CPU instances and serverless endpoints",
    )
    verb.add_argument(
        "--base-image", metavar="IMAGE", help="a Debian or Ubuntu with Python 3.11 or 3.12 (NVIDIA's CUDA base)"
    )
    add_repeated(
        verb,
        "--weights",
        "FILE",
        "pretrained weights to put into the training image, so that jobs need no network",
        type=Path,
    )
    verb.add_argument("--tag", help=f"({__version__})")
    add_repeated(verb, "--cache-from", "IMAGE", "an image to take unchanged layers from")
    verb = add_verb(
        verbs,
        "conformance",
        conformance,
        "what SageMaker would make of any image, tried with Docker: checks with their remedy; status 1 if one fails",
    )
    verb.add_argument("images", nargs="+", metavar="IMAGE", help="a trainer first: the servers after it get its model")
    verb.add_argument("--kind", choices=("auto", "train", "serve"), default="auto", help="(by the words on its PATH)")
    verb.add_argument("--data", type=Path, metavar="DIR", help="the training data (a few drawn pictures)")
    add_repeated(verb, "--channel", "name=DIR", "an input channel, in place of those that the image's label names")
    add_repeated(verb, "-p", "key=value", "a hyperparameter of the training runs", dest="parameters")
    add_repeated(verb, "--metric", "NAME=REGEX", "a metric definition, as in CreateTrainingJob")
    verb.add_argument("--model", type=Path, metavar="model.tar.gz", help="what a server gets as /opt/ml/model")
    verb.add_argument("--request", type=Path, metavar="FILE", help="a body that /invocations can answer")
    verb.add_argument("--content-type", metavar="TYPE", help="of --request")
    add_repeated(verb, "--only", "CHECK", "a check or a group such as `train.`; what it needs runs too")
    add_repeated(verb, "--skip", "CHECK", "a check or a group to leave out")
    verb.add_argument("--memory-mb", type=int, metavar="N", help="run every container under this limit")
    verb.add_argument(
        "--stop-grace", type=float, metavar="SECONDS", help="from SIGTERM to SIGKILL (SageMaker's: train 120, serve 30)"
    )
    verb.add_argument("--json", type=Path, metavar="FILE", help="the report as JSON")
    verb.add_argument("--junit", type=Path, metavar="FILE", help="the report as JUnit XML")
    verb.add_argument("--logs", type=Path, metavar="DIR", help="keep the containers' logs there")


def _add_layer_verbs(verbs: Any) -> None:  # noqa: ANN401
    verb = add_verb(verbs, "layers", layers, "what images are made of, layer by layer, and the bytes that they share")
    verb.add_argument("images", nargs="+", metavar="IMAGE")
    verb.add_argument("--json", type=Path, metavar="FILE", help="write the same as JSON")
    verb.add_argument(
        "--limit-gb", type=float, metavar="N", help="status 1 if an image has more than N x 10^9 bytes, uncompressed"
    )
    verb = add_verb(verbs, "sbom", sbom, "writes the software bill of materials of an image: CycloneDX 1.6, as JSON")
    verb.add_argument("image", metavar="IMAGE")
    verb.add_argument("--output", type=Path, required=True, metavar="FILE")


def _add_push_verb(verbs: Any) -> None:  # noqa: ANN401
    verb = add_verb(
        verbs,
        "push",
        push,
        "puts built images into a registry, under the commit they were built from",
        epilog=_PLACES_TO_PUSH,
    )
    verb.add_argument("which", choices=("train", "serve", "all"), nargs="?", default="all", help="(all)")
    verb.add_argument("--cpu", action="store_true", help="only the serving image for CPUs")
    verb.add_argument("--registry", metavar="REG", help="a registry, such as 127.0.0.1:5000 or registry.example/team")
    verb.add_argument("--tag", help=f"of the images on this machine ({__version__})")
    verb.add_argument("--allow-dirty", action="store_true", help="images of uncommitted files too, as ...-dirty")
    verb.add_argument("--cache-tag", metavar="TAG", help="a second, movable name, for the next build's --cache-from")
    verb.add_argument("--digests", type=Path, metavar="FILE", help="write {image: reference by digest} as JSON")
    verb.add_argument("--dry-run", action="store_true", help="check and print everything, push nothing")
    only = verb.add_mutually_exclusive_group()
    only.add_argument("--login", action="store_true", help="only log docker in to ECR, for a build's --cache-from")
    only.add_argument("--delete", metavar="REFERENCE", help="only take this image out of its registry")


def build(arguments: argparse.Namespace) -> None:
    from kennel.delivery.build import BuildRequest, build

    build(
        BuildRequest(
            which=arguments.which,
            is_cpu=arguments.cpu,
            base_image=arguments.base_image,
            weights=tuple(arguments.weights),
            tag=arguments.tag,
            cache_from=tuple(arguments.cache_from),
        )
    )


def conformance(arguments: argparse.Namespace) -> int:
    """Prints what SageMaker would make of each image; status 1 when one of them does not conform."""
    from kennel.conformance import command

    return command.run(arguments)


def layers(arguments: argparse.Namespace) -> None:
    from kennel.delivery.layers import report

    report(arguments.images, json_file=arguments.json, limit_gb=arguments.limit_gb)


def sbom(arguments: argparse.Namespace) -> None:
    from kennel.delivery.sbom import report

    report(arguments.image, arguments.output)


def push(arguments: argparse.Namespace) -> None:
    from kennel.delivery import push_command

    push_command.run(arguments)
