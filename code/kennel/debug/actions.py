"""What happens when a rule fires: StopTraining, a command, a webhook; and what stands in for Email and SMS.

    [{"name": "StopTraining"}, {"name": "command", "command": "notify-send fired"}, {"name": "webhook", "url": "..."}]

is a rule's action_json as one writes it; what the SDK writes, with backslashes before the quotes, is read too. Email
and SMS run KENNEL_RULE_COMMAND, or else POST to KENNEL_RULE_WEBHOOK, as this process's environment has them.

A command gets the rule's report as JSON on its standard input, and KENNEL_JOB and KENNEL_RULE; a webhook gets the same
JSON as a POST. Each action is done once a rule, beside the evaluation, which goes on.
"""

import json
import os
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from kennel.errors import UserError

STOP: Final = "stoptraining"
# What must stand beside the name; the SDK fills in training_job_prefix, and where it is missing this job is meant.
_NEEDS: Final = {STOP: None, "email": "endpoint", "sms": "endpoint", "command": "command", "webhook": "url"}
COMMAND_VARIABLE: Final = "KENNEL_RULE_COMMAND"
WEBHOOK_VARIABLE: Final = "KENNEL_RULE_WEBHOOK"
COMMAND_LIMIT_S: Final = 30.0
WEBHOOK_LIMIT_S: Final = 10.0
_OUTCOME_CHARACTERS: Final = 300
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Action:
    """One entry of action_json. `name` is lower case, as the SDK writes it."""

    name: str
    parameters: Mapping[str, str]


def read_actions(text: str | None) -> tuple[Action, ...]:
    """The actions of a rule's `action_json`. Raises UserError for what no action can be read from."""
    if text is None or not text.strip():
        return ()
    parsed = _parse(text)
    entries = parsed if isinstance(parsed, list) else [parsed]
    return tuple(_read_action(entry) for entry in entries)


def _parse(text: str) -> Any:  # noqa: ANN401  whatever JSON holds
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        # AWS's rule container pastes the text between a Python string's quotes, so the SDK escapes those within.
        return json.loads(json.loads(f'"{text}"'))
    except (ValueError, TypeError) as error:
        raise UserError(
            f"action_json is {text!r}, which is no JSON ({error}). "
            'Expected a list of actions, such as [{"name": "StopTraining"}].'
        ) from error


def _read_action(entry: object) -> Action:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise UserError(f"action_json has the entry {entry!r}, which names no action. Known: {_known()}.")
    name = entry["name"].lower()
    if name not in _NEEDS:
        raise UserError(f"action_json names the action '{entry['name']}', which is not known. Known: {_known()}.")
    nested = entry.get("parameters")
    merged = {**entry, **nested} if isinstance(nested, dict) else entry
    parameters = {str(key): str(value) for key, value in merged.items() if key not in ("name", "parameters")}
    needed = _NEEDS[name]
    if needed and not parameters.get(needed, "").strip():
        raise UserError(f"The action '{entry['name']}' of action_json lacks '{needed}', which it cannot do without.")
    if name == "webhook":
        _check_url(parameters["url"], "The webhook's 'url'")
    return Action(name, parameters)


def _known() -> str:
    return "StopTraining, Email, SMS, command, webhook"


