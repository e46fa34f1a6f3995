"""How many faults a test suite finds: the same faults, one changed line each, planted under two suites.

    python -m benchmarks.faults draw --repo BEFORE --seed 20 --count 70 --output faults.json
    python -m benchmarks.faults probe --repo BEFORE --faults faults.json --output before-reach.json
    python -m benchmarks.faults run --repo BEFORE --reach before-reach.json --faults faults.json --output before.jsonl
    python -m benchmarks.faults locate --repo AFTER --faults faults.json --count 40 --output after.json
    ... probe and run with AFTER and after.json ...
    python -m benchmarks.faults report before.jsonl after.jsonl

What follows "--" goes to pytest: `probe ... -- -m ""`. A probe runs the suite once, with a call of `hit` before the
line of each fault, and so learns which tests reach it; only these, and then the others of their files, run once the
fault is planted. A failure counts if the test fails again when only the failed tests are repeated; so does a
run that takes far too long. Nothing is written in a checkout: copies in --scratch are changed.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict
from itertools import accumulate
from pathlib import Path
from typing import Any

from benchmarks.faults import plugin
from benchmarks.faults.lines import PLUGIN, Fault, draw, locate, planted
from benchmarks.faults.plugin import LOG, SELECTION

PATIENCE = 240.0
"""Seconds that tests may take beside twice what they took without a fault."""
FIRST = 40
"""How many tests, the shortest ones, run with each fault by itself."""
FIRST_SECONDS = 60.0
"""What they may take without a fault."""
PASSED = (0, 5)
"""Exit codes of pytest; 5: nothing was selected, because the tests have other names now."""
CACHES = ("__pycache__", ".*_cache", ".hypothesis", ".venv")


class Copy:
    """A copy of a checkout that may be changed."""

    def __init__(self, repo: Path, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self.repo, self.folder = folder / "repo", folder
        shutil.copytree(repo, self.repo, symlinks=True, ignore=shutil.ignore_patterns(*CACHES))
        shutil.copy(plugin.__file__, self.repo / f"{PLUGIN}.py")
        self.log, self.selection, self.output = folder / "log", folder / "selection", folder / "output"
        (folder / "home").mkdir()

    def run(self, arguments: list[str], tests: list[str] | None, limit: float | None) -> tuple[int | None, list[Any]]:
        """Run tests, all of them if None: the exit code, None if they took too long, and what the plugin noted."""
        shutil.rmtree(self.folder / "tmp", ignore_errors=True)
        shutil.rmtree(self.repo / ".hypothesis", ignore_errors=True)
        (self.folder / "tmp").mkdir()
        self.log.write_text("")
        environment = os.environ | {
            "PYTHONPATH": str(self.repo), LOG: str(self.log),
            "HOME": str(self.folder / "home"), "TMPDIR": str(self.folder / "tmp"),
        }  # fmt: skip
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        command = [sys.executable, "-m", "pytest", "-p", PLUGIN, "-p", "no:cacheprovider", *arguments]
        if tests is not None:
            self.selection.write_text(json.dumps(tests))
            environment[SELECTION] = str(self.selection)
            command += sorted(set(map(file_of, tests)))
        with self.output.open("w") as output:
            process = subprocess.Popen(
                command, cwd=self.repo, env=environment, stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
            code = None
            with suppress(subprocess.TimeoutExpired):
                code = process.wait(limit)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.end_leftovers()
        events = self.log.read_text(errors="replace").splitlines()
        return code, [json.loads(event) for event in events if event.endswith("]")]

    @contextmanager
    def planted(self, faults: list[Fault], probe: bool = False) -> Iterator[None]:
        """Plant faults, or probes before them, and undo it."""
        texts = planted(self.repo, faults, probe)
        originals = {path: path.read_text() for path in texts}
        try:
            self._write(texts)
            yield
        finally:
            self._write(originals)

    def _write(self, texts: dict[Path, str]) -> None:
        for path, text in texts.items():
            path.write_text(text)
            for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
                compiled.unlink()  # it would be taken for that of the new text if both are of one second and size

    def end_leftovers(self) -> None:
        """End what the tests started in sessions of its own and left: it has this copy's log in its environment."""
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if f"{LOG}={self.log}\0".encode() in path.read_bytes():
                    os.kill(int(path.parent.name), signal.SIGKILL)


