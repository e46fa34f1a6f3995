"""The batch scripts of examples/slurm without SLURM: what they run, what they do with its warning, when they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import ROOT, environment, wait_until

SLURM = ROOT / "examples" / "slurm"
EVO = """#!/bin/bash
echo "$@" >> calls
trap 'exit 75' USR1
trap 'exit 143' TERM
touch running
for _ in $(seq 200); do sleep 0.1; done
"""
RECORDS = '#!/bin/bash\necho "$@" >> scontrol-calls\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the examples, and with commands that stand in for evo and SLURM's."""
    for name in ("resumable.sh", "search.sbatch"):
        (tmp_path / name).write_text((SLURM / name).read_text())
    (tmp_path / "bin").mkdir()
    for name, text in (("evo", EVO), ("scontrol", RECORDS), ("sleep", '#!/bin/bash\nexec /bin/sleep "$1"\n')):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    return tmp_path


def start(folder: Path) -> subprocess.Popen[str]:
    variables = os.environ | {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "SLURM_SUBMIT_DIR": str(folder),
        "SLURM_JOB_ID": "17",
    }
    process = subprocess.Popen(
        ["bash", "search.sbatch", "runs/mlp", "mlp", "--budget", "5"],
        cwd=folder, env=variables, text=True, stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    wait_until(lambda: (folder / "running").exists(), seconds=30)
    return process


def end(process: subprocess.Popen[str]) -> int:
    """Wait for the script as long as it needs for its own work, and end what it leaves."""
    try:
        return process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        return 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_slurms_warning_stops_the_search_and_queues_the_job_again(folder: Path) -> None:
    process = start(folder)
    process.send_signal(signal.SIGUSR1)
    wait_until(lambda: (folder / "scontrol-calls").exists(), seconds=30)
    end(process)
    assert (folder / "calls").read_text() == "search mlp --budget 5 --output runs/mlp\n"
    assert (folder / "scontrol-calls").read_text() == "requeue 17\n"


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
