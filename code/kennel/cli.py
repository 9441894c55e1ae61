"""The program `kennel`: verbs that parse and call, nothing more. Every script in scripts/ is one of them.

Heavy modules are imported by the verb that needs them, so that `-h` answers at once and without an installation.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kennel import __version__
from kennel.errors import DataError, KennelError, UserError
from kennel.hyperparameters import read_assignments, table

PLACES = ("local", "docker")
PLACES_TO_PUSH = "REG: else KENNEL_REGISTRY, else ECR_REGISTRY, else ECR of this AWS account and region."


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb; returns the exit status (0, or the error's own: see kennel.errors)."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.run(arguments) or 0)
    except KennelError as error:
        print(f"kennel: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has seen enough
        return 141


def check(arguments: argparse.Namespace) -> int:
    """Prints the report; status 3 when a training would refuse the data."""
    report = _check_with_bar(arguments.data, seed=arguments.seed)
    print(json.dumps(report.to_json()) if arguments.json else report.table())
    return 0 if report.is_fit else DataError.exit_status


def data_sample(arguments: argparse.Namespace) -> None:
    from tqdm import tqdm

    from kennel.dataset.sample import make_sample

    if arguments.folder.exists() and any(arguments.folder.iterdir()):
        raise UserError(f"{arguments.folder} is there already and not empty. Name another folder, or delete it first.")
    counts = {} if arguments.images_per_class is None else {"images_per_class": arguments.images_per_class}
    with tqdm(unit="picture", disable=not sys.stderr.isatty(), leave=False) as bar:
        made = make_sample(arguments.folder, seed=arguments.seed, progress=_bar_progress(bar), **counts)
    print(f"sample pictures in {made}")


def data_download(arguments: argparse.Namespace) -> None:
    from tqdm import tqdm

    from kennel.dataset.download import download_dogs

    with tqdm(unit="B", unit_scale=True, disable=not sys.stderr.isatty()) as bar:
        folder = download_dogs(arguments.folder, progress=_bar_progress(bar))
    print(f"133 breeds in {folder}\nnext: kennel check --data {folder}")


def train(arguments: argparse.Namespace) -> int:
    """Checks, starts, follows; status 0 only if the job is Completed."""
    from kennel.launch.jobs import plan_training

    settings = read_assignments(arguments.parameters)
    if arguments.anyway:
        settings["bad-data"] = "skip"
    settings, weights_uri = _with_best_of(arguments, settings)
    job = plan_training(
        arguments.data,
        name=arguments.name,
        hyperparameters=settings,
        resume=_run(arguments.resume),
        debugging=_debugging(arguments),
        weights_uri=weights_uri,
    )
    _refuse_bad_data(arguments.data, settings)

    from kennel.launch import follow, jobs
    from kennel.launch.places import open_place, runs_folder

    place = open_place(arguments.on, image=arguments.image)
    jobs.create_training_job(job, place)
    print(f"training job {job.name}\n  files: {runs_folder() / job.name}\n  Ctrl-C stops it", flush=True)
    return _report_training(follow.follow_training(job.name, place))


def tune(arguments: argparse.Namespace) -> int:
    """Checks, starts, follows, reports; status 0 only if the tuning job is Completed with a best training job."""
    from kennel.launch import tune_command
    from kennel.launch.places import runs_folder

    job = tune_command.plan(arguments)
    images = _refuse_bad_data(arguments.data, dict(job.training.hyperparameters))
    job = tune_command.fit_to_pictures(job, images, is_recommended=arguments.ranges is None)
    outcome = tune_command.run(job, on=arguments.on, image=arguments.image)
    print(tune_command.summary(outcome, arguments.data))

    from kennel.report import command

    command.run(job.name, runs=runs_folder(), output=None, data=None, is_opened=False)
    return tune_command.exit_status(outcome)


def transform(arguments: argparse.Namespace) -> int:
    """Predictions for a folder of files; status 0 only if the transform job is Completed."""
    from kennel.launch import transform_command

    return transform_command.run(arguments)


def debug(arguments: argparse.Namespace) -> int:
    """Prints what rules say of a run; status 1 if one fired."""
    from kennel.debug import command
    from kennel.launch.places import runs_folder

    request = command.DebugRequest(
        source=arguments.source,
        runs=runs_folder(),
        rules_file=arguments.rules,
        rules=arguments.rule,
        parameters=command.read_parameters(arguments.parameters),
        is_json=arguments.json,
        save=arguments.save,
        local_s3=_local_s3(arguments.source),
    )
    return command.run(request)


def report(arguments: argparse.Namespace) -> None:
    from kennel.launch.places import runs_folder
    from kennel.report import command

    command.run(
        arguments.run_name,
        runs=runs_folder(),
        output=arguments.output,
        data=arguments.data,
        is_opened=arguments.open,
        local_s3=_local_s3(arguments.run_name),
    )


def deploy(arguments: argparse.Namespace) -> int:
    from kennel.launch import cleanup, follow, jobs
    from kennel.launch.places import open_place

    endpoint = jobs.check_name(arguments.endpoint_name or arguments.name, "Endpoint")
    place = open_place(arguments.on, image=arguments.image)
    jobs.create_endpoint(arguments.name, place, endpoint_name=endpoint)
    description = follow.wait_for_endpoint(endpoint, place)
    if description["EndpointStatus"] != "InService":
        cleanup.delete_endpoint(endpoint, place)
        raise KennelError(f"Endpoint '{endpoint}' failed and was deleted: {description.get('FailureReason')}")
    print(f"ask it:    kennel invoke {endpoint} PHOTO...\ndelete it: kennel delete --endpoint-name {endpoint}")
    return 0


def invoke(arguments: argparse.Namespace) -> None:
    from tqdm import tqdm

    from kennel.launch import predict
    from kennel.launch.places import open_place

    predict.check_photos(arguments.photos)
    place = open_place(arguments.on)
    answers = []
    hide = not sys.stderr.isatty() or len(arguments.photos) < 10
    for answer in tqdm(
        predict.ask(arguments.endpoint_name, arguments.photos, place),
        total=len(arguments.photos),
        unit="photo",
        disable=hide,
        leave=False,
    ):
        answers.append(answer)
        if arguments.json:
            print(answer.to_json(), flush=True)
    if not arguments.json:
        print(predict.table(answers))


def list_all(arguments: argparse.Namespace) -> None:
    from kennel.launch import cleanup
    from kennel.launch.places import open_place

    print(cleanup.list_all(open_place(arguments.on)).table())


def delete(arguments: argparse.Namespace) -> None:
    from kennel.launch import cleanup
    from kennel.launch.places import open_place

    place = open_place(arguments.on)
    deleted = cleanup.delete_all(place) if arguments.all else cleanup.delete_endpoint(arguments.endpoint_name, place)
    print("\n".join(deleted) or "nothing to delete")


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


def local_start(arguments: argparse.Namespace) -> None:
    from kennel.launch.places import runs_folder
    from kennel.local import daemon

    state = daemon.start(runs_folder(), port=arguments.port, idle_s=arguments.idle_minutes * 60, on=arguments.on)
    print(f'local SageMaker at {state.url} (pid {state.pid})\nuse it from a shell: eval "$(kennel local env)"')


def local_stop(arguments: argparse.Namespace) -> None:
    from kennel.launch.places import runs_folder
    from kennel.local import daemon

    print("stopped" if daemon.stop(runs_folder()) else "the local SageMaker was not running")


def local_status(arguments: argparse.Namespace) -> int:
    """Status 0 when it runs, 1 when it does not, as a shell's `if` wants it."""
    from kennel.launch.places import runs_folder
    from kennel.local import daemon

    state = daemon.status(runs_folder())
    print(f"running at {state.url} (pid {state.pid}, --on {state.on})" if state else "not running")
    return 0 if state else 1


