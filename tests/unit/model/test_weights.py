"""Where weights are found, what is refused, and that a network is not needed to be told so."""

import hashlib
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor

from kennel.errors import WeightsError
from kennel.images.decode import read_image
from kennel.images.transforms import EvalTransform
from kennel.model.backbones import Backbone, build_backbone
from kennel.model.weights import BUNDLED_DIR, find_weights, load_weights, weights_places

NAME = "mobilenet_v3_small"
PUBLISHED = "mobilenet_v3_small-047dcff4.pth"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """An environment in which nothing is to be had anywhere."""
    return {
        "KENNEL_WEIGHTS_DIR": str(tmp_path / "bundled"),
        "TORCH_HOME": str(tmp_path / "torch"),
        "KENNEL_OFFLINE": "1",
    }


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return build_backbone(NAME)


def torchvision_state(*, seed: int = 0) -> dict[str, Tensor]:
    """A state dict as torchvision's files have it, classifier and all."""
    torch.manual_seed(seed)
    return torchvision.models.get_model(NAME, weights=None).state_dict()


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"weights")
    return path


def error_of(*arguments: object, **options: object) -> str:
    with pytest.raises(WeightsError) as caught:
        find_weights(*arguments, **options)
    return str(caught.value)


# Where they are looked for


def test_none_asks_for_no_weights(environ: dict[str, str], tmp_path: Path) -> None:
    touch(tmp_path / "bundled" / f"{NAME}.pth")
    assert find_weights(NAME, "none", channel=tmp_path / "bundled", environ=environ) is None


def test_path_comes_before_every_other_place(environ: dict[str, str], tmp_path: Path) -> None:
    given = touch(tmp_path / "mine.bin")
    touch(tmp_path / "channel" / f"{NAME}.pth")
    assert find_weights(NAME, str(given), channel=tmp_path / "channel", environ=environ) == given


def test_places_come_in_their_order(environ: dict[str, str], tmp_path: Path) -> None:
    cached = touch(tmp_path / "torch" / "hub" / "checkpoints" / PUBLISHED)
    assert find_weights(NAME, "auto", channel=None, environ=environ) == cached
    bundled = touch(tmp_path / "bundled" / f"{NAME}-half.pth")
    assert find_weights(NAME, "auto", channel=None, environ=environ) == bundled
    channel = touch(tmp_path / "channel" / "anything.safetensors").parent
    assert find_weights(NAME, "auto", channel=channel, environ=environ) == channel / "anything.safetensors"


def test_bundled_folder_is_the_images_by_default() -> None:
    assert weights_places("auto", channel=None, environ={}).bundled == BUNDLED_DIR


@pytest.mark.parametrize("variables", [{}, {"XDG_CACHE_HOME": "/x/cache"}, {"TORCH_HOME": "/x/home"}])
def test_cache_is_torchvisions_own(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert weights_places("auto", channel=None).cache == Path(torch.hub.get_dir()) / "checkpoints"


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["resnet18.pth"], "resnet18.pth"),
        (["resnet18-half.pth", "resnet50-half.pth"], "resnet18-half.pth"),
        (["resnet18-f37072fd.pth", "resnet18-mine.pth"], "resnet18-f37072fd.pth"),
        (["resnet18.v2.safetensors", "resnet181.pth", "resnet18_bn.pth"], "resnet18.v2.safetensors"),
        (["deep/er/resnet18.pt", "README.md"], "deep/er/resnet18.pt"),
    ],
)
def test_channel_gives_the_file_of_the_backbone(
    names: list[str], chosen: str, environ: dict[str, str], tmp_path: Path
) -> None:
    for name in names:
        touch(tmp_path / "channel" / name)
    found = find_weights("resnet18", "auto", channel=tmp_path / "channel", environ=environ)
    assert found == tmp_path / "channel" / chosen


