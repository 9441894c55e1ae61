import os
from pathlib import Path

import pytest

from kennel.serving.resources import cores, free_memory_bytes, memory_bytes

VERSION_1 = {
    "cpu/cpu.cfs_quota_us": "150000",
    "cpu/cpu.cfs_period_us": "100000",
    "memory/memory.limit_in_bytes": "1000000",
    "memory/memory.usage_in_bytes": "700000",
    "memory/memory.stat": "inactive_file 1\ntotal_inactive_file 100000",
}
VERSION_2 = {
    "cpu.max": "150000 100000",
    "memory.max": "1000000",
    "memory.current": "700000",
    "memory.stat": "anon 5\ninactive_file 100000",
}
UNLIMITED_1 = {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"} | {
    "memory/memory.limit_in_bytes": "9223372036854771712"
}
UNLIMITED_2 = {"cpu.max": "max 100000", "memory.max": "max", "memory.current": "700000"}


def write(cgroup: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = cgroup / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return cgroup


@pytest.fixture(autouse=True)
def large_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)))


@pytest.fixture
def meminfo(tmp_path: Path) -> Path:
    path = tmp_path / "meminfo"
    path.write_text("MemTotal:       2048 kB\nMemFree:         100 kB\nMemAvailable:   1024 kB\n")
    return path


@pytest.mark.parametrize("files", [VERSION_1, VERSION_2])
def test_a_containers_share_is_read_in_both_versions(tmp_path: Path, meminfo: Path, files: dict[str, str]) -> None:
    cgroup = write(tmp_path / "cgroup", files)
    assert (cores(cgroup), memory_bytes(cgroup)) == (2, 1_000_000)
    assert free_memory_bytes(cgroup, meminfo) == 400_000  # the cache of files can be dropped


@pytest.mark.parametrize("files", [{}, UNLIMITED_1, UNLIMITED_2])
def test_the_machine_is_the_limit_where_there_is_no_other(tmp_path: Path, meminfo: Path, files: dict[str, str]) -> None:
    cgroup = write(tmp_path / "cgroup", files)
    assert cores(cgroup) == 16
    assert memory_bytes(cgroup) == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert free_memory_bytes(cgroup, meminfo) == 2**20


def test_a_container_over_its_limit_has_nothing_free(tmp_path: Path, meminfo: Path) -> None:
    cgroup = write(tmp_path / "cgroup", VERSION_2 | {"memory.current": "1200000", "memory.stat": ""})
    assert free_memory_bytes(cgroup, meminfo) == 0
