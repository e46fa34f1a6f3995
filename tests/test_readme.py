"""Every command and every example of the README is run, with smaller numbers and on small images."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import ROOT, environment, run_command
from tests.images import write_images

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)


def commands() -> list[str]:
    return [line for kind, text in BLOCKS if kind == "bash" for line in text.splitlines() if line.startswith("evo ")]


def smaller(command: str, images: Path) -> list[str]:
    """Return the arguments of a README command with a small budget, on small images."""
    words = shlex.split(command)[1:]
    words = [str(images) if word == "~/cifar10" else word for word in words]
    for place, word in enumerate(words[:-1]):
        if word == "--budget":
            words[place + 1] = str(max(3, int(words[place + 1]) // 25))
    if "--config" in words:
        words += ["--steps", "50"]
    if words[0] == "replay" and "--seeds" in words:
        words[words.index("--seeds") + 1] = "1"
    if words[0] == "search":
        words += ["--finalists", "1" if "results/mine" in words else "0"]
    if words[0] == "table1":
        # The rows of the report are too large for a test; that they train is another's.
        words = [
            *(word for word in words if word != "--figures"),
            *([] if "--rows" in words else ["--rows", "Default"]),
        ]
    if words[0] in ("search", "resume", "demo", "table1", "train"):
        words += ["--workers", "1"]
    if "report2019" in words:
        words += ["--time-budget", "1s", "--no-finish"]
    return words


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    write_images(folder)
    return folder


@pytest.mark.slow
def test_every_command_does_what_the_readme_says(tmp_path: Path, images: Path) -> None:
    for kind, text in BLOCKS:
        name = re.match(r"# (\S+\.(?:toml|py))\n", text)
        if kind in ("toml", "python") and name:
            (tmp_path / name[1]).write_text(text)
    assert len(commands()) >= 12
    for line in re.findall(r"^python (\w+\.py)$", README, flags=re.MULTILINE):
        subprocess.run([sys.executable, line], cwd=tmp_path, env=environment(), check=True)
    for command in commands():
        words = smaller(command, images)
        finished = run_command(*words, cwd=tmp_path)
        assert finished.returncode == (75 if "--time-budget" in words else 0), f"{command}\n{finished.stderr}"
    assert (tmp_path / "best.csv").read_text().startswith("run,individual,hidden_layers,")
    assert "<html" in (tmp_path / "results" / "mlp" / "report.html").read_text()


def test_the_python_examples_run(tmp_path: Path) -> None:
    examples = [text for kind, text in BLOCKS if kind == "python" and "evo.search" in text]
    assert examples
    for example in examples:
        finished = subprocess.run(
            [sys.executable, "-c", example],
            capture_output=True,
            text=True,
            env=environment(),
            cwd=tmp_path,
            check=False,
        )
        assert finished.returncode == 0, finished.stderr
        assert finished.stdout.startswith("{"), "the best configuration"


def test_ci_installs_and_tests_as_the_readme_says() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    bash = "".join(text for kind, text in BLOCKS if kind == "bash")
    assert "pip install '.[dev]'" in bash
    assert "pip install --quiet '.[dev]'" in script
    assert "python -m pytest" in bash
    assert "\npython -m pytest\n" in script


LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)|src=\"([^\":]+)\"")
PAGES = [
    *ROOT.glob("*.md"),
    *(page for folder in ("docs", "benchmarks", "tests", "examples") for page in (ROOT / folder).rglob("*.md")),
    *(ROOT / "results" / name for name in ("README.md", "table1/README.md")),
]
"""The pages that belong to the project; a run of the user's in results/ does not."""


def links_of(page: Path) -> list[str]:
    """Return the relative links of a page, those in code left out."""
    text = re.sub(r"^```.*?^```$|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return [first or second for first, second in LINK.findall(text)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_to_files(page: Path) -> None:
    assert [link for link in links_of(page) if not (page.parent / link).exists()] == []


def test_links_are_found(tmp_path: Path) -> None:
    assert len(links_of(ROOT / "README.md")) > 10
    page = tmp_path / "page.md"
    page.write_text("[a](b.md#c), ![d](e/f.png) [g](https://h.i/j) [k](#l)\n```python\n[m](n)\n```\n`[o](p)`")
    assert links_of(page) == ["b.md", "e/f.png"]