def local_env(arguments: argparse.Namespace) -> None:
    """Prints `export` lines that point boto3, the SDK and the AWS command line at the local service, starting it."""
    import shlex

    from kennel.launch.places import runs_folder
    from kennel.local import daemon

    for key, value in daemon.environment(daemon.ensure(runs_folder())).items():
        print(f"export {key}={shlex.quote(value)}")


def _local_s3(source: str) -> dict[str, str] | None:
    """For an s3:// address: the environment of the local SageMaker, if it runs."""
    from kennel.launch.places import runs_folder
    from kennel.local import daemon

    service = daemon.status(runs_folder()) if source.startswith("s3://") else None
    return daemon.environment(service) if service else None


def _run(name: str | None) -> Path | None:
    """The run folder of a job whose checkpoints are there; UserError if they are not."""
    if name is None:
        return None
    from kennel.launch.places import runs_folder

    run = runs_folder() / name
    if not any((run / "ml" / "checkpoints").glob("*")):
        raise UserError(f"'{name}' has no checkpoint to go on from: {run / 'ml' / 'checkpoints'} is empty or missing.")
    return run


def _debugging(arguments: argparse.Namespace) -> Any:  # noqa: ANN401  kennel.launch.debugging.Debugging, imported late
    """What --debug and --rules ask for; None without them. UserError for rules that cannot be evaluated."""
    from kennel.launch import debugging

    if arguments.rules:
        from kennel.debug.configuration import read_rules_file

        rules = read_rules_file(arguments.rules)
        return debugging.from_file(arguments.rules, rules.debug_rules, rules.profiler_rules)
    if not arguments.debug:
        return None
    from kennel.debug.rules import RECOMMENDED

    return debugging.recommended(RECOMMENDED)


