"""Make the picture of a report that the README shows: report.png, a screenshot of some of its sections.

    evo search docs/pictures/report_space.toml --data-dir ~/cifar10 --budget 60 --population 10 --seed 3 --output run
    evo report run
    python docs/pictures/report_picture.py run

It needs Chromium. The folder of the data is shown as ~/cifar10, wherever it was.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTH, HEIGHT = 1560, 1740
SHOWN_WIDTH = 1170
SECTIONS = ("Summary", "Progress", "Genes", "Importance of the genes", "Where the winner comes from")
STYLE = """
body { max-width: none; } main { columns: 2; column-gap: 2.5rem; }
h1, nav, dl.facts:last-child, figcaption, .scroll:has(table), section > p { display: none; }
section, figure { break-inside: avoid; } section:first-of-type h2 { margin-top: 0; }
"""
"""Two columns of figures, without tables and words."""
COLOURS = 200
OUTPUT = Path(__file__).with_name("report.png")


def main(run: Path) -> None:
    """Photograph the report in a run's folder."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit(f"needs one of {', '.join(BROWSERS)}")
    settings = json.loads((run / "settings.json").read_text(encoding="utf-8"))
    page = (run / "report.html").read_text(encoding="utf-8")
    page = page.replace((settings["dataset"] or {}).get("data_dir") or "~/cifar10", "~/cifar10")
    anchors = {heading: anchor for anchor, heading in re.findall(r'<h2 id="([^"]+)">(.*?)</h2>', page)}
    others = [f"section:has(#{anchor})" for heading, anchor in anchors.items() if heading not in SECTIONS]
    hidden = ",".join([*others, f"section:has(#{anchors['Genes']}) figure + figure"])
    page = re.sub("<meta http-equiv[^>]*>", "", page)  # it forbids any style but the page's own
    page = page.replace("</head>", f"<style>{STYLE}{hidden}{{display:none}}</style></head>")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "report.html").write_text(page, encoding="utf-8")
        shot = Path(folder) / "shot.png"
        options = ["--headless", "--no-sandbox", "--hide-scrollbars", f"--user-data-dir={folder}/profile"]
        size = f"--window-size={WIDTH},{HEIGHT}"
        command = [browser, *options, size, f"--screenshot={shot}", (Path(folder) / "report.html").as_uri()]
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603  # a browser, on a page of our own
        large = Image.open(shot).convert("RGB")
    small = large.resize((SHOWN_WIDTH, round(HEIGHT * SHOWN_WIDTH / WIDTH)), Image.Resampling.LANCZOS)
    small.quantize(COLOURS, dither=Image.Dither.NONE).save(OUTPUT, optimize=True)
    print(OUTPUT, OUTPUT.stat().st_size, "bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