@pytest.mark.parametrize("names", [[], ["notes.txt"], ["a.pth", "b.pth"], ["resnet18-a.pth", "resnet18-b.pth"]])
def test_channel_without_one_file_of_the_backbone_is_refused(
    names: list[str], environ: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "channel").mkdir()
    for name in names:
        touch(tmp_path / "channel" / name)
    touch(tmp_path / "bundled" / "resnet18.pth")  # not fallen back to: a channel that was given is meant to be used
    message = error_of("resnet18", "auto", channel=tmp_path / "channel", environ=environ)
    assert f"Channel 'weights' ({tmp_path / 'channel'}) has no single file of weights for resnet18" in message
    assert "found " + (", ".join(name for name in names if name.endswith(".pth")) or "none") in message


def test_path_may_be_a_folder(environ: dict[str, str], tmp_path: Path) -> None:
    file = touch(tmp_path / "folder" / "resnet18-half.pth")
    touch(tmp_path / "folder" / "resnet50-half.pth")
    assert find_weights("resnet18", str(tmp_path / "folder"), channel=None, environ=environ) == file


def test_path_that_is_missing_is_refused(environ: dict[str, str], tmp_path: Path) -> None:
    message = error_of(NAME, str(tmp_path / "no.pth"), channel=None, environ=environ)
    assert message.startswith(f"There is no file {tmp_path / 'no.pth'} (-p weights=")
    assert "-p weights=none" in message


def test_nowhere_names_every_place_and_both_ways_on(environ: dict[str, str], tmp_path: Path) -> None:
    message = error_of(NAME, "auto", channel=None, environ=environ)
    first, *looked = message.splitlines()
    assert first.startswith(f"No pretrained weights of {NAME} were found.")
    assert "-p weights=none" in first and "-p weights=PATH" in first
    assert looked == [
        "  - channel 'weights': none given",
        f"  - {tmp_path / 'bundled'} (KENNEL_WEIGHTS_DIR): no such folder",
        f"  - {tmp_path / 'torch' / 'hub' / 'checkpoints' / PUBLISHED}: no such file",
        f"  - {torchvision.models.get_model_weights(NAME).DEFAULT.url}: not tried (KENNEL_OFFLINE)",
    ]


def test_nowhere_says_why_the_bundled_files_do_not_do(environ: dict[str, str], tmp_path: Path) -> None:
    touch(tmp_path / "bundled" / "resnet50.pth")
    assert f"no file named {NAME}*.pth" in error_of(NAME, "auto", channel=None, environ=environ)
    touch(tmp_path / "bundled" / f"{NAME}-a.pth")
    touch(tmp_path / "bundled" / f"{NAME}-b.pth")
    message = error_of(NAME, "auto", channel=None, environ=environ)
    assert f"more than one file of {NAME} ({NAME}-a.pth, {NAME}-b.pth)" in message


# Download


class Shelf(ThreadingHTTPServer):
    """Serves `files` by name, `cut_bytes` short of what it announces, and remembers what it was asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.files: dict[str, bytes] = {}
        self.cut_bytes = 0
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/weights"


class _Answer(BaseHTTPRequestHandler):
    server: Shelf

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        data = self.server.files.get(self.path.rpartition("/")[2])
        if data is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) - self.server.cut_bytes])

    def log_message(self, *_: object) -> None:
        """Tests print nothing of their own."""


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    with Shelf() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def online(environ: dict[str, str], shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """As `environ`, with the shelf for a mirror."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return {**environ, "KENNEL_OFFLINE": "0", "KENNEL_WEIGHTS_URL_BASE": f"{shelf.url}/"}


def hashed(data: bytes, monkeypatch: pytest.MonkeyPatch) -> str:
    """Has torchvision publish `data` as the weights of NAME; the file's name, with its true hash in it."""
    name = f"{NAME}-{hashlib.sha256(data).hexdigest()[:8]}.pth"
    weights = torchvision.models.get_model_weights(NAME).DEFAULT
    monkeypatch.setattr(weights.value, "url", f"https://weights.invalid/models/{name}")
    return name


