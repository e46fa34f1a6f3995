"""What the figures share: their look (colours, fonts, axes), and how they are written: as PNG, as SVG, for a page."""

from __future__ import annotations

import base64
import contextlib
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from evo.errors import StorageError
from evo.files import own_folder, replacing
from evo.reports.features import Floats

# Okabe and Ito's palette for the colour-blind (2008), with line styles that tell curves apart in grey.
BLUE, ORANGE, GREEN, SKY = "#0072B2", "#D55E00", "#009E73", "#56B4E9"
COLOURS = (BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", SKY, "#000000", "#F0E442")
STYLES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
GREY = "#808080"
WIDTH = 7.5
"""Width of a figure in inches, about as a page shows it."""
FEW, MANY = 60, 400
"""Up to `FEW` marks are drawn large. More than `MANY` become pixels in the SVG, whose size would grow with each."""

INDIVIDUAL = "individual (number of the proposal)"
INK, PAPER, HALO = "#26262a", "#fffffe", "#fefefe"
"""Text and axes; the background; what lies behind text on lines. Nothing else in a figure has these colours, so a page
can replace them."""
SEQUENCE = LinearSegmentedColormap.from_list("evo", ["#2463b4", "#8d6fa8", "#ee8a1c"])
"""Low to high, from blue to orange: readable with any colour blindness, on white, on black and in grey."""

LOOK: Any = {
    "figure.constrained_layout.use": True,
    **dict.fromkeys(("font.size", "axes.titlesize"), 11),
    **dict.fromkeys(("legend.fontsize", "xtick.labelsize", "ytick.labelsize"), 10),
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "axes.titlecolor"), INK),
    **dict.fromkeys(("xtick.color", "ytick.color", "legend.labelcolor"), INK),
    **dict.fromkeys(("figure.facecolor", "savefig.facecolor"), PAPER),
    "axes.facecolor": "none",
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon"), False),
    **dict.fromkeys(("axes.grid", "axes.axisbelow"), True),
    "grid.color": GREY,
    "grid.alpha": 0.2,
    "text.parse_math": False,  # names of genes may hold a dollar sign
    "svg.hashsalt": "evo",  # the same figure gives the same file
}
_THEMES = f"svg{{color:{INK};--halo:#fff}}@media(prefers-color-scheme:dark){{svg{{color:#e4e4e7;--halo:#16171a}}}}"
_THEMED = {
    f"fill: {PAPER}": "fill: none",
    f"fill: {HALO}": "fill: var(--halo)",
    f"stroke: {HALO}": "stroke: var(--halo)",
    f": {INK}": ": currentColor",
    ": #000000": ": currentColor",
}


@contextlib.contextmanager
def _own_look() -> Iterator[None]:
    # Matplotlib tries ticks beyond the largest float, and leaves them out.
    with matplotlib.rc_context(), np.errstate(over="ignore", invalid="ignore"):
        matplotlib.rcdefaults()  # a user's matplotlibrc may ask for TeX, other fonts or another layout
        matplotlib.rcParams.update(LOOK)
        yield


styled = _own_look()
"""Lets a function draw in the look of the reports, and leaves matplotlib's settings as they were."""


def new_figure(
    height: float, rows: int = 1, columns: int = 1, *, width: float = WIDTH, **options: Any
) -> tuple[Figure, list[Axes]]:
    """Return a figure of so many inches and its axes, row by row; options are those of `Figure.subplots`."""
    figure = Figure(figsize=(width, height))
    return figure, list(figure.subplots(rows, columns, squeeze=False, **options).flat)


def new_grid(
    count: int, columns: int, height: float, *, room: float = 0.0, width: float, **options: Any
) -> tuple[Figure, list[Axes]]:
    """Return a figure with so many panels; `columns`: the most in a row; `height`: of each row; `room`: above that."""
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    figure, grid = new_figure(height * rows + room, rows, columns, width=width, **options)
    for axes in grid[count:]:
        axes.set_axis_off()
    return figure, grid[:count]


def look_of(place: int) -> dict[str, Any]:
    """Return colour, line style and marker of the line at a place, as matplotlib's arguments."""
    looks = {"color": COLOURS, "linestyle": STYLES, "marker": MARKERS}
    return {name: choices[place % len(choices)] for name, choices in looks.items()}


def fitness_limits(fitness: Floats, sign: float = 1.0) -> tuple[float, float]:
    """Return the ends of a fitness axis; a few values far worse than the others do not stretch it.

    Args:
        fitness: What is shown; nan where it failed.
        sign: -1 where a lower fitness is better.
    """
    if sign < 0:
        low, high = fitness_limits(-fitness)
        return -high, -low
    finite = fitness[np.isfinite(fitness)]
    if not len(finite):
        return 0.0, 1.0
    high, low = float(finite.max()), float(finite.min())
    quarter = float(np.quantile(finite, 0.25))
    if high - low > 8 * max(high - quarter, 1e-300):
        low = max(low, high - 4 * (high - quarter))
    # The difference of Python's largest floats is not finite.
    room = 0.08 * (high - low) if np.isfinite(high - low) and high > low else max(0.05 * abs(high), 1e-6)
    return low - room, high + room


