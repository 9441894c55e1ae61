"""ECR with images in it: moto's, and in front of it what moto lacks (the address of an image's configuration).

    with open_images(account) as images:
        digest = images.put("kennel-train", "1.0", cuda="13.2.0")

Manifests and configurations are as Docker pushes them, with their true digests; there are no layers behind them.
"""

import hashlib
import json
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from account import NUMBER, REGION, Account
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

from kennel.delivery.registry import DOCKER_MANIFEST

REGISTRY = f"{NUMBER}.dkr.ecr.{REGION}.amazonaws.com"


@contextmanager
def open_images(account: Account) -> Iterator["Images"]:
    """An ECR without repositories, answering for the account; there are none afterwards."""
    images = Images(account)
    server = make_server("127.0.0.1", 0, images.blob, threaded=True, request_handler=_Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    images.blobs_url = f"http://127.0.0.1:{server.server_port}/"
    account.others["ecr"] = images
    images.clear()
    try:
        yield images
    finally:
        images.clear()
        del account.others["ecr"]
        server.shutdown()
        thread.join()
        server.server_close()


class Images:
    """A WSGI app for ECR's requests."""

    def __init__(self, account: Account) -> None:
        self.client = account.admin("ecr")
        self.blobs: dict[str, bytes] = {}
        self.blobs_url = ""
        self._moto = DomainDispatcherApplication(create_backend_app)

    def put(
        self,
        repository: str,
        tag: str,
        *,
        cuda: str | None = "13.2.0",
        platform: str = "linux/amd64",
        media_type: str = DOCKER_MANIFEST,
        content: dict[str, Any] | None = None,
    ) -> str:
        """Puts an image there; its digest. content: of the manifest, in place of one that is made."""
        if repository not in self._repositories():
            self.client.create_repository(repositoryName=repository)
        os, _, architecture = platform.partition("/")
        environment = ["PATH=/usr/bin", f"KENNEL_GIT_COMMIT={tag}", *([f"CUDA_VERSION={cuda}"] if cuda else [])]
        config = json.dumps({"os": os, "architecture": architecture, "config": {"Env": environment}}).encode()
        self.blobs[_digest(config)] = config
        layer = {"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "size": 1, "digest": _digest(b"l")}
        made = {
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": {"digest": _digest(config), "size": len(config)},
            "layers": [layer],
        }
        manifest = json.dumps(content or made)
        digest = _digest(manifest.encode())
        self.client.put_image(
            repositoryName=repository,
            imageManifest=manifest,
            imageManifestMediaType=media_type,
            imageTag=tag,
            imageDigest=digest,
        )
        return digest

    def clear(self) -> None:
        """Takes all repositories away: moto keeps them for the whole process."""
        for name in self._repositories():
            self.client.delete_repository(repositoryName=name, force=True)

    def _repositories(self) -> list[str]:
        return [each["repositoryName"] for each in self.client.describe_repositories()["repositories"]]

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: ANN401  WSGI's own
        request = Request(environ)
        if not request.headers.get("X-Amz-Target", "").endswith(".GetDownloadUrlForLayer"):
            return self._moto(environ, start_response)
        digest = json.loads(request.get_data())["layerDigest"]
        answer = Response(json.dumps({"downloadUrl": f"{self.blobs_url}{digest}", "layerDigest": digest}))
        return answer(environ, start_response)

    def blob(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: ANN401  WSGI's own
        """What ECR keeps in a bucket of its own, behind presigned addresses."""
        found = self.blobs.get(Request(environ).path.lstrip("/"))
        return Response(found or b"", status=200 if found else 404)(environ, start_response)


class _Quiet(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: object) -> None:
        """Writes no line for each request."""


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()