def _with_best_of(arguments: argparse.Namespace, settings: dict[str, str]) -> tuple[dict[str, str], str | None]:
    """The hyperparameters of --best-of under those given, said; and the weights channel that belongs to them."""
    if arguments.best_of is None:
        return settings, None
    from kennel.launch import best_training
    from kennel.launch.places import open_place

    taken = best_training.take_over(arguments.best_of, settings, open_place(arguments.on, image=arguments.image))
    print(taken.said)
    return dict(taken.hyperparameters), taken.weights_uri


def _refuse_bad_data(folder: Path, settings: dict[str, str]) -> int:
    """Prints what is wrong with the data, and raises DataError where it would spoil the result.

    Returns how many training images there are.
    """
    report = _check_with_bar(folder, seed=int(settings.get("seed", 0)))
    if report.findings:
        print(report.table(), file=sys.stderr)
    if report.is_fit or (settings.get("bad-data") == "skip" and report.dataset is not None):
        return sum(counts.get("train", 0) for counts in report.counts.values())
    remedy = "Mend the data, or train without the files named above: --anyway" if report.dataset else "Mend the data"
    first = report.errors[0].message
    raise DataError(
        f"{first} ({len(report.errors)} such in all)\n{remedy}" if len(report.errors) > 1 else f"{first}\n{remedy}"
    )


def _check_with_bar(folder: Path, *, seed: int) -> Any:  # noqa: ANN401  kennel.dataset.check.CheckReport, imported late
    from tqdm import tqdm

    from kennel.dataset.check import check_folder

    with tqdm(unit="image", disable=not sys.stderr.isatty(), leave=False) as bar:
        return check_folder(folder, seed=seed, progress=_bar_progress(bar))


def _bar_progress(bar: Any) -> Callable[[int, int], None]:  # noqa: ANN401  a tqdm
    def progress(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)

    return progress


def _report_training(description: dict[str, Any]) -> int:
    """Prints the end of a job; its exit status."""
    from kennel.launch.rule_lines import rules_table

    name, status = description["TrainingJobName"], description["TrainingJobStatus"]
    print(f"training job {name}: {status} after {description.get('TrainingTimeInSeconds', 0)} s")
    rules = rules_table(description)
    if rules:
        print(rules)
    exit_status = _print_outcome(description)
    if rules:
        print(f"see all of it: kennel report {name}\nthe rules again, with other thresholds: kennel debug {name}")
    return exit_status


