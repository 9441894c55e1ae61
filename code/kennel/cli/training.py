"""The verbs on trainings: train, tune, debug."""

import argparse
import sys
from pathlib import Path
from typing import Any

from kennel.cli.data import refuse_bad_data
from kennel.cli.options import add_data, add_place, add_repeated, add_verb, settings_of
from kennel.cli.watching import local_s3
from kennel.errors import UserError
from kennel.hyperparameters import read_assignments, table


def add_verbs(verbs: Any) -> None:  # noqa: ANN401  argparse does not name its type
    """train, tune and debug."""
    _add_train_verb(verbs)
    _add_tune_verb(verbs)
    _add_debug_verb(verbs)


def _add_train_verb(verbs: Any) -> None:  # noqa: ANN401
    verb = add_verb(
        verbs,
        "train",
        train,
        "trains a classifier on a folder of images",
        epilog=f"hyperparameters (-p), with default, meaning and range:\n{table()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_data(verb, is_remote=True)
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
    add_place(verb, image="that trains")


def _add_tune_verb(verbs: Any) -> None:  # noqa: ANN401
    verb = add_verb(verbs, "tune", tune, "searches for the hyperparameters with the best validation result")
    add_data(verb, is_remote=True)
    verb.add_argument("--name", help="the tuning job's name, unique, 32 characters at most (made from the folder)")
    add_repeated(verb, "-p", "key=value", "a hyperparameter that every training has", dest="parameters")
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
    add_place(verb, image="that trains")


def _add_debug_verb(verbs: Any) -> None:  # noqa: ANN401
    verb = add_verb(
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
    add_repeated(verb, "--rule", "RULE", "a built-in rule with AWS's defaults")
    add_repeated(verb, "-p", "key=value", "a parameter of the one --rule", dest="parameters")
    verb.add_argument("--json", action="store_true", help="the rules' reports as JSON, instead of a table")
    verb.add_argument("--save", type=Path, metavar="DIR", help="write a report a rule there; the run's own stay")


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
    refuse_bad_data(arguments.data, settings)

    from kennel.launch import follow, jobs
    from kennel.launch.places import open_place, runs_folder

    place = open_place(arguments.on, image=arguments.image, settings=settings_of(arguments))
    jobs.create_training_job(job, place)
    print(f"training job {job.name}\n  files: {runs_folder() / job.name}\n  Ctrl-C stops it", flush=True)
    return _report_training(follow.follow_training(job.name, place))


def tune(arguments: argparse.Namespace) -> int:
    """Checks, starts, follows, reports; status 0 only if the tuning job is Completed with a best training job."""
    from kennel.launch import tune_command
    from kennel.launch.places import runs_folder

    job = tune_command.plan(arguments)
    images = refuse_bad_data(arguments.data, dict(job.training.hyperparameters))
    job = tune_command.fit_to_pictures(job, images, is_recommended=arguments.ranges is None)
    outcome = tune_command.run(job, on=arguments.on, image=arguments.image)
    print(tune_command.summary(outcome, arguments.data))

    from kennel.report import command

    command.run(job.name, runs=runs_folder(), output=None, data=None, is_opened=False)
    return tune_command.exit_status(outcome)


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
        local_s3=local_s3(arguments.source),
    )
    return command.run(request)


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

    place = open_place(arguments.on, image=arguments.image, settings=settings_of(arguments))
    taken = best_training.take_over(arguments.best_of, settings, place)
    print(taken.said)
    return dict(taken.hyperparameters), taken.weights_uri


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
