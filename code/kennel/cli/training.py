"""The verbs on trainings: train, tune, debug."""

import argparse
import functools
import sys
from pathlib import Path
from typing import Any

from kennel.cli.data import refuse_bad_data
from kennel.cli.options import (
    add_data,
    add_machines,
    add_place,
    add_repeated,
    add_training_machines,
    add_verb,
    settings_of,
)
from kennel.cli.watching import local_s3
from kennel.errors import KennelError, UserError
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
        "--debugger",
        action="store_true",
        help="the same by SageMaker Debugger with --on aws, where --debug does without: it is closed to new accounts",
    )
    verb.add_argument(
        "--resume", metavar="JOB", help="go on from the checkpoint of a stopped job, with the same settings"
    )
    verb.add_argument(
        "--best-of", metavar="TUNING_JOB", help="the hyperparameters of a tuning job's best training, under those of -p"
    )
    add_place(verb, image="that trains")
    add_machines(verb, instance="ml.g5.xlarge")
    add_training_machines(verb)


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
    add_machines(verb, instance="ml.g5.xlarge")
    add_training_machines(verb)


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
    from kennel.launch import aws_jobs, train_command
    from kennel.launch.places import AWS

    wanted = aws_jobs.read_wanted(arguments)
    aws_jobs.check_data_is_there(arguments.data, arguments.on)
    settings = read_assignments(arguments.parameters)
    if arguments.anyway:
        settings["bad-data"] = "skip"
    debugging, place = _debugging(arguments), _opener(arguments)
    if debugging is not None and _has_own_hook(arguments):
        debugging = None
        settings.setdefault("debug", "on")
    job = train_command.plan(arguments, settings, place, debugging=debugging)
    if isinstance(arguments.data, Path):
        refuse_bad_data(arguments.data, settings)
    if arguments.on != AWS:
        return train_command.report(train_command.run_here(job, place(), wanted.resources), on=arguments.on)
    description = train_command.run_on_aws(job, place(), wanted)
    if description is None:
        return 0
    if _has_own_hook(arguments):
        _evaluate_rules(arguments, train_command.output_uri(description))
    return train_command.report(description, on=AWS)


def tune(arguments: argparse.Namespace) -> int:
    """Checks, starts, follows, reports; status 0 only if the tuning job is Completed with a best training job."""
    from kennel.launch import aws_jobs, tune_command
    from kennel.launch.places import AWS

    if arguments.keep_warm:
        raise UserError("--keep-warm is for single trainings: SageMaker keeps no machines between those of a search.")
    wanted = aws_jobs.read_wanted(arguments)
    aws_jobs.check_data_is_there(arguments.data, arguments.on)
    job, is_recommended = tune_command.plan(arguments), arguments.ranges is None
    if isinstance(arguments.data, Path):
        images = refuse_bad_data(arguments.data, dict(job.training.hyperparameters))
        job = tune_command.fit_to_pictures(job, images, is_recommended=is_recommended)
    place = _opener(arguments)()
    if arguments.on == AWS:
        outcome = tune_command.run_on_aws(job, place, wanted, is_recommended=is_recommended)
    else:
        outcome = tune_command.run_here(job, place, wanted.resources)
    if outcome is None:
        return 0
    print(tune_command.summary(outcome, arguments.data, arguments.on))
    if arguments.on != AWS:
        _write_report(job.name)
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


def _opener(arguments: argparse.Namespace) -> Any:  # noqa: ANN401  a function that gives kennel.launch.places.Place
    """Opens the place that the arguments name, once, when it is first asked for."""
    from kennel.launch.places import open_place

    options = {"image": arguments.image, "settings": settings_of(arguments), "is_dry": arguments.dry_run}
    return functools.cache(lambda: open_place(arguments.on, **options))


def _write_report(name: str) -> None:
    from kennel.launch.places import runs_folder
    from kennel.report import command

    command.run(name, runs=runs_folder(), output=None, data=None, is_opened=False)


def _debugging(arguments: argparse.Namespace) -> Any:  # noqa: ANN401  kennel.launch.debugging.Debugging, imported late
    """What --debug, --debugger and --rules ask for; None without them. UserError for rules that cannot be evaluated."""
    from kennel.launch import debugging

    if arguments.rules:
        from kennel.debug.configuration import read_rules_file

        rules = read_rules_file(arguments.rules)
        found = debugging.from_file(arguments.rules, rules.debug_rules, rules.profiler_rules)
        if found.hook and _has_own_hook(arguments):
            raise UserError(
                f"{arguments.rules} has a DebugHookConfig, which only SageMaker Debugger passes on: add --debugger, or "
                "take it out, and Kennel's own hook saves what the rules need."
            )
        return found
    if not (arguments.debug or arguments.debugger):
        return None
    from kennel.debug.rules import RECOMMENDED

    return debugging.recommended(RECOMMENDED)


def _has_own_hook(arguments: argparse.Namespace) -> bool:
    """Whether the training itself saves what rules look at here afterwards: SageMaker's service is not asked for it."""
    return arguments.on == "aws" and not arguments.debugger and bool(arguments.debug or arguments.rules)


def _evaluate_rules(arguments: argparse.Namespace, job_uri: str) -> None:
    """The rules over what the job has left in S3."""
    from kennel.debug import command
    from kennel.launch.places import runs_folder

    try:
        command.run(command.DebugRequest(source=job_uri, runs=runs_folder(), rules_file=arguments.rules))
    except KennelError as error:  # the training is what counts, and it has ended
        print(f"kennel: the rules: {error}", file=sys.stderr)
