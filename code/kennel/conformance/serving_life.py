"""What becomes of a server in other surroundings, when it is stopped, when it loses a process, with a bad model."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Final, Self

from kennel.conformance.checks import Subject, failed, passed, skipped, warned
from kennel.conformance.findings import Finding
from kennel.conformance.serving_models import spoiled_models
from kennel.conformance.serving_probe import Answer, Sample
from kennel.conformance.serving_server import Launch, Process, Server, Setup, reason_in

_SENT_WITHIN_S: Final = 5.0
# A server that was healthy after n seconds once is not waited for much longer in other surroundings.
_STARTS: Final = 3.0
_MORE_S: Final = 10.0
_BAD_MODEL_SETTLE_S: Final = 3.0  # between a ping and an answer
_TOGETHER: Final = 4
_AFTER_KILL_TIMEOUT_S: Final = 10.0
_MIB: Final = 2**20


@dataclass(frozen=True)
class Variations:
    """Starts in other surroundings by name, and a server that runs in one or all of them."""

    launches: Mapping[str, Launch]
    server: Server | None

    @classmethod
    def try_out(
        cls,
        subject: Subject,
        base: Setup,
        changes: Mapping[str, Callable[[Setup], Setup]],
        sample: Sample,
        *,
        limit_s: float,
    ) -> Self:
        """All changes together; one by one where that is not good. limit_s: for each start."""
        together = base
        for change in changes.values():
            together = change(together)
        server = Server(subject, together, name="varied")
        launch = server.launch(sample, limit_s=limit_s)
        if launch.is_good:
            return cls(dict.fromkeys(changes, launch), server)
        server.discard("together")
        launches: dict[str, Launch] = {}
        kept: Server | None = None
        for name, change in changes.items():
            server = Server(subject, change(base), name="varied")
            launches[name] = server.launch(sample, limit_s=limit_s)
            if kept is None and launches[name].is_good:
                kept = server
            else:
                server.discard(name)
        return cls(launches, kept)

    def outcome(self, name: str) -> str:
        """What was seen of one that was not good."""
        launch = self.launches[name]
        if launch.healthy_after_s is None:
            return launch.why
        seen = f"healthy, but a request: {launch.last}"
        return f"{seen}: {launch.last.excerpt()}" if launch.last and launch.last.status else seen


def start_limit_s(usual: Launch) -> float:
    """How long to wait for a start that may fail. usual: how it went when it did not."""
    return _STARTS * (usual.healthy_after_s or 0.0) + _MORE_S


def stop_under_way(server: Server, sample: Sample, count: int) -> tuple[list[Answer], Finding]:
    """The answers to requests that were on their way when SIGTERM came, and how the server ended."""
    limit_s = server.patience.stop_s
    tried = f"SIGTERM with {count} requests under way; SIGKILL comes {limit_s:g} s later"
    endpoint = server.endpoint
    sent = threading.Semaphore(0)
    with ThreadPoolExecutor(count) as pool:
        asked = [pool.submit(endpoint.invoke, sample, on_sent=sent.release) for _ in range(count)]
        deadline = time.monotonic() + _SENT_WITHIN_S
        for _ in range(count):
            sent.acquire(timeout=max(0.0, deadline - time.monotonic()))
        ended = server.stop()
        answers = [each.result() for each in asked]
    if not ended.was_killed:
        return answers, passed(tried, f"ended with status {ended.status} after {ended.seconds:.1f} s")
    return answers, failed(
        tried,
        f"still running after {limit_s:g} s, and killed",
        "every update and scaling in takes half a minute longer and ends in SIGKILL, with requests under way",
        "handle SIGTERM in the first process (exec the server from a shell script): Linux ignores it there by default",
    )


def memory(server: Server) -> Finding:
    """What the container took so far, after load and large requests."""
    limit_mb = server.subject.memory_mb
    tried = f"memory under a limit of {limit_mb} MiB" if limit_mb else "memory so far (no limit: --memory-mb sets one)"
    attributes = server.docker_container()
    figures: Mapping[str, Any] = attributes.stats(stream=False, one_shot=True).get("memory_stats") or {}
    cache = (figures.get("stats") or {}).get(
        "total_inactive_file", (figures.get("stats") or {}).get("inactive_file", 0)
    )
    now = f"{(figures.get('usage', 0) - cache) / _MIB:.0f} MiB now"
    peak = f", at most {figures['max_usage'] / _MIB:.0f} MiB with cached files" if "max_usage" in figures else ""
    if not attributes.attrs["State"].get("OOMKilled"):
        return passed(tried, now + peak)
    return failed(
        tried,
        f"{now}{peak}; the kernel ended a process for want of memory",
        "on an instance (or serverless size) with as little memory, requests fail and the server starts over",
        "run fewer workers (SAGEMAKER_MODEL_SERVER_WORKERS), or choose more memory",
    )


# --- killed processes ---------------------------------------------------------------------------------------------


def after_kills(server: Server, sample: Sample) -> Finding:
    """kill -9 of the youngest process, and then of the one that had started it."""
    tried = "kill -9 of a worker, as the kernel does when memory ends, and of the process that started it"
    family = server.processes()
    if not family:
        return skipped(tried, "the container's processes cannot be seen: there is no shell in it")
    if len(family) == 1:
        return passed(tried, "there is one process only: its end is the container's, and SageMaker starts it again")
    seen = []
    for victim in _victims(family):
        server.kill(victim)
        is_well, outcome = _after_kill(server, sample)
        seen.append(f"{victim.name}: {outcome}")
        if not is_well:
            return failed(
                tried,
                "; ".join(seen),
                "the endpoint stays InService and its requests hang or fail until somebody deploys it again",
                "start the worker again, or end the server: SageMaker starts a container that ended again",
            )
        if not server.container.is_running():
            break
    return passed(tried, "; ".join(seen))


def _victims(family: list[Process]) -> list[Process]:
    """The youngest process without children, and its parent if that is not the container's first."""
    parents = {each.parent for each in family}
    leaf = max((each for each in family[1:] if each.pid not in parents), key=lambda each: (each.started, each.pid))
    return [leaf, *(each for each in family[1:] if each.pid == leaf.parent)]


