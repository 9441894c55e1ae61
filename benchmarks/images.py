"""What a change of the source costs: building both images again and pushing what is new to a registry on loopback.

    .venv/bin/python benchmarks/images.py --base-image IMAGE

In a copy of the commit one comment is added to one module; then `scripts/build.sh all` and `kennel push all` run as
anybody runs them, self-tests included. Beside it: the first build and push, where Docker has no layer of theirs yet
(--cold, which downloads gigabytes and empties Docker's build cache); and building with nothing changed, which is what
Docker and git themselves take. Needs Docker Engine and docker-registry.
"""

import argparse
import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "tests" / "images"))
CHANGED = Path("code", "kennel", "images", "decode.py")
TAG = "benchmark"


def main() -> None:
    from registry import running_registry

    arguments = read_arguments()
    with tempfile.TemporaryDirectory(prefix="kennel-benchmark-", dir="/var/tmp") as scratch:
        checkout = copy_commit(Path(scratch, "checkout"))
        with running_registry(Path(scratch, "registry")) as registry:
            environment = environment_for(Path(scratch, "docker"), registry.host, registry.login)
            steps = Steps(checkout, arguments.base_image, registry.host, environment)
            if arguments.cold:
                subprocess.run(["docker", "builder", "prune", "--all", "--force"], check=True, capture_output=True)
            try:
                first = steps.build(), steps.push()
                unchanged = steps.build()
                with (checkout / CHANGED).open("a") as file:
                    file.write("# changed by a benchmark\n")
                commit(checkout)
                changed = steps.build(), steps.push()
            finally:
                steps.remove()
    kind = "from nothing" if arguments.cold else "from layers of earlier builds"
    print(f"{os.cpu_count()} cores; both images, self-tests included")
    print(f"  first build and push, {kind:<32}{first[0]:7.1f} + {first[1]:6.1f} s")
    print(f"  one source file changed: build and push {'':<17}{changed[0]:7.1f} + {changed[1]:6.1f} s")
    print(f"  nothing changed (Docker's and git's own time) {'':<11}{unchanged:7.1f} s")
    print(f"  a change costs {sum(changed) / sum(first):.3f} of the first time")


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-image", default=os.environ.get("KENNEL_BASE_IMAGE"))
    parser.add_argument("--cold", action="store_true", help="empties Docker's build cache first")
    return parser.parse_args()


class Steps:
    """The commands that are timed, on one checkout and one registry."""

    def __init__(self, checkout: Path, base_image: str | None, host: str, environment: dict[str, str]) -> None:
        self.checkout, self.host, self.environment = checkout, host, environment
        self.base = ["--base-image", base_image] if base_image else []

    def build(self) -> float:
        """Seconds."""
        return self._timed("scripts/build.sh", "all", "--tag", TAG, *self.base)

    def push(self) -> float:
        """Seconds."""
        return self._timed(
            str(Path(sys.executable).parent / "kennel"), "push", "all", "--tag", TAG, "--registry", self.host
        )

    def remove(self) -> None:
        """Removes the images, also as they were tagged for the registry."""
        listed = subprocess.run(
            ["docker", "images", "--format", "{{.Repository}}:{{.Tag}}"], capture_output=True, text=True
        )
        ours = [name for name in listed.stdout.split() if name.startswith(self.host) or name.endswith(f":{TAG}")]
        subprocess.run(["docker", "image", "rm", "--force", *ours], capture_output=True)

    def _timed(self, *command: str) -> float:
        began = time.monotonic()
        done = subprocess.run(command, cwd=self.checkout, env=self.environment, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
        return time.monotonic() - began


def environment_for(docker_folder: Path, host: str, login: dict[str, str]) -> dict[str, str]:
    """This environment, with a docker configuration that knows the registry's password, and no other."""
    docker_folder.mkdir()
    secret = base64.b64encode(f"{login['username']}:{login['password']}".encode()).decode()
    (docker_folder / "config.json").write_text(json.dumps({"auths": {host: {"auth": secret}}}))
    return {**os.environ, "DOCKER_CONFIG": str(docker_folder)}


def copy_commit(folder: Path) -> Path:
    """A clone of this repository."""
    git(REPOSITORY, "clone", "--quiet", str(REPOSITORY), str(folder))
    return folder


def commit(checkout: Path) -> None:
    git(checkout, "-c", "user.name=benchmark", "-c", "user.email=benchmark@example.org", "commit", "-qam", "A comment")


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", "-C", str(folder), *words], check=True)


if __name__ == "__main__":
    main()
