"""What the control groups (versions 2 and 1) of a container or a batch job leave of a Linux machine."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


def memory_left() -> float:
    """Return the bytes that this process may still use; infinity without a bound.

    As in Linux's own MemAvailable, cached files are not in use: they give way.
    """
    return min(map(_memory_left_in, _groups("memory")), default=math.inf)


def cores_allowed() -> float:
    """Return how many cores this process may keep busy on average, such as 1.5; infinity without a bound."""
    return min(map(_cores_of, _groups("cpu")), default=math.inf)


def _groups(controller: str) -> Iterator[Path]:
    """Yield the folders of this process's groups and of the groups around them; each may have a bound."""
    paths = {"": "", controller: ""}
    for line in (_read(OWN) or "").splitlines():
        _, names, path = (*line.split(":", 2), "", "")[:3]
        is_outside = ".." in path.split("/")  # of this container, which sees only its own groups
        for name in {*names.split(",")} & {*paths}:
            paths[name] = "" if is_outside else path.strip("/")
    for base, path in ((ROOT, paths[""]), (ROOT / controller, paths[controller])):
        group = base / path
        yield group
        yield from (parent for parent in group.parents if parent == base or base in parent.parents)


def _memory_left_in(group: Path) -> float:
    for bounds, used, prefix in (
        (("memory.max", "memory.high"), "memory.current", ""),
        (("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_"),
    ):
        most = min(filter(math.isfinite, (_number(_read(group / name)) for name in bounds)), default=math.inf)
        now = _number(_read(group / used))
        if math.isfinite(most) and math.isfinite(now):
            return max(0.0, most - max(0.0, now - _cached(group, prefix)))
    return math.inf


def _cached(group: Path, prefix: str) -> float:
    """Return the bytes of a group that hold what is on disk, too."""
    lines = [line.split() for line in (_read(group / "memory.stat") or "").splitlines()]
    found = {line[0]: _number(line[1]) for line in lines if len(line) == 2}
    sizes = (found.get(f"{prefix}{name}", math.inf) for name in ("inactive_file", "active_file", "slab_reclaimable"))
    return sum(filter(math.isfinite, sizes))


def _cores_of(group: Path) -> float:
    quota, period = (*(_read(group / "cpu.max") or "").split(), "", "")[:2]
    if not quota:
        quota, period = (_read(group / name) or "" for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us"))
    share, length = _number(quota), _number(period)
    return share / length if 0 < share < math.inf and 0 < length < math.inf else math.inf


def _number(text: str | None) -> float:
    """Return the number that a file holds; infinity if there is none, or "max"."""
    try:
        return float(text or "inf")
    except ValueError:
        return math.inf


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