def test_download_keeps_a_file_whose_hash_is_right(
    online: dict[str, str], shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bytes(3_000_000)
    name = hashed(data, monkeypatch)
    shelf.files[name] = data
    path = find_weights(NAME, "auto", channel=None, environ=online)
    assert path == tmp_path / "torch" / "hub" / "checkpoints" / name
    assert path.read_bytes() == data
    assert [each.name for each in path.parent.iterdir()] == [name]
    assert find_weights(NAME, "auto", channel=None, environ=online) == path
    assert shelf.asked == [f"/weights/{name}"]  # the second time it was in the cache


def test_download_refuses_a_wrong_hash(online: dict[str, str], shelf: Shelf, tmp_path: Path) -> None:
    shelf.files[PUBLISHED] = b"something else"
    message = error_of(NAME, "auto", channel=None, environ=online)
    assert (
        f"{shelf.url}/{PUBLISHED}: {PUBLISHED} is refused: its name says that its SHA-256 begins with 047dcff4"
        in message
    )
    assert list((tmp_path / "torch" / "hub" / "checkpoints").iterdir()) == []


def test_download_refuses_a_file_cut_short(
    online: dict[str, str], shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.files[hashed(bytes(1000), monkeypatch)] = bytes(1000)
    shelf.cut_bytes = 300
    message = error_of(NAME, "auto", channel=None, environ=online)
    assert "the connection ended after 700 of 1,000 bytes" in message
    assert list((tmp_path / "torch" / "hub" / "checkpoints").iterdir()) == []


def test_download_says_what_the_server_said(online: dict[str, str], shelf: Shelf) -> None:
    message = error_of(NAME, "auto", channel=None, environ=online)
    assert message.splitlines()[-1] == f"  - {shelf.url}/{PUBLISHED}: HTTP Error 404: Not Found"


def test_download_says_that_nobody_listens(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as bound:  # bound and not listening: connections are refused
        bound.bind(("127.0.0.1", 0))
        base = f"http://127.0.0.1:{bound.getsockname()[1]}"
        offline = {**environ, "KENNEL_OFFLINE": "0", "KENNEL_WEIGHTS_URL_BASE": base}
        message = error_of(NAME, "auto", channel=None, environ=offline)
    assert f"{base}/{PUBLISHED}: " in message and "refused" in message
    assert "-p weights=none" in message


def test_download_gives_up_on_names_that_nobody_resolves(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = threading.Event()
    release = threading.Event()

    def silent(*_: object, **__: object) -> None:
        asked.set()
        release.wait(60)
        raise socket.gaierror("no name server")

    monkeypatch.setattr("kennel.model.weights._TIMEOUT_S", 0.2)
    monkeypatch.setattr(socket, "getaddrinfo", silent)
    mirror = {**environ, "KENNEL_OFFLINE": "", "KENNEL_WEIGHTS_URL_BASE": "http://weights.invalid"}
    try:
        message = error_of(NAME, "auto", channel=None, environ=mirror)
        assert not release.is_set() and asked.is_set()  # it came back while the name server was still silent
    finally:
        release.set()
        for thread in threading.enumerate():
            if thread.name == "kennel-weights-connect":
                thread.join()
    assert "no answer within 0.2 s" in message


def test_download_refuses_addresses_that_are_not_http(environ: dict[str, str]) -> None:
    environ.update(KENNEL_OFFLINE="0", KENNEL_WEIGHTS_URL_BASE="file:///etc")
    assert "file:///etc/mobilenet_v3_small-047dcff4.pth: no http address" in error_of(
        NAME, "auto", channel=None, environ=environ
    )


def test_download_says_that_the_cache_cannot_be_written(online: dict[str, str], shelf: Shelf, tmp_path: Path) -> None:
    shelf.files[PUBLISHED] = b"data"
    touch(tmp_path / "torch")  # a file where the folder should be
    assert "Not a directory" in error_of(NAME, "auto", channel=None, environ=online)


# What is in them


def check_equal(backbone: Backbone, state: dict[str, Tensor]) -> None:
    for name, tensor in backbone.network.state_dict().items():
        assert torch.equal(tensor, state[name]), name


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_load_reads_a_state_dict_without_its_classifier(backbone: Backbone, suffix: str, tmp_path: Path) -> None:
    state, path = torchvision_state(seed=1), tmp_path / f"weights{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    assert load_weights(backbone, path) == hashlib.sha256(path.read_bytes()).hexdigest()
    check_equal(backbone, state)


def test_load_reads_torchs_older_format(backbone: Backbone, tmp_path: Path) -> None:
    state = torchvision_state(seed=2)
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    load_weights(backbone, tmp_path / "old.pth")
    check_equal(backbone, state)


def test_load_turns_half_precision_into_float32(backbone: Backbone, tmp_path: Path) -> None:
    state = torchvision_state(seed=3)
    half = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    torch.save(half, tmp_path / "half.pth")
    load_weights(backbone, tmp_path / "half.pth")
    assert {tensor.dtype for tensor in backbone.parameters()} == {torch.float32}
    check_equal(
        backbone, {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in half.items()}
    )


@pytest.mark.parametrize("prefix", ["module.", "backbone.network."])
def test_load_reads_what_other_programs_put_before_the_names(backbone: Backbone, prefix: str, tmp_path: Path) -> None:
    state = torchvision_state(seed=4)
    renamed = {f"{prefix}{name}": tensor for name, tensor in state.items()}
    if prefix == "backbone.network.":
        renamed["head.weight"] = torch.zeros(3, 1024)  # Kennel's own archive
    torch.save({"state_dict": renamed, "epoch": 3}, tmp_path / "weights.pth")
    load_weights(backbone, tmp_path / "weights.pth")
    check_equal(backbone, state)


def test_load_does_without_batchnorm_counters(backbone: Backbone, tmp_path: Path) -> None:
    state = {name: each for name, each in torchvision_state(seed=5).items() if "num_batches_tracked" not in name}
    torch.save(state, tmp_path / "weights.pth")
    load_weights(backbone, tmp_path / "weights.pth")
    assert torch.equal(backbone.network.state_dict()["features.0.0.weight"], state["features.0.0.weight"])


def test_load_reads_densenets_old_names(tmp_path: Path) -> None:
    state = torchvision.models.get_model("densenet121", weights=None).state_dict()
    dotted = {}
    for name, tensor in state.items():
        for part in ("norm1", "norm2", "conv1", "conv2"):
            if "denselayer" in name:
                name = name.replace(f".{part}.", f".{part[:-1]}.{part[-1]}.")
        dotted[name] = tensor
    assert set(dotted) != set(state)
    torch.save(dotted, tmp_path / "densenet121.pth")
    backbone = build_backbone("densenet121")
    load_weights(backbone, tmp_path / "densenet121.pth")
    check_equal(backbone, state)


def test_load_leaves_out_second_classifiers(tmp_path: Path) -> None:
    network = torchvision.models.get_model("googlenet", weights=None, aux_logits=True, init_weights=True)
    torch.save(network.state_dict(), tmp_path / "googlenet.pth")
    load_weights(build_backbone("googlenet"), tmp_path / "googlenet.pth")


def test_load_refuses_another_architecture(backbone: Backbone, tmp_path: Path) -> None:
    torch.save(torchvision.models.get_model("shufflenet_v2_x0_5", weights=None).state_dict(), tmp_path / "other.pth")
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    with pytest.raises(WeightsError) as caught:
        load_weights(backbone, tmp_path / "other.pth")
    message = str(caught.value)
    assert f"{tmp_path / 'other.pth'} has no weights of backbone {NAME}" in message
    assert "features.0.0.weight: missing" in message
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.state_dict().items())


def test_load_names_the_shapes_that_differ(backbone: Backbone, tmp_path: Path) -> None:
    state = torchvision_state()
    state["features.0.0.weight"] = torch.zeros(16, 3, 5, 5)
    state["features.99.weight"] = torch.zeros(1)
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(WeightsError) as caught:
        load_weights(backbone, tmp_path / "weights.pth")
    assert "2 tensors differ" in str(caught.value)
    assert "features.0.0.weight: expected (16, 3, 3, 3), found (16, 3, 5, 5)" in str(caught.value)
    assert "features.99.weight: not in this network" in str(caught.value)


def test_load_refuses_values_that_are_no_numbers(backbone: Backbone, tmp_path: Path) -> None:
    state = torchvision_state()
    state["features.0.0.weight"][0, 0, 0, 0] = float("nan")
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match="tensor features.0.0.weight holds values that are no numbers"):
        load_weights(backbone, tmp_path / "weights.pth")


class _Trap:
    """What someone could hide in a pickle."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("wrapped", [True, False])
def test_load_runs_nothing_that_is_in_the_file(backbone: Backbone, wrapped: bool, tmp_path: Path) -> None:
    trap = _Trap(tmp_path / "touched")
    torch.save({**torchvision_state(), "trap": trap} if wrapped else trap, tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match="weights.pth cannot be read as weights .*Give a state dict"):
        load_weights(backbone, tmp_path / "weights.pth")
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as weights"),
        (b"not weights at all", "cannot be read as weights"),
        ([torch.zeros(1)], "holds no state dict, but list"),
        ({"epoch": 3}, "holds no state dict, but dict"),
        ({}, "holds no state dict"),
    ],
)
def test_load_refuses_what_is_no_state_dict(backbone: Backbone, content: object, message: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(WeightsError, match=message):
        load_weights(backbone, path)
    path.rename(tmp_path / "weights.safetensors")
    with pytest.raises(WeightsError, match="weights.safetensors cannot be read as weights"):
        load_weights(backbone, tmp_path / "weights.safetensors")


def test_load_refuses_a_missing_file(backbone: Backbone, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no.pth cannot be read: .*No such file"):
        load_weights(backbone, tmp_path / "no.pth")


def test_load_checks_the_hash_a_name_carries(backbone: Backbone, tmp_path: Path) -> None:
    torch.save(torchvision_state(), tmp_path / "weights.pth")
    digest = hashlib.sha256((tmp_path / "weights.pth").read_bytes()).hexdigest()
    right = (tmp_path / "weights.pth").rename(tmp_path / f"weights-{digest[:10]}.pth")
    assert load_weights(backbone, right) == digest
    wrong = right.rename(tmp_path / "weights-20240101.pth")
    with pytest.raises(WeightsError) as caught:
        load_weights(backbone, wrong)
    assert f"its name says that its SHA-256 begins with 20240101, but it is {digest}" in str(caught.value)
    assert "if the end of its name is no hash, rename it" in str(caught.value)


# The real ones


@pytest.mark.photos
@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_load_reads_the_real_half_precision_weights(name: str, shared: Path, tmp_path: Path) -> None:
    path = find_weights(name, str(shared / "weights"), channel=None, environ={"TORCH_HOME": str(tmp_path)})
    assert path == shared / "weights" / f"{name}-half.pth"
    backbone = build_backbone(name).eval()
    load_weights(backbone, path)
    folders = sorted((shared / "data" / "dogs20" / "train").iterdir())[:3]
    transform = EvalTransform.for_size(128)  # enough to know breeds by, at a third of the time
    pictures = [read_image(file) for folder in folders for file in sorted(folder.glob("*.jpg"))[:6]]
    with torch.no_grad():
        features = backbone(torch.stack([transform(picture) for picture in pictures])).reshape(3, 6, -1)
    # Pretrained features know breeds: a photo is nearer to the others of its breed than to another breed's.
    hits = 0
    for breed in range(3):
        for index in range(6):
            others = features.mean(dim=1)
            others[breed] = (features[breed].sum(dim=0) - features[breed, index]) / 5
            hits += int((others - features[breed, index]).norm(dim=1).argmin()) == breed
    assert hits >= 15  # of 18; chance is 6


@pytest.mark.photos
def test_load_refuses_the_real_weights_of_another_network(shared: Path) -> None:
    with pytest.raises(WeightsError, match=r"resnet50-half.pth has no weights of backbone resnet18: .*layer1.0.conv1"):
        load_weights(build_backbone("resnet18"), shared / "weights" / "resnet50-half.pth")