def _print_outcome(description: dict[str, Any]) -> int:
    name, status = description["TrainingJobName"], description["TrainingJobStatus"]
    if status == "Failed":
        print(f"kennel: {description.get('FailureReason', 'no reason was left')}", file=sys.stderr)
        return 1
    for metric in description.get("FinalMetricDataList", []):
        print(f"  {metric['MetricName']:<24} {metric['Value']:.4g}")
    if status == "Stopped":
        print(f"go on from its checkpoint: kennel train ... --resume {name}")
        return 1
    print(f"deploy it: kennel deploy {name}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kennel", description="Trains and serves image classifiers as SageMaker does."
    )
    parser.add_argument("--version", action="version", version=f"kennel {__version__}")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    _add_data_verbs(verbs)
    _add_job_verbs(verbs)
    _add_tune_verb(verbs)
    _add_debug_verb(verbs)
    _add_report_verb(verbs)
    _add_endpoint_verbs(verbs)
    _add_transform_verb(verbs)
    _add_local_verbs(verbs)
    _add_image_verbs(verbs)
    _add_layer_verbs(verbs)
    _add_push_verb(verbs)
    return parser


def _add_verb(verbs: Any, name: str, run: Callable[..., Any], help_text: str, **more: Any) -> argparse.ArgumentParser:  # noqa: ANN401
    verb: argparse.ArgumentParser = verbs.add_parser(name, help=help_text, description=help_text, **more)
    verb.set_defaults(run=run)
    return verb


def _add_data_verbs(verbs: Any) -> None:  # noqa: ANN401  argparse does not name its type
    verb = _add_verb(
        verbs, "check", check, "what is wrong with a folder of images; status 3 if training would refuse it"
    )
    verb.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="train/ valid/ test/ of class folders, or class folders"
    )
    verb.add_argument("--seed", type=int, default=0, help="of the 80:10:10 split of a folder of class folders (0)")
    verb.add_argument("--json", action="store_true", help="the report as JSON")
    data = verbs.add_parser("data", help="make or fetch a data set").add_subparsers(required=True, metavar="WHAT")
    verb = _add_verb(data, "sample", data_sample, "makes a labelled set of drawn pictures: 8 coat patterns")
    verb.add_argument("folder", type=Path, metavar="DIR")
    verb.add_argument("--images-per-class", type=int, metavar="N")
    verb.add_argument("--seed", type=int, default=0)
    download = data.add_parser("download", help="fetch a public data set").add_subparsers(required=True, metavar="NAME")
    verb = _add_verb(download, "dogs", data_download, "Udacity's dogImages: 133 breeds, 8,351 photos, 1.1 GB")
    verb.add_argument(
        "folder", type=Path, nargs="?", default=Path("data"), metavar="DIR", help="where it is unpacked (data)"
    )


def _add_job_verbs(verbs: Any) -> None:  # noqa: ANN401
    verb = _add_verb(
        verbs,
        "train",
        train,
        "trains a classifier on a folder of images",
        epilog=f"hyperparameters (-p), with default, meaning and range:\n{table()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verb.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="train/ valid/ test/ of class folders, or class folders"
    )
    verb.add_argument("--name", help="the job's name, unique (made from the folder and the time)")
    verb.add_argument(
        "-p",
        dest="parameters",
        action="append",
        default=[],
        metavar="key=value",
        help="a hyperparameter, as often as needed",
    )
    verb.add_argument(
        "--anyway", action="store_true", help="leave out the files that the check refuses (-p bad-data=skip)"
    )
    verb.add_argument(
        "--debug",
        action="store_true",
        help="save tensors and timings, and watch them by the recommended rules, with a line when one fires",
    )
    verb.add_argument(
        "--rules", type=Path, metavar="FILE", help="the same by rules of your own: SageMaker's configuration as JSON"
    )
    verb.add_argument(
        "--resume", metavar="JOB", help="go on from the checkpoint of a stopped job, with the same settings"
    )
    verb.add_argument(
        "--best-of", metavar="TUNING_JOB", help="the hyperparameters of a tuning job's best training, under those of -p"
    )
    _add_place(verb, image="that trains")


