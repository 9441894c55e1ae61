"""How many files a second `kennel upload` sends, beside a plain loop over put_object, and beside this machine's limit.

    .venv/bin/python benchmarks/upload.py [--files 600] [--kilobytes 60] [--wait-ms 30] [--rounds 3]

S3 is a stand-in on loopback, in a process of its own: it reads each request whole, waits as long as S3's answers take
from another city, keeps nothing but its MD5, and answers. Each round sends the same pictures three ways, one after the
other: by the Upload of `kennel upload` (all of it: reading, two hashes, listing, manifest), by a loop that puts one
file after the other, as scripts do, and by as many bare connections as Upload has, without boto3 and hashes: what this
machine and its stand-in can do at all. Ratios are of one round's; the median of the rounds counts.
"""

import argparse
import hashlib
import http.client
import multiprocessing
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import boto3

from kennel.aws.upload import CLIENT, CONNECTIONS, Upload

LISTED = "<Contents><Key>{key}</Key><ETag>&quot;{etag}&quot;</ETag><Size>1</Size></Contents>"


class S3(BaseHTTPRequestHandler):
    """PutObject, GetObject of what is not there, and ListObjectsV2 in one page (of which real S3 has 1000 a page)."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wait_s = 0.0
    etags: dict[str, str] = {}

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
        self.etags[self.path.partition("/pictures/")[2]] = etag
        self.answer(200, b"", ETag=f'"{etag}"')

    def do_GET(self) -> None:
        if "list-type=2" not in self.path:
            self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
            return
        prefix = self.path.partition("prefix=")[2].partition("&")[0].replace("%2F", "/")
        found = "".join(
            LISTED.format(key=key, etag=etag) for key, etag in list(self.etags.items()) if key.startswith(prefix)
        )
        self.answer(200, f"<ListBucketResult><IsTruncated>false</IsTruncated>{found}</ListBucketResult>".encode())

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        time.sleep(self.wait_s)
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Writes no line for each request."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 2 * CONNECTIONS


def main() -> None:
    arguments = read_arguments()
    print(
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {arguments.files} files of {arguments.kilobytes} kB, "
        f"answers after {arguments.wait_ms:g} ms, {CONNECTIONS} connections"
    )
    with tempfile.TemporaryDirectory(prefix="kennel-benchmark-") as folder, served(arguments.wait_ms / 1000) as port:
        paths = make_files(Path(folder), arguments.files, arguments.kilobytes)
        rounds = [play(number, Path(folder), paths, port) for number in range(arguments.rounds)]
    ways = list(rounds[0])
    for way in ways:
        rate = arguments.files / statistics.median(one[way] for one in rounds)
        ratio = statistics.median(one["one by one"] / one[way] for one in rounds)
        print(f"  {way:<18} {rate:7.0f} files/s   {ratio:5.1f} x one by one")


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=600, metavar="N")
    parser.add_argument("--kilobytes", type=int, default=60, metavar="KB")
    parser.add_argument("--wait-ms", type=float, default=30, metavar="MS")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    return parser.parse_args()


def make_files(folder: Path, count: int, kilobytes: int) -> list[Path]:
    """Contents that no compression helps with, as pictures have."""
    noise = random.Random(0)
    paths = [folder / f"{number % 20}.a" / f"{number}.jpg" for number in range(count)]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(noise.randbytes(kilobytes * 1000))
    return paths


def play(number: int, folder: Path, paths: list[Path], port: int) -> dict[str, float]:
    """Seconds of each way, each under a prefix of its own."""
    client = boto3.client(
        "s3",
        region_name="us-east-1",
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id="x",
        aws_secret_access_key="x",  # noqa: S106  nobody looks at it
        config=CLIENT,
    )
    ways: dict[str, Callable[[], Any]] = {
        "kennel upload": lambda: upload(client, folder, paths, f"{number}-upload"),
        "one by one": lambda: one_by_one(client, folder, paths, f"{number}-loop"),
        "bare connections": lambda: bare(port, folder, paths, f"{number}-bare"),
    }
    return {name: seconds(way) for name, way in ways.items()}


def upload(client: Any, folder: Path, paths: list[Path], prefix: str) -> None:  # noqa: ANN401  boto3's
    target = Upload(client, "pictures", prefix)
    sent = target.send(target.compare(folder, paths), digest="0")
    assert sent.sent == len(paths)


def one_by_one(client: Any, folder: Path, paths: list[Path], prefix: str) -> None:  # noqa: ANN401
    for path in paths:
        client.put_object(
            Bucket="pictures", Key=f"{prefix}/{path.relative_to(folder).as_posix()}", Body=path.read_bytes()
        )


def bare(port: int, folder: Path, paths: list[Path], prefix: str) -> None:
    def send(part: list[Path]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        for path in part:
            name = path.relative_to(folder).as_posix()
            connection.request("PUT", f"/pictures/{prefix}/{name}", body=path.read_bytes())
            connection.getresponse().read()
        connection.close()

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(send, (paths[first::CONNECTIONS] for first in range(CONNECTIONS))))


def seconds(way: Callable[[], Any]) -> float:
    began = time.perf_counter()
    way()
    return time.perf_counter() - began


@contextmanager
def served(wait_s: float) -> Iterator[int]:
    """The port of the stand-in, which ends afterwards."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, wait_s), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.terminate()
        process.join()


def serve(pipe: Connection, wait_s: float) -> None:
    S3.wait_s = wait_s
    server = Server(("127.0.0.1", 0), S3)
    pipe.send(server.server_address[1])
    server.serve_forever()


if __name__ == "__main__":
    main()
