"""How every figure looks: colours, fonts and axes; and figures as PNG, as SVG and for a page."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from evo.errors import RunError, StorageError
from evo.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

# Okabe and Ito's palette for the colour-blind (2008), with line styles that tell curves apart in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
STYLES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
GREY = "#808080"
DOTS_PER_INCH = 150
PIXELS_IN_SVG = 110
"""Dots per inch of those parts of an SVG that are pixels, because they have very many marks."""
WIDTH = 7.5
"""Inches of a figure; a page shows it about as wide."""
MANY = 400
"""Marks of a figure from which on they are pixels in its SVG, too: the file would grow with every one."""

INK, PAPER, HALO = "#26262a", "#fffffe", "#fefefe"
"""Text and axes, the background, and what lies behind text on lines: nothing else in a figure has these colours, so
that a page can exchange them."""
SEQUENCE = LinearSegmentedColormap.from_list("evo", ["#2463b4", "#8d6fa8", "#ee8a1c"])
"""Low to high, from blue to orange: seen with every kind of colour blindness, on white and on black, and in grey."""

LOOK: Any = {
    "font.size": 11,
    "axes.titlesize": 11,
    "legend.fontsize": 10,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.titlecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.facecolor": PAPER,
    "axes.facecolor": "none",
    "savefig.facecolor": PAPER,
    "legend.labelcolor": INK,
    "text.parse_math": False,  # names of genes may hold a dollar sign
    "svg.hashsalt": "evo",  # the same figure is the same file
}
_THEMES = f"svg{{color:{INK};--halo:#fff}}@media(prefers-color-scheme:dark){{svg{{color:#e4e4e7;--halo:#16171a}}}}"


def styled(draw: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Let a function draw in the look of the reports, and leave matplotlib's settings as they were."""

    @wraps(draw)
    def drawn(*arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
        with matplotlib.rc_context(LOOK):
            return draw(*arguments, **named)

    return drawn


def plain(axes: Axes) -> None:
    """Leave out what carries no data: the frame above and on the right; the grid is faint."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=GREY, alpha=0.2)
    axes.set_axisbelow(True)


def plain_log_axis(axes: Axes, which: Literal["x", "y"]) -> None:
    """Make an axis logarithmic, labelled with plain numbers, few enough not to run into each other."""
    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axis.get_view_interval()
    decades = math.log10(high / low)
    if decades < 0.8:
        axis.set_major_locator(MaxNLocator(4))
    else:
        axis.set_major_locator(
            LogLocator(subs=(1, 2, 5) if decades < 1.5 else (1, 3) if decades < 2.5 else (1,), numticks=4)
        )
    axis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))
    axis.set_minor_locator(NullLocator())  # they would take most of the time of drawing


def short_number(value: float) -> str:
    """Return a number for a tick: 0.01, 300, 1e-4."""
    if 1e-3 <= abs(value) < 1e5 or value == 0:
        return f"{value:g}"
    mantissa, _, exponent = f"{value:.2e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def shortened(text: str, length: int = 22) -> str:
    """Return a text that is no longer than a label may be."""
    return text if len(text) <= length else text[: length - 1] + "…"


@styled
def svg_text(figure: Figure) -> str:
    """Return a figure as SVG, the same for the same figure."""
    buffer = io.StringIO()
    # The canvas itself: `savefig` draws everything twice.
    figure.set_dpi(PIXELS_IN_SVG)
    canvas: Any = FigureCanvasSVG(figure)
    canvas.print_svg(buffer, metadata={"Date": None})
    return buffer.getvalue()


def svg_for_page(svg: str) -> str:
    """Return an SVG in base64 that has no background, and whose text is light where the page is dark."""
    start = svg.index(">", svg.index("<svg")) + 1
    themed = svg[:start] + f"<style>{_THEMES}</style>" + svg[start:]
    themed = themed.replace(f"fill: {PAPER}", "fill: none").replace(f"fill: {HALO}", "fill: var(--halo)")
    themed = themed.replace(f"stroke: {HALO}", "stroke: var(--halo)").replace(f": {INK}", ": currentColor")
    themed = themed.replace(": #000000", ": currentColor")
    return base64.b64encode(themed.encode()).decode("ascii")


@styled
def png_text(figure: Figure) -> str:
    """Return a figure as PNG in base64, for a page that needs no other file."""
    buffer = io.BytesIO()
    _draw_png(figure, buffer)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def make_figures_folder(folder: Path) -> None:
    """Make the folder `figures` in that of a report.

    Raises:
        StorageError: It cannot be made.
    """
    try:
        (folder / "figures").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"{folder / 'figures'}: cannot be made: {error.strerror or error}; what is there must be a folder or go"
        ) from None


@styled
def save_figure(figure: Figure, path: Path) -> str:
    """Write a figure as PNG and as SVG, each atomically.

    Args:
        figure: What to write.
        path: Where to, without the ending.

    Returns:
        The SVG.

    Raises:
        RunError: The folder is a link: a run's report stays in its folder, whoever made it.
        StorageError: It cannot be written.
    """
    if path.parent.is_symlink():
        raise RunError(f"{path.parent}: is a link, and figures are written into a run's own folder; remove the link")
    with replacing(path.with_name(f"{path.name}.png"), durable=False) as temporary:
        _draw_png(figure, temporary)
    figure.set_layout_engine("none")  # the layout is found: the second format needs no second search for it
    svg = svg_text(figure)
    with replacing(path.with_name(f"{path.name}.svg"), durable=False) as temporary:
        temporary.write_text(svg, encoding="utf-8", newline="")
    return svg


def _draw_png(figure: Figure, where: Any) -> None:
    figure.set_dpi(DOTS_PER_INCH)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.print_png(where)
