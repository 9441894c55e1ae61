"""What this machine, or this container of it, has: cores and memory, by either version of control groups.

A container sees its machine's memory and cores everywhere but here, so whoever believes os.cpu_count() starts too much.
Version 2 has its files at the root of /sys/fs/cgroup, version 1 in a folder for each resource; a machine has either.
Exercise it: pytest tests/unit/serving/test_resources.py
"""

import math
import os
from pathlib import Path
from typing import Final

CGROUP: Final = Path("/sys/fs/cgroup")
_MEMINFO: Final = Path("/proc/meminfo")


def cores(cgroup: Path = CGROUP) -> int:
    """The cores this process may run on, or its container's share of them (rounded up)."""
    available = len(os.sched_getaffinity(0))
    quota, _, period = _first_line(cgroup / "cpu.max").partition(" ")
    if not quota:
        quota, period = (_first_line(cgroup / "cpu" / name) for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us"))
    if quota.isdigit() and period.isdigit():  # no limit is "max" or -1
        available = min(available, math.ceil(int(quota) / int(period)))
    return available


def memory_bytes(cgroup: Path = CGROUP) -> int:
    """The machine's memory, or its container's limit."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _limit(cgroup)
    return machine if limit is None else min(machine, limit)


def free_memory_bytes(cgroup: Path = CGROUP, meminfo: Path = _MEMINFO) -> int:
    """What can still be had before the kernel kills a process; the cache of files counts as free."""
    free = _number_after(meminfo, "MemAvailable:") * 1024
    limit = _limit(cgroup)
    return free if limit is None else max(0, min(free, limit - _used(cgroup)))


def _limit(cgroup: Path) -> int | None:
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        text = _first_line(cgroup / name)
        if text.isdigit():
            return int(text)
    return None


def _used(cgroup: Path) -> int:
    """The container's memory without the cache that it can drop."""
    if (cgroup / "memory.current").exists():
        used, droppable = cgroup / "memory.current", _number_after(cgroup / "memory.stat", "inactive_file")
    else:
        used = cgroup / "memory" / "memory.usage_in_bytes"
        droppable = _number_after(cgroup / "memory" / "memory.stat", "total_inactive_file")
    text = _first_line(used)
    return int(text) - droppable if text.isdigit() else 0


def _number_after(path: Path, key: str) -> int:
    """The number on the line that begins with `key`; 0 where there is none."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.split()[:1] == [key]), 0)


def _first_line(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""  # the other version of control groups, or none