def _add_tune_verb(verbs: Any) -> None:  # noqa: ANN401
    verb = _add_verb(verbs, "tune", tune, "searches for the hyperparameters with the best validation result")
    verb.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="train/ valid/ test/ of class folders, or class folders"
    )
    verb.add_argument("--name", help="the tuning job's name, unique, 32 characters at most (made from the folder)")
    _add_repeated(verb, "-p", "key=value", "a hyperparameter that every training has", dest="parameters")
    verb.add_argument(
        "--ranges", type=Path, metavar="FILE", help="SageMaker's ParameterRanges as JSON (tuning/recommended.json)"
    )
    verb.add_argument(
        "--strategy", choices=("Bayesian", "Random", "Grid", "Hyperband"), default="Bayesian", help="(Bayesian)"
    )
    verb.add_argument("--objective", default="validation:loss", metavar="METRIC", help="(validation:loss)")
    verb.add_argument("--max-jobs", type=int, metavar="N", help="(20; with Grid all combinations)")
    verb.add_argument("--max-parallel-jobs", type=int, metavar="N", help="trainings side by side (2)")
    verb.add_argument("--early-stopping", choices=("Auto", "Off"), default="Off", help="of hopeless trainings (Off)")
    verb.add_argument("--warm-start", metavar="NAME", help="go on from what this tuning job has found")
    verb.add_argument("--seed", type=int, metavar="N", help="the same seed makes the same Random search")
    _add_place(verb, image="that trains")


def _add_debug_verb(verbs: Any) -> None:  # noqa: ANN401
    verb = _add_verb(
        verbs,
        "debug",
        debug,
        "rules again over a run that has ended, with other thresholds; status 1 if one fires",
        epilog="Without --rule and --rules: the run's own, else the recommended ones. Actions are not done again.",
    )
    verb.add_argument(
        "source", metavar="NAME", help="a run, the folder of its tensors, or s3://bucket/job-name/debug-output"
    )
    verb.add_argument(
        "--rules",
        type=Path,
        metavar="FILE",
        help="SageMaker's rule configuration as JSON: a list of DebugRuleConfigurations entries, or an object with "
        "DebugRuleConfigurations and ProfilerRuleConfigurations",
    )
    _add_repeated(verb, "--rule", "RULE", "a built-in rule with AWS's defaults")
    _add_repeated(verb, "-p", "key=value", "a parameter of the one --rule", dest="parameters")
    verb.add_argument("--json", action="store_true", help="the rules' reports as JSON, instead of a table")
    verb.add_argument("--save", type=Path, metavar="DIR", help="write a report a rule there; the run's own stay")


def _add_report_verb(verbs: Any) -> None:  # noqa: ANN401
    verb = _add_verb(verbs, "report", report, "writes one page on a run: what to change first, and all the numbers")
    verb.add_argument(
        "run_name", metavar="NAME", help="a run, its folder, or a SageMaker job's output: s3://bucket/prefix/job-name"
    )
    verb.add_argument("--open", action="store_true", help="open the page in a browser")
    verb.add_argument("--output", type=Path, metavar="FILE", help="the page (runs/NAME/report.html)")
    verb.add_argument(
        "--data", type=Path, metavar="DIR", help="the pictures, if they are not where training found them"
    )


