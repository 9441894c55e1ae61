"""What `kennel conformance` does with its arguments: the lines it prints, the files it writes, its exit status."""

import argparse
import json
from pathlib import Path
from typing import Any

from kennel.conformance.checks import Selection
from kennel.conformance.containers import ContainerError
from kennel.conformance.findings import Finding
from kennel.conformance.report import ImageReport, progress_line, to_json, to_junit
from kennel.conformance.run import Request, conform, read_pairs, write_reports
from kennel.errors import UserError


def run(arguments: argparse.Namespace) -> int:
    """0 if every image conforms (warnings allowed), 1 if not. Raises UserError (2) for what cannot be tried."""
    reports: list[ImageReport] = []
    try:
        for report in conform(read_request(arguments), progress=_print_progress):
            print(f"\n{report.table()}\n\n{report.summary()}\n", flush=True)
            reports.append(report)
    except ContainerError as error:
        raise UserError(str(error)) from error
    if arguments.json:
        write_reports(json.dumps(to_json(reports), indent=2) + "\n", arguments.json)
    if arguments.junit:
        write_reports(to_junit(reports), arguments.junit)
    return 0 if all(report.is_passed for report in reports) else 1


def read_request(arguments: argparse.Namespace) -> Request:
    """The arguments, understood. Raises UserError naming the option at fault."""
    channels = read_pairs(arguments.channel, "--channel")
    return Request(
        images=tuple(arguments.images),
        kind=arguments.kind,
        data=arguments.data,
        channels={name: Path(folder) for name, folder in channels.items()},
        hyperparameters=read_pairs(arguments.parameters, "-p"),
        metrics=read_pairs(arguments.metric, "--metric"),
        model=arguments.model,
        request=_request_body(arguments),
        selection=Selection(tuple(arguments.only), tuple(arguments.skip)),
        memory_mb=arguments.memory_mb,
        stop_grace_s=arguments.stop_grace,
        logs=arguments.logs,
    )


def _request_body(arguments: argparse.Namespace) -> dict[str, Any]:
    """The label's `request` in the form the options give it."""
    if arguments.request is None:
        return {}
    if not arguments.request.is_file():
        raise UserError(f"--request {arguments.request} is no file.")
    content_type = arguments.content_type or "application/octet-stream"
    return {"file": str(arguments.request), "content_type": content_type}


def _print_progress(image: str, finding: Finding) -> None:
    print(f"{image}: {progress_line(finding)}", flush=True)
