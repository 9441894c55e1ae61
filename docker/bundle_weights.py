#!/usr/bin/env python3
"""Puts pretrained weights into an image while it is built, and refuses those that are not the ones meant.

    bundle_weights.py CONTEXT_DIR TARGET_DIR --url URL --sha256 DIGEST

Files of CONTEXT_DIR with a suffix of weights are copied; --url fetches one more. A fetched file must have the SHA-256
given; with one file in CONTEXT_DIR and a digest, that file must. Standard library only.
"""

import argparse
import hashlib
import shutil
import sys
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

_SUFFIXES = (".pth", ".pt", ".safetensors")


def bundle(context: Path, target: Path, *, url: str, sha256: str) -> list[Path]:
    """The files now in `target`. Raises ValueError that names a file and its digest where it is not the one meant."""
    files = sorted(path for path in context.iterdir() if path.suffix in _SUFFIXES)
    if url and not sha256:
        raise ValueError(f"WEIGHTS_URL={url} needs WEIGHTS_SHA256: what is fetched must be what was meant")
    if sha256 and not url and len(files) != 1:
        raise ValueError(f"WEIGHTS_SHA256 is for one file; {context} has {len(files)}")
    target.mkdir(parents=True, exist_ok=True)
    bundled = [Path(shutil.copyfile(path, target / path.name)) for path in files]
    if url:
        bundled.append(_fetch(url, target))
    if sha256:
        _check(bundled[-1], sha256)
    return bundled


def _fetch(url: str, target: Path) -> Path:
    path = target / Path(urlsplit(url).path).name
    if urlsplit(url).scheme not in ("http", "https") or path.suffix not in _SUFFIXES:
        raise ValueError(f"WEIGHTS_URL={url}: expected an http(s) address of a file {', '.join(_SUFFIXES)}")
    with urllib.request.urlopen(url, timeout=60) as answer, path.open("wb") as file:  # noqa: S310  http(s), as checked
        shutil.copyfileobj(answer, file)
    return path


def _check(path: Path, sha256: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256.lower():
        raise ValueError(f"{path.name} has SHA-256 {found}, and WEIGHTS_SHA256 says {sha256}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("context", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--url", default="")
    parser.add_argument("--sha256", default="")
    arguments = parser.parse_args()
    try:
        for path in bundle(arguments.context, arguments.target, url=arguments.url, sha256=arguments.sha256):
            print(f"bundled {path.name}, {path.stat().st_size:,} bytes")
    except (ValueError, OSError) as error:
        sys.exit(f"bundle_weights: {error}")


if __name__ == "__main__":
    main()
