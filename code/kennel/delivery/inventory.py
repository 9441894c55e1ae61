"""Lists the packages of the file system it runs in, as JSON: run inside an image by `python3 -I -S -c`.

It stands alone, on the standard library of any Python from 3.8 on, and imports nothing that the image installed.
"""

from __future__ import annotations

import csv
import email.parser
import hashlib
import json
import os
import re
import sys
import zipfile
from collections.abc import Iterator
from typing import Any

ROOTS = ("/bin", "/etc", "/home", "/lib", "/opt", "/root", "/srv", "/usr", "/var")
PACKAGE_FOLDERS = ("site-packages", "dist-packages")


def inventory(root: str = "") -> dict[str, Any]:
    """{"os", "python", "debian", "jars"}. root: stands before every path, for tests."""
    python: list[dict[str, Any]] = []
    jars: list[str] = []
    for folder, folders, files in walk(root):
        if os.path.basename(folder) in PACKAGE_FOLDERS:
            python += python_packages(folder, [*folders, *files])
        jars += [os.path.join(folder, name) for name in files if name.endswith(".jar")]
    owners = {path: package for package in python for path in package.pop("jars")}
    found: dict[str, Any] = {
        "os": read_os_release(f"{root}/etc/os-release"),
        "python": sorted(python, key=lambda package: str(package["path"])),
        "debian": sorted(debian_packages(root), key=lambda each: (each["Package"], each["Architecture"])),
        "jars": [jar(path, owners.get(path)) for path in sorted(jars)],
    }
    for package in found["python"] + found["jars"]:
        package["path"] = package["path"][len(root) :]
    return found


def walk(root: str) -> Iterator[tuple[str, list[str], list[str]]]:
    """os.walk of every root folder that is no link to another (/lib is /usr/lib)."""
    for top in ROOTS:
        if not os.path.islink(root + top):
            yield from os.walk(root + top)


def python_packages(folder: str, names: list[str]) -> Iterator[dict[str, Any]]:
    """What is installed in a folder of packages, by its *.dist-info and *.egg-info."""
    for name in names:
        path = os.path.join(folder, name)
        files = {".dist-info": ("METADATA",), ".egg-info": ("PKG-INFO", "")}.get(os.path.splitext(name)[1], ())
        for file in (os.path.join(path, each) if each else path for each in files):
            if os.path.isfile(file):
                yield python_package(path, file)
                break


def python_package(path: str, metadata: str) -> dict[str, Any]:
    """What a package says of itself, the bytes of its files, and the jars among them."""
    with open(metadata, encoding="utf-8", errors="replace") as stream:
        fields = email.parser.HeaderParser().parse(stream)
    files = read_record(path)
    classifiers = fields.get_all("Classifier") or []
    return {
        "path": path,
        "name": fields["Name"] or os.path.basename(path).partition("-")[0],
        "version": fields["Version"] or "",
        "summary": fields["Summary"] or "",
        "license": fields["License"] or "",
        "license_expression": fields["License-Expression"] or "",
        "license_classifiers": [each for each in classifiers if each.startswith("License :: ")],
        "bytes": sum(size for _, size in files),
        "jars": [file for file, _ in files if file.endswith(".jar")],
    }


def read_record(path: str) -> list[tuple[str, int]]:
    """Path and size of each file of a package; none where there is no RECORD."""
    try:
        with open(os.path.join(path, "RECORD"), encoding="utf-8", newline="") as stream:
            rows = list(csv.reader(stream))
    except OSError:
        return []
    folder = os.path.dirname(path)
    return [(os.path.normpath(os.path.join(folder, row[0])), int(row[2] or 0)) for row in rows if len(row) == 3]


def jar(path: str, owner: dict[str, Any] | None) -> dict[str, Any]:
    """A jar, with the version that it or the Python package it came with gives it."""
    with open(path, "rb") as stream:
        digest = hashlib.sha256(stream.read()).hexdigest()
    return {
        "path": path,
        "name": os.path.basename(path)[: -len(".jar")],
        "version": manifest_version(path) or (owner["version"] if owner else ""),
        "part_of": f"{owner['name']} {owner['version']}" if owner else "",
        "sha256": digest,
        "bundled": bundled_libraries(path),
    }


def manifest_version(path: str) -> str:
    texts = jar_texts(path, r"META-INF/MANIFEST\.MF")
    return email.parser.HeaderParser().parsestr(texts[0])["Implementation-Version"] or "" if texts else ""


def bundled_libraries(path: str) -> list[dict[str, str]]:
    """Libraries copied into a jar, as far as they say so: by Maven's pom.properties, or as netty does."""
    found = set()
    for text in jar_texts(path, r"META-INF/maven/.+/pom\.properties"):
        values = properties(text)
        found.add((values.get("groupId", ""), values.get("artifactId", ""), values.get("version", "")))
    for text in jar_texts(path, r"META-INF/io\.netty\.versions\.properties"):
        for key, value in properties(text).items():
            if key.endswith(".version"):
                found.add(("io.netty", key[: -len(".version")], value))
    return [dict(zip(("group", "name", "version"), each)) for each in sorted(found) if all(each)]  # noqa: B905  Python 3.8


def jar_texts(path: str, pattern: str) -> list[str]:
    """Every file of that name: a jar made of others has several of the same name."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if re.fullmatch(pattern, entry.filename)]
            return [archive.read(entry).decode("utf-8", "replace") for entry in entries]
    except (OSError, zipfile.BadZipFile):
        return []


def properties(text: str) -> dict[str, str]:
    pairs = [line.partition("=") for line in text.splitlines() if not line.startswith("#")]
    return {key.strip(): value.strip() for key, equals, value in pairs if equals}


def debian_packages(root: str) -> list[dict[str, str]]:
    """The installed packages: of dpkg's status, and of status.d, where images without dpkg keep them."""
    texts = [read(f"{root}/var/lib/dpkg/status")]
    folder = f"{root}/var/lib/dpkg/status.d"
    if os.path.isdir(folder):
        texts += [read(os.path.join(folder, name)) for name in os.listdir(folder) if not name.endswith(".md5sums")]
    parser = email.parser.HeaderParser()
    stanzas = [parser.parsestr(stanza) for text in texts for stanza in text.split("\n\n") if stanza.strip()]
    wanted = ("Package", "Version", "Architecture", "Source", "Installed-Size")
    return [
        {key: stanza[key] for key in wanted if stanza[key]}
        for stanza in stanzas
        if stanza["Package"] and stanza.get("Status", "install ok installed").endswith(" installed")
    ]


def read_os_release(path: str) -> dict[str, str]:
    return {key: value.strip("\"'") for key, value in properties(read(path)).items()}


def read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


if __name__ == "__main__":
    json.dump(inventory(), sys.stdout)