def _check_url(url: str, what: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError(f"{what} is '{url}'. Expected http://host/... or https://host/...")


def stops_training(actions: tuple[Action, ...], job: str) -> bool:
    """Whether one of the actions is StopTraining and means this job."""
    return any(action.name == STOP and _means(action, job) for action in actions)


def _means(action: Action, job: str) -> bool:
    # smdebug lower-cases the whole action_json, so upper and lower case cannot tell jobs apart.
    return job.lower().startswith(action.parameters.get("training_job_prefix", "").lower())


class ActionRunner:
    """Runs the actions of rules that fired, each rule's once, in threads of its own."""

    def __init__(self, job: str, environ: Mapping[str, str] = os.environ) -> None:
        self._job = job
        self._environ = dict(environ)
        self._outcomes: dict[str, list[dict[str, str]]] = {}
        self._threads: list[threading.Thread] = []
        self._programs: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()

    def fire(self, rule: str, actions: tuple[Action, ...], report: dict[str, Any]) -> None:
        """Starts a rule's actions; a second call for the same rule does nothing."""
        if rule in self._outcomes:
            return
        self._outcomes[rule] = [{"name": action.name, "outcome": "under way"} for action in actions]
        if actions:
            thread = threading.Thread(target=self._run, args=(rule, actions, report), daemon=True)
            self._threads.append(thread)
            thread.start()

    def outcomes(self, rule: str) -> list[dict[str, str]]:
        """What became of a rule's actions so far, in their order."""
        with self._lock:
            return [dict(outcome) for outcome in self._outcomes.get(rule, [])]

    def close(self, wait_s: float = COMMAND_LIMIT_S) -> None:
        """Waits for what is under way, at most so long, and then ends it."""
        until = time.monotonic() + wait_s
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        for program in list(self._programs):
            _kill(program)
        for thread in self._threads:
            thread.join(1.0)

    def _run(self, rule: str, actions: tuple[Action, ...], report: dict[str, Any]) -> None:
        body = json.dumps({"TrainingJobName": self._job, **report}).encode()
        for place, action in enumerate(actions):
            try:
                outcome = self._do(rule, action, body)
            except OSError as error:
                outcome = f"failed: {error}"
            with self._lock:
                self._outcomes[rule][place]["outcome"] = outcome[:_OUTCOME_CHARACTERS]

    def _do(self, rule: str, action: Action, body: bytes) -> str:
        if action.name == STOP:
            prefix = action.parameters.get("training_job_prefix", "")
            return "asked for" if _means(action, self._job) else f"not asked for: no job '{prefix}...' runs here"
        if action.name == "command":
            return self._command(rule, action, action.parameters["command"], body)
        if action.name == "webhook":
            return post(action.parameters["url"], body)
        return self._stand_in(rule, action, body)

    def _stand_in(self, rule: str, action: Action, body: bytes) -> str:
        """Email and SMS have no AWS to send them."""
        command, url = self._environ.get(COMMAND_VARIABLE), self._environ.get(WEBHOOK_VARIABLE)
        if command:
            return self._command(rule, action, command, body)
        if url:
            return post(url, body)
        return f"not sent: nothing here sends it. Set {COMMAND_VARIABLE} or {WEBHOOK_VARIABLE} to be told"

    def _command(self, rule: str, action: Action, command: str, body: bytes) -> str:
        """Runs a shell command in a session of its own, so that all of it can be ended."""
        environ = {
            **self._environ,
            "KENNEL_JOB": self._job,
            "KENNEL_RULE": rule,
            "KENNEL_ACTION": action.name,
            "KENNEL_ENDPOINT": action.parameters.get("endpoint", ""),
        }
        program = subprocess.Popen(
            ["/bin/sh", "-c", command],
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._programs.add(program)
        try:
            _, complaint = program.communicate(body, timeout=COMMAND_LIMIT_S)
        except subprocess.TimeoutExpired:
            _kill(program)
            program.communicate()
            return f"failed: the command was ended after {COMMAND_LIMIT_S:g} s"
        finally:
            self._programs.discard(program)
        if program.returncode == 0:
            return "done: the command's exit status is 0"
        last = (complaint.decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
        return f"failed: the command's exit status is {program.returncode}: {last}"


def post(url: str, body: bytes) -> str:
    """POSTs JSON; the outcome as a sentence. The address is not in it, but for its host: it may hold a secret."""
    try:
        _check_url(url, WEBHOOK_VARIABLE)
    except UserError as error:
        return f"failed: {error}"
    host = urlsplit(url).hostname
    request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"})  # noqa: S310  checked
    # A proxy that leads to the outside does not know this machine's loopback.
    proxies = urllib.request.ProxyHandler({}) if host in _LOOPBACK else urllib.request.ProxyHandler()
    try:
        with urllib.request.build_opener(proxies).open(request, timeout=WEBHOOK_LIMIT_S) as answer:
            return f"done: {host} answered {answer.status}"
    except urllib.error.HTTPError as error:
        with error:
            return f"failed: {host} answered {error.code}"
    except OSError as error:
        return f"failed: {host} did not answer: {error}"


def _kill(program: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(program.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
