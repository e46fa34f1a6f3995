"""The batch scripts of examples/slurm without SLURM: what they run, what they do with its warning, when they end."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import LocalCluster

import evo
from tests.command import ROOT, environment, rows_of, wait_until

SLURM = ROOT / "examples" / "slurm"
EVO = """#!/bin/bash
echo "$@" >> calls
trap 'exit 75' USR1
trap 'exit 143' TERM
touch running
# No "$(seq 200)": a signal during a substitution makes bash misread the trap.
for ((i = 0; i < 200; i++)); do sleep 0.1; done
"""
SLEEP = '#!/bin/bash\n[ "$1" = 60 ] || exec /bin/sleep "$1"\n'
"""But for the minute in which SLURM ends a script that is queued again."""
RECORDS = '#!/bin/bash\necho "$@" >> scontrol-calls\n'


STARTED: list[subprocess.Popen[str]] = []


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Yield a folder with the examples, and commands that stand in for evo and SLURM's; end what is left of them."""
    for name in ("resumable.sh", "search.sbatch"):
        (tmp_path / name).write_text((SLURM / name).read_text())
    (tmp_path / "bin").mkdir()
    for name, text in (("evo", EVO), ("scontrol", RECORDS), ("sleep", SLEEP)):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    yield tmp_path
    for process in STARTED:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    STARTED.clear()