def _add_endpoint_verbs(verbs: Any) -> None:  # noqa: ANN401
    verb = _add_verb(verbs, "deploy", deploy, "puts a run's model behind an endpoint")
    verb.add_argument("name", metavar="NAME", help="the training job")
    verb.add_argument("--endpoint-name", metavar="E", help="(the job's name)")
    _add_place(verb, image="that serves")
    verb = _add_verb(verbs, "invoke", invoke, "asks an endpoint for labels and probabilities")
    verb.add_argument("endpoint_name", metavar="E")
    verb.add_argument("photos", type=Path, nargs="+", metavar="PHOTO")
    verb.add_argument("--json", action="store_true", help="one JSON line a photo, instead of a table")
    _add_place(verb)
    _add_place(_add_verb(verbs, "list", list_all, "jobs of every kind and endpoints, with their states"))
    verb = _add_verb(
        verbs, "delete", delete, "deletes endpoints with their configurations and models; runs stay on disk"
    )
    which = verb.add_mutually_exclusive_group(required=True)
    which.add_argument("--endpoint-name", metavar="E")
    which.add_argument("--all", action="store_true", help="every endpoint")
    _add_place(verb)


def _add_transform_verb(verbs: Any) -> None:  # noqa: ANN401
    verb = _add_verb(verbs, "transform", transform, "predictions of a run's model for every file of a folder")
    verb.add_argument("name", metavar="NAME", help="the training job")
    verb.add_argument(
        "--input", type=Path, required=True, metavar="DIR", help="pictures, or files of JSON or CSV lines"
    )
    verb.add_argument("--output", type=Path, required=True, metavar="DIR", help="gets one FILE.out for each file")
    verb.add_argument("--job-name", help="the transform job's name, unique (made from NAME and the time)")
    verb.add_argument("--content-type", metavar="TYPE", help="of every file (by the first file's name)")
    verb.add_argument("--accept", metavar="TYPE", help="of the answers (application/jsonlines; text/csv for CSV)")
    verb.add_argument(
        "--split-type", choices=("None", "Line"), help="one record a file, or a line (by the file's name)"
    )
    verb.add_argument("--strategy", choices=("SingleRecord", "MultiRecord"), help="records in a request")
    verb.add_argument("--max-payload", type=int, metavar="MB", help="of a request (6)")
    verb.add_argument("--max-concurrent", type=int, metavar="N", help="requests under way at once (the cores)")
    verb.add_argument("--join", action="store_true", help="each record beside its answer, for JSON and CSV lines")
    _add_place(verb, image="that serves")


def _add_local_verbs(verbs: Any) -> None:  # noqa: ANN401
    local = verbs.add_parser("local", help="the local SageMaker").add_subparsers(required=True, metavar="VERB")
    verb = _add_verb(
        local, "start", local_start, "starts the service on 127.0.0.1 (the other verbs do it by themselves)"
    )
    verb.add_argument("--port", type=int, default=0, help="(a free one)")
    verb.add_argument(
        "--idle-minutes", type=float, default=15, help="stop after that long without a job, endpoint or call (15)"
    )
    verb.add_argument(
        "--on",
        choices=PLACES,
        help="where other people's jobs and models run, which name no place; kept until chosen again (local)",
    )
    _add_verb(local, "stop", local_stop, "stops the service, its jobs (they checkpoint) and its endpoints")
    _add_verb(local, "status", local_status, "where the service is; status 1 when it does not run")
    _add_verb(local, "env", local_env, "export lines that point boto3, the SageMaker SDK and the aws command at it")


