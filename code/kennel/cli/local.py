"""The verbs of the local SageMaker: local start, stop, status, env."""

import argparse
from typing import Any

from kennel.cli.options import PLACES, add_verb


def add_verbs(verbs: Any) -> None:  # noqa: ANN401  argparse does not name its type
    """local start, stop, status and env."""
    local = verbs.add_parser("local", help="the local SageMaker").add_subparsers(required=True, metavar="VERB")
    verb = add_verb(
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
    add_verb(local, "stop", local_stop, "stops the service, its jobs (they checkpoint) and its endpoints")
    add_verb(local, "status", local_status, "where the service is; status 1 when it does not run")
    add_verb(local, "env", local_env, "export lines that point boto3, the SageMaker SDK and the aws command at it")


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