def start(folder: Path, until: str = "running") -> subprocess.Popen[str]:
    variables = os.environ | {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "SLURM_SUBMIT_DIR": str(folder),
        "SLURM_JOB_ID": "17",
    }
    process = subprocess.Popen(
        ["bash", "search.sbatch", "runs/mlp", "mlp", "--budget", "5"],
        cwd=folder, env=variables, text=True, stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    STARTED.append(process)
    wait_until(lambda: (folder / until).exists(), seconds=30)
    return process


def end(process: subprocess.Popen[str]) -> int:
    """Wait for the script as long as it needs for its own work; return its exit code, or 0 where it goes on."""
    try:
        return process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        return 0


def test_slurms_warning_stops_the_search_and_queues_the_job_again(folder: Path) -> None:
    process = start(folder)
    process.send_signal(signal.SIGUSR1)
    wait_until(lambda: (folder / "scontrol-calls").exists(), seconds=30)
    end(process)
    assert (folder / "calls").read_text() == "search mlp --budget 5 --output runs/mlp\n"
    assert (folder / "scontrol-calls").read_text() == "requeue 17\n"


DEAF = """#!/bin/bash
echo "$@" >> calls
trap '' TERM
trap 'stop=1' USR1
touch running # only now, for a signal that comes before the traps would end it
while [ -z "$stop" ]; do sleep 0.1; done
touch saving
for ((i = 0; i < 20; i++)); do sleep 0.1; done
exit 75
"""


def test_a_second_signal_does_not_end_the_job_while_the_search_saves_its_state(folder: Path) -> None:
    (folder / "bin" / "evo").write_text(DEAF)
    process = start(folder)
    process.send_signal(signal.SIGUSR1)
    wait_until(lambda: (folder / "saving").exists(), seconds=30)
    process.send_signal(signal.SIGUSR1)
    process.send_signal(signal.SIGTERM)
    wait_until(lambda: (folder / "scontrol-calls").exists(), seconds=30)
    end(process)


def test_a_signal_while_the_job_is_queued_again_does_not_stop_that(folder: Path) -> None:
    (folder / "bin" / "scontrol").write_text('#!/bin/bash\ntouch queueing\nsleep 1\necho "$@" >> scontrol-calls\n')
    process = start(folder)
    process.send_signal(signal.SIGUSR1)
    wait_until(lambda: (folder / "queueing").exists(), seconds=30)
    process.send_signal(signal.SIGUSR1)
    wait_until(lambda: (folder / "scontrol-calls").exists(), seconds=30)
    end(process)
    assert (folder / "scontrol-calls").read_text() == "requeue 17\n"


def test_a_warning_before_the_search_can_hear_it_queues_the_job_again(folder: Path) -> None:
    # As Python while it starts: nothing listens to the signal, which ends it.
    (folder / "bin" / "evo").write_text("#!/bin/bash\ntouch running\nfor ((i = 0; i < 200; i++)); do sleep 0.1; done\n")
    process = start(folder)
    process.send_signal(signal.SIGUSR1)
    wait_until(lambda: (folder / "scontrol-calls").exists(), seconds=30)
    end(process)


def test_a_warning_before_there_is_a_search_is_passed_on_to_it(folder: Path) -> None:
    script = (folder / "resumable.sh").read_text()
    early = script.replace('    "$@" &\n', '    touch ready; sleep 1\n    "$@" &\n    wait_for_it\n')
    assert early != script
    early += "\nwait_for_it() { while [ ! -e running ]; do sleep 0.1; done; }\n"
    (folder / "resumable.sh").write_text(early)
    process = start(folder, until="ready")
    process.send_signal(signal.SIGUSR1)
    wait_until(lambda: (folder / "scontrol-calls").exists(), seconds=30)
    end(process)
    assert (folder / "calls").read_text() == "search mlp --budget 5 --output runs/mlp\n"


def test_a_run_that_is_there_is_resumed(folder: Path) -> None:
    (folder / "runs" / "mlp").mkdir(parents=True)
    (folder / "runs" / "mlp" / "journal.jsonl").touch()
    process = start(folder)
    process.send_signal(signal.SIGTERM)
    assert end(process) == 143
    assert (folder / "calls").read_text() == "resume runs/mlp\n"
    assert not (folder / "scontrol-calls").exists(), "a job that was cancelled must not come back"


def test_a_search_that_ends_ends_the_job_with_its_exit_code(folder: Path) -> None:
    (folder / "bin" / "evo").write_text("#!/bin/bash\ntouch running\nexit 2\n")
    assert end(start(folder)) == 2
    assert not (folder / "scontrol-calls").exists()


@pytest.mark.parametrize("script", ["resumable.sh", "search.sbatch", "search_on_jobs.sbatch"])
def test_the_scripts_are_bash(script: str) -> None:
    checked = subprocess.run(["bash", "-n", SLURM / script], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_a_worker_job_trains_one_network_at_a_time_over_an_encrypted_line(tmp_path: Path) -> None:
    program = f"""
import sys
sys.path.insert(0, {str(SLURM)!r})
from dask_jobqueue import SLURMCluster
from search_on_jobs import JOB
with SLURMCluster(
    **{{**JOB, "interface": "lo"}}, security=True, shared_temp_directory={str(tmp_path)!r}, n_workers=0,
    scheduler_options={{"dashboard_address": "127.0.0.1:0"}},
) as cluster:
    print(cluster.job_script())
"""
    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment(), cwd=tmp_path, check=False
    )
    assert printed.returncode == 0, printed.stderr
    for words in ("--nthreads 1", "--lifetime 55m", "tls://127.0.0.1", "#SBATCH -t 01:00:00"):
        assert words in printed.stdout


class LocalJobs(LocalCluster):  # type: ignore[misc]  # distributed has no types
    """Workers in this process instead of SLURM's jobs."""

    def __init__(self, *, security: bool, cores: int, scheduler_options: dict[str, str], **of_slurm: Any):
        assert Path(of_slurm["shared_temp_directory"]).stat().st_mode & 0o777 == 0o700
        super().__init__(
            n_workers=0, threads_per_worker=cores, processes=False, security=security, memory_limit=0,
            worker_dashboard_address="127.0.0.1:0", silence_logs=60, **scheduler_options,
        )  # fmt: skip

    def adapt(self, *, minimum_jobs: int, maximum_jobs: int) -> None:
        """Start them."""
        assert minimum_jobs == maximum_jobs
        self.scale(minimum_jobs)


def test_the_search_on_jobs_stops_at_slurms_warning_and_resumes_in_the_next_job(
    tiny_space: Path,
    tmp_path: Path,
    in_process: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.syspath_prepend(SLURM)
    example = importlib.import_module("search_on_jobs")
    search = {"space": tiny_space, "strategy": "ageing", "pending": 2, "population": 3, "budget": 6, "finalists": 0}
    warned = []

    class Log(example.Log):  # type: ignore[misc, name-defined]
        def evaluated(self, *evaluated: Any) -> None:
            super().evaluated(*evaluated)
            if not warned:
                warned.append(True)
                os.kill(os.getpid(), signal.SIGUSR1)

    (tmp_path / ".evo-slurm").mkdir(mode=0o755)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(example, "SLURMCluster", LocalJobs)
    monkeypatch.setattr(example, "SEARCH", search)
    monkeypatch.setattr(example, "Log", Log)
    monkeypatch.setattr(sys, "argv", ["search_on_jobs.py", str(tmp_path / "run"), "--jobs", "2"])
    assert example.main() == 75
    assert "stopped: asked to stop (SIGUSR1)" in capsys.readouterr().out
    assert example.main() == 0
    evo.search(**search, output=tmp_path / "whole")
    assert rows_of(tmp_path / "run" / "evaluations.csv") == rows_of(tmp_path / "whole" / "evaluations.csv")