def _add_image_verbs(verbs: Any) -> None:  # noqa: ANN401
    verb = _add_verb(verbs, "build", build, "builds the images kennel-train:TAG and kennel-serve:TAG")
    verb.add_argument("which", choices=("train", "serve", "all"), nargs="?", default="all", help="(all)")
    verb.add_argument(
        "--cpu",
        action="store_true",
        help="kennel-serve:TAG-cpu, without torch and CUDA, for CPU instances and serverless endpoints",
    )
    verb.add_argument(
        "--base-image", metavar="IMAGE", help="a Debian or Ubuntu with Python 3.11 or 3.12 (NVIDIA's CUDA base)"
    )
    _add_repeated(
        verb,
        "--weights",
        "FILE",
        "pretrained weights to put into the training image, so that jobs need no network",
        type=Path,
    )
    verb.add_argument("--tag", help=f"({__version__})")
    _add_repeated(verb, "--cache-from", "IMAGE", "an image to take unchanged layers from")
    verb = _add_verb(
        verbs,
        "conformance",
        conformance,
        "what SageMaker would make of any image, tried with Docker: checks with their remedy; status 1 if one fails",
    )
    verb.add_argument("images", nargs="+", metavar="IMAGE", help="a trainer first: the servers after it get its model")
    verb.add_argument("--kind", choices=("auto", "train", "serve"), default="auto", help="(by the words on its PATH)")
    verb.add_argument("--data", type=Path, metavar="DIR", help="the training data (a few drawn pictures)")
    _add_repeated(verb, "--channel", "name=DIR", "an input channel, in place of those that the image's label names")
    _add_repeated(verb, "-p", "key=value", "a hyperparameter of the training runs", dest="parameters")
    _add_repeated(verb, "--metric", "NAME=REGEX", "a metric definition, as in CreateTrainingJob")
    verb.add_argument("--model", type=Path, metavar="model.tar.gz", help="what a server gets as /opt/ml/model")
    verb.add_argument("--request", type=Path, metavar="FILE", help="a body that /invocations can answer")
    verb.add_argument("--content-type", metavar="TYPE", help="of --request")
    _add_repeated(verb, "--only", "CHECK", "a check or a group such as `train.`; what it needs runs too")
    _add_repeated(verb, "--skip", "CHECK", "a check or a group to leave out")
    verb.add_argument("--memory-mb", type=int, metavar="N", help="run every container under this limit")
    verb.add_argument(
        "--stop-grace", type=float, metavar="SECONDS", help="from SIGTERM to SIGKILL (SageMaker's: train 120, serve 30)"
    )
    verb.add_argument("--json", type=Path, metavar="FILE", help="the report as JSON")
    verb.add_argument("--junit", type=Path, metavar="FILE", help="the report as JUnit XML")
    verb.add_argument("--logs", type=Path, metavar="DIR", help="keep the containers' logs there")


def _add_repeated(verb: argparse.ArgumentParser, option: str, metavar: str, text: str, **more: Any) -> None:  # noqa: ANN401
    verb.add_argument(option, action="append", default=[], metavar=metavar, help=f"{text}; as often as needed", **more)


def _add_layer_verbs(verbs: Any) -> None:  # noqa: ANN401
    verb = _add_verb(verbs, "layers", layers, "what images are made of, layer by layer, and the bytes that they share")
    verb.add_argument("images", nargs="+", metavar="IMAGE")
    verb.add_argument("--json", type=Path, metavar="FILE", help="write the same as JSON")
    verb.add_argument(
        "--limit-gb", type=float, metavar="N", help="status 1 if an image has more than N x 10^9 bytes, uncompressed"
    )
    verb = _add_verb(verbs, "sbom", sbom, "writes the software bill of materials of an image: CycloneDX 1.6, as JSON")
    verb.add_argument("image", metavar="IMAGE")
    verb.add_argument("--output", type=Path, required=True, metavar="FILE")


def _add_push_verb(verbs: Any) -> None:  # noqa: ANN401
    verb = _add_verb(
        verbs,
        "push",
        push,
        "puts built images into a registry, under the commit they were built from",
        epilog=PLACES_TO_PUSH,
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


def _add_place(verb: argparse.ArgumentParser, *, image: str | None = None) -> None:
    """--on, and with `image` the image that takes the place of Kennel's, said by what it does."""
    verb.add_argument(
        "--on", choices=PLACES, default="local", help="as processes of this checkout, or as containers (local)"
    )
    if image:
        verb.add_argument("--image", metavar="IMAGE", help=f"with --on docker: the image {image} (Kennel's own)")


if __name__ == "__main__":
    sys.exit(main())
