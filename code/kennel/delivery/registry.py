"""What a registry really stores: manifests and image configurations, read by its HTTP API (Docker Registry API v2).

`docker inspect` shows the image on this machine; SageMaker reads the manifest in the registry, and refuses some that
Docker itself runs. Exercised by: kennel push --dry-run
"""

import hashlib
import ipaddress
import json
import re
import warnings
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import requests
from docker import auth as docker_auth
from docker.credentials import StoreError
from docker.errors import DockerException

from kennel.errors import KennelError, UserError

DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_SCHEMA_1: Final = "application/vnd.docker.distribution.manifest.v1+json"
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
# A registry converts or hides what is not in Accept: naming all of them shows what is stored.
ACCEPT: Final = ", ".join((DOCKER_MANIFEST, OCI_MANIFEST, DOCKER_LIST, OCI_INDEX))
REMEDY: Final = (
    "Build with `docker buildx build --provenance=false --sbom=false --output type=image,oci-mediatypes=false`, "
    "or with a Docker Engine whose push writes Docker's own manifests (classic image store)"
)
MAX_MANIFEST_BYTES: Final = 4_194_304  # ECR's limit
DOCKER_HUB: Final = "docker.io"
_TIMEOUT_S: Final = (10, 60)  # to connect, without a byte
_PARAMETER: Final = re.compile(r'(\w+)="([^"]*)"')
_PATTERN: Final = re.compile(
    r"(?P<repository>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)


class RegistryError(KennelError):
    """The registry refused, or cannot be reached. status: its HTTP status, 0 without an answer."""

    def __init__(self, message: str, *, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Reference:
    """Where an image is: registry/repository:tag@digest, tag `latest` when neither was given."""

    registry: str
    repository: str
    tag: str | None = None
    digest: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """The parts of an image's name, as Docker reads it: without a host it is Docker Hub's. Raises UserError."""
        host, slash, rest = text.partition("/")
        if not slash or not (set(".:") & set(host) or host == "localhost"):
            host, rest = DOCKER_HUB, text if slash else f"library/{text}"
        found = _PATTERN.fullmatch(rest)
        if not found:
            raise UserError(f"'{text}' is no image reference. Expected registry/repository:tag or ...@sha256:digest")
        tag, digest = found["tag"], found["digest"]
        return cls(host, found["repository"], tag or (None if digest else "latest"), digest)

    @property
    def name(self) -> str:
        """What the registry is asked for: the digest where there is one."""
        return self.digest or self.tag or "latest"

    def at(self, digest: str) -> str:
        """The same image by digest: what a job should name, because it can never mean another image."""
        return f"{self.registry}/{self.repository}@{digest}"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.registry}/{self.repository}{tag}" + (f"@{self.digest}" if self.digest else "")


@dataclass(frozen=True)
class Credentials:
    """How to log in to one registry. identity_token: in place of a password, as some credential helpers give."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)


@dataclass(frozen=True)
class Manifest:
    """What is stored under a reference.

    media_type: of the manifest itself. digest: sha256 of its bytes. content: its JSON; config: the image configuration
    (architecture, os, rootfs, config.Labels ...), empty for lists and indexes, which have none.
    """

    reference: str
    media_type: str
    digest: str
    content: dict[str, Any]
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def layer_sizes(self) -> dict[str, int]:
        """Compressed bytes of each layer by its uncompressed digest (diff id)."""
        identifiers = self.config.get("rootfs", {}).get("diff_ids", [])
        sizes = [layer["size"] for layer in self.content.get("layers", [])]
        return dict(zip(identifiers, sizes, strict=False))

    @property
    def stored_bytes(self) -> int:
        """Of the configuration and of each different layer."""
        layers = {layer["digest"]: layer["size"] for layer in self.content.get("layers", [])}
        return int(sum(layers.values()) + self.content.get("config", {}).get("size", 0))


def fetch_manifest(reference: str, *, credentials: Credentials | None = None) -> Manifest:
    """The manifest as stored, with the configuration of a single image.

    credentials: else Docker's own for that registry (config.json, credential helpers), else none.
    Raises UserError when nothing is stored there or access is denied, RegistryError when the registry does not answer.
    """
    image = Reference.parse(reference)
    manifest = Registry(image.registry, credentials=credentials).manifest(image)
    if manifest is None:
        raise UserError(f"{reference} is not in the registry. `docker push` puts it there")
    return manifest


def accepted_by_sagemaker(manifest: Manifest) -> str | None:
    """Why SageMaker would refuse to pull this, with the remedy; None when it would not.

    SageMaker wants Docker's image manifest, version 2 schema 2: hosting ends with "Unsupported manifest media type" on
    OCI's, and lists and indexes hold several images (or attestations) where it wants one.
    """
    kind = manifest.media_type
    if kind == DOCKER_MANIFEST:
        return None
    if kind in (OCI_INDEX, DOCKER_LIST):
        held = [_platform(entry) for entry in manifest.content.get("manifests", [])]
        return f"{kind}: a list of {len(held)} manifests ({', '.join(held)}), not one image. {REMEDY}"
    if kind == OCI_MANIFEST:
        return f"{kind}: OCI's manifest, not Docker's. {REMEDY}"
    return f"{kind}: not Docker's image manifest of version 2 ({DOCKER_MANIFEST}). {REMEDY}"


def docker_credentials(registry: str) -> Credentials | None:
    """What `docker login` left for that registry: in config.json, or with the helper that it names."""
    try:
        with warnings.catch_warnings(action="ignore"):  # docker-py warns of a missing helper before it raises
            found = docker_auth.load_config().resolve_authconfig(registry)
    except (DockerException, StoreError) as error:
        raise UserError(f"Docker's credentials for {registry} cannot be read: {error}") from error
    if not found:
        return None
    known = {key.lower(): value for key, value in found.items() if value}  # auths and helpers differ in capitals
    return Credentials(known.get("username", ""), known.get("password", ""), known.get("identitytoken", ""))


def is_loopback(registry: str) -> bool:
    """Docker speaks plain http to these, and to no other by default."""
    host = urlsplit(f"//{registry}").hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Registry:
    """One registry, and the session that is logged in to it."""

    def __init__(self, host: str, *, credentials: Credentials | None = None) -> None:
        self.host = host
        self._base = f"{'http' if is_loopback(host) else 'https'}://{_api_host(host)}/v2/"
        self._credentials = credentials or docker_credentials(host)
        self._session = requests.Session()
        self._session.trust_env = not is_loopback(host)  # no proxy on the way to this machine
        self._authorization: dict[str, str] = {}  # by repository

    def manifest(self, image: Reference) -> Manifest | None:
        """What is stored there; None when nothing is. Raises RegistryError, and UserError for a denied access."""
        answer = self._ask("GET", image.repository, f"manifests/{image.name}", accept=ACCEPT)
        if answer is None:
            return None
        content = _json(answer, what=f"the manifest of {image}")
        digest = "sha256:" + hashlib.sha256(answer.content).hexdigest()
        if image.digest not in (None, digest):
            raise RegistryError(f"{image}: the registry answered with the content of {digest}")
        kind = content.get("mediaType") or answer.headers.get("Content-Type", "").partition(";")[0]
        config = content.get("config", {}).get("digest")
        return Manifest(str(image), kind, digest, content, self._config(image, config) if config else {})

    def put_tag(self, image: Reference, tag: str) -> None:
        """Gives a stored manifest one more tag, moving it from another; no layer is sent."""
        stored = self._ask("GET", image.repository, f"manifests/{image.name}", accept=ACCEPT)
        if stored is None:
            raise RegistryError(f"{image} is not in the registry, so it cannot be tagged '{tag}'", status=404)
        kind = stored.headers.get("Content-Type", DOCKER_MANIFEST)
        self._ask("PUT", image.repository, f"manifests/{tag}", accept=kind, body=stored.content, body_type=kind)

    def delete(self, image: Reference, digest: str) -> None:
        """Takes the manifest with all its tags away; its layers go at the registry's next clean-up."""
        if self._ask("DELETE", image.repository, f"manifests/{digest}", accept=ACCEPT) is None:
            raise RegistryError(f"{image.at(digest)} was not there to delete", status=404)

    def _config(self, image: Reference, digest: str) -> dict[str, Any]:
        answer = self._ask("GET", image.repository, f"blobs/{digest}", accept="*/*")
        if answer is None:
            raise RegistryError(f"{image}: its manifest names the configuration {digest}, which is missing", status=404)
        if "sha256:" + hashlib.sha256(answer.content).hexdigest() != digest:
            raise RegistryError(f"{image}: its configuration is not what its digest {digest} says")
        return _json(answer, what=f"the configuration of {image}")

    def _ask(
        self, method: str, repository: str, path: str, *, accept: str, body: bytes = b"", body_type: str = ""
    ) -> requests.Response | None:
        """The registry's answer, logging in where it asks for it; None for 404."""
        url = urljoin(self._base, f"{repository}/{path}")
        headers = {"Accept": accept} | ({"Content-Type": body_type} if body else {})
        answer = self._send(method, url, headers, body, self._authorization.get(repository, ""))
        if answer.status_code == 401:
            self._authorization[repository] = self._log_in(answer.headers.get("WWW-Authenticate", ""))
            answer = self._send(method, url, headers, body, self._authorization[repository])
        if answer.status_code == 404:
            return None
        if answer.status_code in (401, 403):
            raise UserError(
                f"{self.host} denies access to '{repository}' ({answer.status_code}: {_reason(answer)}). "
                f"Log in first: docker login {self.host}"
            )
        if not answer.ok:
            raise RegistryError(f"{url}: {answer.status_code} {_reason(answer)}", status=answer.status_code)
        return answer

    def _send(
        self, method: str, url: str, headers: dict[str, str], body: bytes, authorization: str
    ) -> requests.Response:
        try:
            return self._session.request(
                method, url, headers=headers, data=body, auth=_Header(authorization), timeout=_TIMEOUT_S
            )
        except requests.RequestException as error:
            raise RegistryError(f"Registry {self.host} does not answer: {error}") from error

    def _log_in(self, challenge: str) -> str:
        """The Authorization header that this challenge asks for; "" where there is nothing to log in with."""
        scheme, _, rest = challenge.partition(" ")
        if scheme.lower() == "bearer":
            return "Bearer " + self._token(dict(_PARAMETER.findall(rest)))
        if not self._credentials:
            return ""
        return requests.auth._basic_auth_str(self._credentials.username, self._credentials.password)

    def _token(self, asked: dict[str, str]) -> str:
        realm = asked.pop("realm", "")
        if urlsplit(realm).scheme != "https" and not is_loopback(urlsplit(realm).netloc):
            raise RegistryError(f"Registry {self.host} asks to log in at '{realm}', which is not https")
        known = self._credentials
        try:
            if known and known.identity_token:
                form = {
                    **asked,
                    "grant_type": "refresh_token",
                    "refresh_token": known.identity_token,
                    "client_id": "kennel",
                }
                answer = self._session.post(realm, data=form, timeout=_TIMEOUT_S)
            else:
                login = (known.username, known.password) if known else None
                answer = self._session.get(realm, params=asked, auth=login, timeout=_TIMEOUT_S)
        except requests.RequestException as error:
            raise RegistryError(f"{realm}, where {self.host} asks to log in, does not answer: {error}") from error
        if not answer.ok:
            raise UserError(
                f"{realm} refuses the login to {self.host} ({answer.status_code}: {_reason(answer)}). "
                f"Log in again: docker login {self.host}"
            )
        given = _json(answer, what=f"the token of {realm}")
        return str(given.get("token") or given.get("access_token") or "")


class _Header(requests.auth.AuthBase):
    """Sends this header and nothing else: without it requests would take a password out of ~/.netrc."""

    def __init__(self, authorization: str) -> None:
        self._authorization = authorization

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._authorization:
            request.headers["Authorization"] = self._authorization
        return request


def _api_host(registry: str) -> str:
    return "registry-1.docker.io" if registry == DOCKER_HUB else registry


def _platform(entry: dict[str, Any]) -> str:
    """What one entry of a list is: its platform, or that it is an attestation."""
    if entry.get("annotations", {}).get("vnd.docker.reference.type") == "attestation-manifest":
        return "attestation"
    platform = entry.get("platform", {})
    return f"{platform.get('os', 'unknown')}/{platform.get('architecture', 'unknown')}"


def _json(answer: requests.Response, *, what: str) -> dict[str, Any]:
    try:
        content = json.loads(answer.content)
    except ValueError as error:
        raise RegistryError(f"{answer.url}: {what} is no JSON ({error})") from error
    if not isinstance(content, dict):
        raise RegistryError(f"{answer.url}: {what} is no JSON object")
    return content


def _reason(answer: requests.Response) -> str:
    """The registry's own words, else HTTP's."""
    try:
        first = answer.json()["errors"][0]
        return f"{first.get('code')} {first.get('message')}"
    except (ValueError, KeyError, IndexError, TypeError):
        return answer.reason or "no reason given"