def _after_kill(server: Server, sample: Sample) -> tuple[bool, str]:
    """Whether all is well again in time, and what came: requests are answered, or the container has ended."""
    begun = time.monotonic()
    patience_s = server.patience.invocation_s
    endpoint = replace(server.endpoint, timeout_s=min(_AFTER_KILL_TIMEOUT_S, patience_s))
    while True:
        with ThreadPoolExecutor(_TOGETHER) as pool:
            answers = list(pool.map(lambda _: endpoint.invoke(sample), range(_TOGETHER)))
        elapsed_s = time.monotonic() - begun
        if not server.container.is_running():
            return True, f"the container ended with status {server.container.exit_status()}, to be started again"
        if all(each.is_success for each in answers):
            return True, f"{_TOGETHER} of {_TOGETHER} requests answered {elapsed_s:.1f} s later"
        if elapsed_s >= patience_s:
            wrong = next(each for each in answers if not each.is_success)
            return False, f"{elapsed_s:.0f} s later a request {_verb(wrong)}, and the container still runs"
        time.sleep(0.1)


def _verb(answer: Answer) -> str:
    return f"is answered {answer.status}" if answer.status else f"meets a server that {answer.fault}"


# --- bad models ---------------------------------------------------------------------------------------------------


def bad_archives(subject: Subject, setup: Setup, good: Launch, sample: Sample | None) -> Iterator[Finding]:
    """A finding for each spoiled model. sample: a request that is answered with the good one, if any is known."""
    limit_s = start_limit_s(good)
    servers = {
        name: Server(subject, replace(setup, model=folder), name=f"bad-archive-{name}")
        for name, folder in spoiled_models(subject).items()
    }
    for name, server in servers.items():
        launch = server.launch(sample, limit_s=limit_s, settle_s=_BAD_MODEL_SETTLE_S)
        finding = _bad_archive(name, launch, server.log(), limit_s, sample)
        yield replace(finding, check=f"serve.bad_archive.{name}")
        server.discard()


def _bad_archive(name: str, launch: Launch, log: str, limit_s: float, sample: Sample | None) -> Finding:
    what = "random bytes in every file of the model" if name == "garbage" else "an empty model folder"
    tried = f"{what}; is it healthy within {limit_s:.0f} s?"
    if launch.healthy_after_s is not None:
        return _healthy_with_bad_archive(tried, launch, sample)
    if reason := reason_in(log):
        return passed(tried, f"no; its log: {reason}")
    last = next((line for line in reversed(log.splitlines()) if line.strip()), "nothing")
    return warned(
        tried,
        f"no, but its log does not say why (last: {last[:200]})",
        "the endpoint ends as Failed, and CloudWatch shows no reason",
        "print a line with ERROR and the reason before ending",
    )


def _healthy_with_bad_archive(tried: str, launch: Launch, sample: Sample | None) -> Finding:
    remedy = "load the model, and try it on a request of your own, before /ping is 200; end with the reason if it fails"
    if sample is None or launch.last is None:
        return warned(tried, "healthy", "the endpoint is InService with a model that cannot be loaded", remedy)
    if launch.last.is_success:
        return warned(
            tried,
            f"healthy, and a request: {launch.last}",
            "none, if the image brings its model with it; else clients get answers that come from no model",
            remedy,
        )
    seen = f"healthy, but a request: {launch.last}"
    return failed(
        tried,
        f"{seen}: {launch.last.excerpt()}" if launch.last.status else seen,
        "the endpoint is InService and every request fails: nothing rolls back a deployment of a broken model",
        remedy,
    )
