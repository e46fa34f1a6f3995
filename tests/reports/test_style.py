"""The figures of a report depend on the run alone, not on the settings of the user's matplotlib."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.command import PATIENCE_SECONDS, ROOT, environment

HOSTILE = """
text.usetex: True
font.family: no such font
font.size: 31
figure.autolayout: True
figure.dpi: 20
savefig.bbox: tight
savefig.format: pdf
svg.fonttype: none
path.sketch: 1, 100, 2
axes.prop_cycle: cycler('color', ['red'])
axes.formatter.use_locale: True
axes.xmargin: 0.9
image.cmap: jet
legend.loc: center
lines.linewidth: 9
"""


def figures_under(folder: Path, settings: str) -> dict[str, bytes]:
    """Return the figures of a kept run, drawn by a process whose matplotlibrc has these settings."""
    folder.mkdir()
    (folder / "matplotlibrc").write_text(settings)
    finished = subprocess.run(
        [sys.executable, "-m", "evo", "report", str(ROOT / "tests/releases/format-1/ga"), "-o", str(folder / "report")],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        env=environment() | {"MATPLOTLIBRC": str(folder / "matplotlibrc"), "MPLBACKEND": "no such backend"},
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return {path.name: path.read_bytes() for path in (folder / "report" / "figures").iterdir()}


def test_a_matplotlibrc_changes_no_figure(tmp_path: Path) -> None:
    plain, hostile = figures_under(tmp_path / "plain", ""), figures_under(tmp_path / "hostile", HOSTILE)
    assert len(plain) > 4
    assert hostile == plain