def reach(copy: Copy, faults: list[Fault], arguments: list[str]) -> dict[str, Any]:
    """Run the suite with probes: the seconds of its tests that pass, and which of them reach each fault."""
    with copy.planted(faults, probe=True):
        code, events = copy.run(["-n", "2", *arguments], None, None)
    seconds: dict[str, float] = {}
    failed: dict[str, str] = {}
    fixtures: dict[str, list[str]] = {}
    for kind, *values in events:
        if kind == "item":
            fixtures[values[0]] = values[1]
        elif kind == "report":
            test, outcome, duration, said = values
            seconds[test] = seconds.get(test, 0.0) + duration
            if outcome != "passed":
                failed[test] = f"{outcome}: {said}"
    passed = [test for test in seconds if test not in failed]
    reached: dict[int, set[str]] = {fault.id: set() for fault in faults}
    for _, fault, test, shared in (event for event in events if event[0] == "hit"):
        base, _, name = shared.partition("\t")
        reached[fault] |= {
            other
            for other in passed
            if other == test or not test or (shared and other.startswith(base) and name in fixtures[other])
        }  # without a test: where a module is imported, for all
    print(f"exit code {code}, {len(passed)} tests passed, others: {failed}")
    return {
        "seconds": {test: round(seconds[test], 3) for test in passed},
        "others": failed,
        "reached": {fault: sorted(tests) for fault, tests in reached.items()},
    }


def file_of(test: str) -> str:
    """Return a test's file."""
    return test.partition("::")[0]


def found_alone(
    copy: Copy, fault: Fault, tests: list[str], durations: dict[str, float], arguments: list[str]
) -> dict[str, object] | None:
    """Plant a fault and run tests until one fails twice: which failed, or None if all pass."""
    began, tests = time.monotonic(), by_file(tests, durations)

    def run(part: list[str], *more: str) -> tuple[int | None, dict[str, str]]:
        limit = PATIENCE + 2 * sum(durations[test] for test in part)
        code, events = copy.run(["-n", "0", *arguments, *more], part, limit)
        return code, {event[1]: event[4] for event in events if event[0] == "report" and event[2] == "failed"}

    with copy.planted([fault]):
        while tests:
            code, failed = run(tests, "-x")
            if code in PASSED:
                return None
            if code is None or run(list(failed) or tests)[0] not in PASSED:
                print(failed or copy.output.read_text(errors="replace")[-600:])
                how = "timed out" if code is None else "failed" if failed else f"exit code {code}"
                seconds = round(time.monotonic() - began, 1)
                return {"found": True, "how": how, "tests": sorted(failed), "seconds": seconds}
            tests = [test for test in tests if test not in failed] if failed else []
    return None


def together(
    copy: Copy, faults: list[Fault], tests: set[str], seconds: dict[str, float], arguments: list[str]
) -> set[str]:
    """Plant several faults at once and run tests: those that do not pass."""
    with copy.planted(faults):
        limit = PATIENCE + 2 * sum(seconds[test] for test in tests)
        _, events = copy.run(["-n", "2", *arguments], by_file(tests, seconds), limit)
    outcomes: dict[str, list[str]] = {test: [] for test in tests}
    for event in events:
        if event[0] == "report":
            outcomes[event[1]].append(event[2])
    return {test for test, said in outcomes.items() if len(said) < 2 or "failed" in said}


def by_file(tests: Iterable[str], seconds: dict[str, float]) -> list[str]:
    """Return tests in the order in which they are run: file by file, the shortest first, each in its own order."""
    files: dict[str, float] = {}
    for test in (tests := set(tests)):
        files[file_of(test)] = files.get(file_of(test), 0.0) + seconds[test]
    place = {test: number for number, test in enumerate(seconds)}
    return sorted(tests, key=lambda test: (files[file_of(test)], file_of(test), place[test]))


