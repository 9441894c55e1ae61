"""The local S3: moto's, in this process, with the results of runs found again on disk.

moto keeps objects in memory (large ones in temporary files) and forgets them when the service ends. What runs made is
on disk anyway, so those objects are only announced here, and given to moto when somebody asks for them: a model can be
deployed after a restart, and costs no memory before. Everything else in the local S3 is lost with the service.
"""

import io
import re
import shutil
import threading
from collections.abc import Callable, Iterable
from html import unescape
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

from kennel.local.settings import ACCOUNT, REGION
from kennel.local.storage import S3Address

WsgiApp = Callable[[dict[str, Any], Any], Iterable[bytes]]


class MotoApp:
    """moto's WSGI app for one AWS service, imported when first asked (it takes two seconds)."""

    _import_lock = threading.Lock()

    def __init__(self, service: str) -> None:
        self._service = service
        self._app: WsgiApp | None = None

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: ANN401  WSGI's own
        return self.load()(environ, start_response)

    def load(self) -> WsgiApp:
        """The app, imported if it is not yet."""
        with self._import_lock:
            if self._app is None:
                self._app = import_module("moto.moto_server.werkzeug_app").create_backend_app(self._service)
            return self._app


class RestoringS3:
    """moto's S3 with announced objects: files that stand for objects until they are asked for."""

    def __init__(self, moto: MotoApp) -> None:
        self._moto = moto
        self._announced: dict[S3Address, Path] = {}
        self._announced_buckets: set[str] = set()
        self._lock = threading.RLock()

    def announce(self, address: S3Address, path: Path) -> None:
        """From now on the object is there, with the contents the file has when it is first asked for."""
        with self._lock:
            self._announced[address] = path
            self._announced_buckets.add(address.bucket)

    def announce_bucket(self, bucket: str) -> None:
        """From now on the bucket is there."""
        with self._lock:
            self._announced_buckets.add(bucket)

    def withdraw(self, path: Path) -> None:
        """Announced objects of files under `path` are there no more."""
        with self._lock:
            for address in [each for each, file in self._announced.items() if file.is_relative_to(path)]:
                del self._announced[address]

    def copy(self, address: S3Address, path: Path) -> bool:
        """One object into a file, without a request; False if there is none."""
        with self._lock:
            file = self._announced.get(address)
            if file is not None and file.is_file():
                shutil.copyfile(file, path)
                return True
            self._make_buckets()
            is_bucket = address.bucket in self._backend().buckets
            found = self._backend().get_object(address.bucket, address.key) if is_bucket else None
        if found is None:
            return False
        path.write_bytes(found.value)
        return True

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: ANN401  WSGI's own
        if self._announced or self._announced_buckets:
            self._restore_for(environ)
        return self._moto(environ, start_response)

    def _restore_for(self, environ: dict[str, Any]) -> None:
        """Restores what the request may look at; what it writes over is no longer announced."""
        method = environ["REQUEST_METHOD"]
        bucket, _, key = environ["PATH_INFO"].encode("latin-1").decode(errors="replace").lstrip("/").partition("/")
        query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
        source = unquote(environ.get("HTTP_X_AMZ_COPY_SOURCE", "")).lstrip("/").partition("/")
        with self._lock:
            self._make_buckets()
            if source[2]:
                self._restore(S3Address(source[0], source[2].partition("?")[0]))
            if not key and method == "POST" and "delete" in query:
                for gone in _deleted_keys(environ):
                    self._announced.pop(S3Address(bucket, gone), None)
            elif not key and method == "HEAD":
                pass  # it only asks for the bucket
            elif not key:
                prefix = query.get("prefix", [""])[0]
                for address in [each for each in self._announced if each.bucket == bucket]:
                    if address.key.startswith(prefix):
                        self._restore(address)
            elif method in ("PUT", "POST", "DELETE"):
                self._announced.pop(S3Address(bucket, key), None)
            else:
                self._restore(S3Address(bucket, key))

    def _restore(self, address: S3Address) -> None:
        path = self._announced.pop(address, None)
        if path is None or not path.is_file():
            return
        self._backend().put_object(address.bucket, address.key, path.read_bytes())

    def _make_buckets(self) -> None:
        while self._announced_buckets:
            bucket = self._announced_buckets.pop()
            if bucket not in self._backend().buckets:
                self._backend().create_bucket(bucket, REGION)

    def _backend(self) -> Any:  # noqa: ANN401  moto's S3Backend, which is imported late
        self._moto.load()
        return import_module("moto.s3.models").s3_backends[ACCOUNT]["aws"]


def _deleted_keys(environ: dict[str, Any]) -> list[str]:
    """The keys a DeleteObjects request names; its body can still be read afterwards."""
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(body)
    return [unescape(key) for key in re.findall(r"<Key>(.*?)</Key>", body.decode(errors="replace"), re.DOTALL)]