def fitness_scale(fitness: Floats, sign: float = 1.0) -> Normalize:
    """Return the scale of colours for fitness; the worst tenth shares one colour, so that the others differ.

    Args:
        fitness: What is shown; nan where it failed.
        sign: -1 where a lower fitness is better; see `sequence`.
    """
    finite = sign * fitness[np.isfinite(fitness)]
    low, high = (float(np.quantile(finite, 0.1)), float(finite.max())) if len(finite) else (0.0, 1.0)
    lowest, highest = sorted((sign * low, sign * (high if high > low else low + 1e-9)))
    return Normalize(lowest, highest, clip=True)


def sequence(sign: float) -> Colormap:
    """Return the colours of fitness, in which the best is orange: the highest or, with sign -1, the lowest."""
    return SEQUENCE if sign > 0 else SEQUENCE.reversed()


def colour_bar(
    figure: Figure,
    axes: Sequence[Axes],
    label: str,
    scale: Normalize,
    shown: npt.NDArray[Any],
    colours: Colormap = SEQUENCE,
) -> None:
    """Draw the scale of colours beside axes; its end is pointed where some of what is shown is beyond it."""
    beyond: dict[Literal["min", "max"], bool] = {
        "min": scale.vmin is not None and bool((shown < scale.vmin).any()),
        "max": scale.vmax is not None and bool((shown > scale.vmax).any()),
    }
    extend: Literal["min", "max", "neither"] = next((end for end, some in beyond.items() if some), "neither")
    mappable = ScalarMappable(scale, colours)
    bar = figure.colorbar(mappable, ax=list(axes), label=label, fraction=0.03, pad=0.02, aspect=30, extend=extend)
    bar.locator = MaxNLocator(5, integer=shown.dtype.kind == "i")
    bar.update_ticks()
    bar.outline.set_visible(False)


def count_axis(axes: Axes, label: str, ticks: int = 10, **others: Any) -> None:
    """Label a horizontal axis with whole numbers, few enough not to overlap; the others are settings of the axes."""
    axes.set(xlabel=label, **others)
    axes.xaxis.set_major_locator(MaxNLocator(ticks, integer=True))


def plain_log_axis(axes: Axes, which: Literal["x", "y"]) -> None:
    """Make an axis logarithmic, with plain numbers as labels, few enough not to overlap."""
    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axis.get_view_interval()
    decades = math.log10(high) - math.log10(low)
    steps = (1, 2, 5) if decades < 1.5 else (1, 3) if decades < 2.5 else (1,)
    axis.set_major_locator(MaxNLocator(4) if decades < 0.8 else LogLocator(subs=steps, numticks=4))
    axis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))
    axis.set_minor_locator(NullLocator())  # minor ticks would take most of the drawing time


def short_number(value: float) -> str:
    """Return a number for a tick: 0.01, 300, 1e-4; nothing for one behind the largest float."""
    if math.isinf(value):
        return ""
    return f"{value:g}" if 1e-3 <= abs(value) < 1e5 or value == 0 else scientific(value)


def scientific(value: float) -> str:
    """Return a number as the 2019 report writes rates: 1.68e-4."""
    mantissa, _, exponent = f"{value:.2e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def shortened(text: str, length: int = 22) -> str:
    """Return a text that is no longer than a label may be."""
    return text if len(text) <= length else text[: length - 1] + "…"


def svg_for_page(svg: str) -> str:
    """Return an SVG in base64 without a background, whose text is light where the page is dark."""
    start = svg.index(">", svg.index("<svg")) + 1
    themed = svg[:start] + f"<style>{_THEMES}</style>" + svg[start:]
    for old, new in _THEMED.items():
        themed = themed.replace(old, new)
    return base64.b64encode(themed.encode()).decode("ascii")


@styled
def save_figure(figure: Figure, path: Path) -> str:
    """Write a figure as PNG and as SVG, each atomically; return the SVG.

    Args:
        figure: What to write.
        path: Where to, without the ending; its folder is made.

    Raises:
        RunError: The folder is a link: the report of a run from anywhere stays in its folder.
        StorageError: It cannot be written.
    """
    folder = own_folder(path.parent)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be made: {error.strerror or error}; it must be a folder") from None
    # The canvases themselves: `savefig` draws everything twice.
    with replacing(path.with_name(f"{path.name}.png"), durable=False) as temporary:
        figure.set_dpi(150)
        png: Any = FigureCanvasAgg(figure)
        png.print_png(temporary)
    figure.set_layout_engine("none")  # the layout is known: the second format need not search for it again
    figure.set_dpi(110)  # of the parts that are pixels because they have very many marks
    buffer = io.StringIO()
    canvas: Any = FigureCanvasSVG(figure)
    canvas.print_svg(buffer, metadata={"Date": None})
    with replacing(path.with_name(f"{path.name}.svg"), durable=False) as temporary:
        temporary.write_text(buffer.getvalue(), encoding="utf-8", newline="")
    return buffer.getvalue()