def find_all(
    copies: list[Copy], faults: list[Fault], reached: dict[str, Any], arguments: list[str], output: Path
) -> None:
    """Find out which faults the suite finds; faults that are in the output already are skipped.

    The shortest tests that reach a fault run with it planted by itself. Then all faults that they did not find are
    planted at once, and the other tests run that reach one of them or share a file with one that does. Tests that fail
    are repeated with each fault by itself.
    """
    rows = {row["id"]: row for row in map(json.loads, output.open())} if output.exists() else {}
    seconds, lock, free = reached["seconds"], threading.Lock(), queue.SimpleQueue[Copy]()
    for copy in copies:
        free.put(copy)

    def record(fault: Fault, **more: object) -> None:
        with lock:
            rows[fault.id] = asdict(fault) | {"reached": len(reached["reached"].get(str(fault.id), []))} | more
            output.write_text("".join(json.dumps(row) + "\n" for row in rows.values()))
            print(f"{fault.id}: {more['how']}", flush=True)

    def settle(fault: Fault, found: dict[str, object] | None) -> None:
        if found or not left[fault.id]:
            record(fault, **(found or {"found": False, "how": "passed"}))
            del left[fault.id]
        else:
            record(fault, found=False, how="undecided", left=left[fault.id])

    def shortest(fault: Fault) -> None:
        reaching = reached["reached"][str(fault.id)]
        part = sorted(left[fault.id], key=lambda test: (test not in reaching, seconds[test]))[:FIRST]
        ends = accumulate(seconds[test] for test in part)
        part = part[: max(1, sum(end <= FIRST_SECONDS for end in ends))]
        left[fault.id] = sorted(set(left[fault.id]).difference(part))
        copy = free.get()
        found = found_alone(copy, fault, part, seconds, arguments)
        free.put(copy)
        settle(fault, found)

    left = {number: row["left"] for number, row in rows.items() if "left" in row}
    new = [fault for fault in faults if fault.id not in rows]
    for fault in new:
        files = set(map(file_of, reached["reached"].get(str(fault.id), [])))
        if files:
            left[fault.id] = [test for test in seconds if file_of(test) in files]
        else:
            record(fault, found=False, how="not reached")
    with ThreadPoolExecutor(len(copies)) as pool:
        list(pool.map(shortest, (fault for fault in new if fault.id in left)))
        while undecided := [fault for fault in faults if fault.id in left]:
            tests = {test for fault in undecided for test in left[fault.id]}
            print(f"{len(undecided)} faults at once, {len(tests)} tests", flush=True)
            failed = together(copies[0], undecided, tests, seconds, arguments)
            for fault in undecided:
                left[fault.id] = [test for test in left[fault.id] if test in failed]
                settle(fault, None)
            list(pool.map(shortest, (fault for fault in undecided if fault.id in left)))


def report(before: Path, after: Path) -> None:
    """Print how many of the faults that both suites were tried on each found, and which only one of them found."""
    first, second = ({row["id"]: row for row in map(json.loads, path.open())} for path in (before, after))
    both = [number for number in first if number in second]
    print("| suite | faults | found | passed | not reached | undecided |\n|---|--:|--:|--:|--:|--:|")
    for name, rows in ((before.stem, first), (after.stem, second)):
        how = [rows[number]["how"] for number in both]
        found = sum(rows[number]["found"] for number in both)
        missed = " | ".join(str(how.count(reason)) for reason in ("passed", "not reached", "undecided"))
        print(f"| {name} | {len(both)} | {found} | {missed} |")
    for name, rows, others in ((before.stem, first, second), (after.stem, second, first)):
        for number in both:
            if rows[number]["found"] and not others[number]["found"]:
                row, other = rows[number], others[number]
                print(f"\nonly {name}: {number}: {row['file']}, {row['function']}, {row['kind']}: `{row['line']}`")
                print(f"  {row['how']}: {', '.join(row['tests'])}; the other suite: {other['how']}")


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("draw", "locate", "probe", "run"):
        command = commands.add_parser(name)
        command.add_argument("--repo", type=Path, required=True, help="a checkout, which is left as it is")
        command.add_argument("--output", type=Path, required=True)
        if name != "draw":
            command.add_argument("--faults", type=Path, required=True)
        if name in ("draw", "locate"):
            command.add_argument("--count", type=int, default={"draw": 70, "locate": 40}[name])
        if name in ("probe", "run"):
            command.add_argument("--scratch", type=Path, default=Path("/tmp/planted"), help="a folder for the copies")
            command.add_argument("arguments", nargs="*", help="after --: what pytest is to be told")
    commands.choices["draw"].add_argument("--seed", type=int, default=20)
    commands.choices["run"].add_argument("--reach", type=Path, required=True, help="what probe wrote")
    commands.choices["run"].add_argument("--jobs", type=int, default=2, help="faults at a time, each in a copy")
    command = commands.add_parser("report")
    command.add_argument("before", type=Path)
    command.add_argument("after", type=Path)
    given = parser.parse_args()
    if given.command == "report":
        report(given.before, given.after)
        return
    faults = [] if given.command == "draw" else [Fault(**entry) for entry in json.loads(given.faults.read_text())]
    repo = given.repo.resolve()
    if given.command in ("draw", "locate"):
        drawing = given.command == "draw"
        found = draw(repo, given.seed, given.count) if drawing else locate(faults, repo, given.count)
        given.output.write_text(json.dumps([asdict(fault) for fault in found], indent=1) + "\n")
    elif given.command == "probe":
        copy = Copy(repo, given.scratch.resolve() / "probe")
        given.output.write_text(json.dumps(reach(copy, faults, given.arguments), indent=1) + "\n")
    else:
        copies = [Copy(repo, given.scratch.resolve() / str(number)) for number in range(given.jobs)]
        find_all(copies, faults, json.loads(given.reach.read_text()), given.arguments, given.output)


if __name__ == "__main__":
    main()
