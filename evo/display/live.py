"""The live table of a run on a terminal, and one line per evaluation elsewhere."""

from __future__ import annotations

import math
import sys
import textwrap
import threading
import time
from collections.abc import Iterator

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.control import Control
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.segment import ControlType, Segment, SegmentLines
from rich.table import Column, Table
from rich.text import Text

from evo.display import progress as texts
from evo.display.progress import Progress, duration, seconds_text, size_text, stage_of, title_of
from evo.evaluation import Evaluation
from evo.evaluators.base import Report
from evo.loop.search_loop import Stage
from evo.numbers import number_text
from evo.plain_text import made_plain
from evo.record.run import Run
from evo.record.settings import LISTED

REFRESHES_PER_SECOND = 2
FRAMED_FROM = 60
"""From this many columns, the table has a frame and shows the genomes of the last evaluations."""
WIDEST = 120
FACT_WIDTH = 34
"""Columns for a label with its value."""
GENOME_LINES = 3


class LiveTable:
    """Shows a run's progress within the size of the terminal; leaves out what does not fit.

    Args:
        progress: The numbers.
        status: A note about the run, such as whether it is being written; may be empty.
    """

    def __init__(self, progress: Progress, status: str = ""):
        self.progress, self.status = progress, status
        self.lock = threading.Lock()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        framed = options.max_width >= FRAMED_FROM
        outer = min(options.max_width, WIDEST)
        width = outer - 4 if framed else outer
        # One line stays free for the cursor.
        height = options.size.height - 1 - (2 if framed else 0)
        with self.lock:
            content = Group(*self._parts(width, height))
        title = Text(texts.printable(title_of(self.progress.run)), overflow="ellipsis", no_wrap=True)
        if framed:
            yield Panel(content, title=title, title_align="left", box=box.ROUNDED, width=outer, border_style="dim")
        else:
            yield content

    def _parts(self, width: int, height: int) -> Iterator[RenderableType]:
        facts = facts_of(self.progress, time.time())
        columns = max(1, width // FACT_WIDTH)
        status = textwrap.wrap(self.status, width)
        taken = 1 + math.ceil(len(facts) / columns) + len(status)
        best = best_lines(self.progress, width, min(GENOME_LINES if columns > 1 else height, height - taken))
        yield bar(self.progress, width)
        yield from best
        yield fact_grid(facts, columns)
        rows = list(self.progress.recent)[-max(0, height - taken - len(best) - 1) :]
        if rows and height > taken + len(best) + 1:
            yield Text("─" * width, style="dim")
            yield row_grid(self.progress.run, rows, width, genomes=width >= FRAMED_FROM - 4)
        yield from (Text(line, style="yellow") for line in status)


def bar(progress: Progress, width: int) -> RenderableType:
    """Return how much of the stage is done: a count and a bar."""
    noun, done, total = progress.counts[-1]
    share = f"{done / total:.0%}" if total else ""
    head = Text.assemble((noun, "dim"), " ", (f"{done} of {total}", "bold"))
    room = max(1, width - len(head) - len(share) - 2)
    filled = ProgressBar(max(1, total), done, width=room, complete_style="green", finished_style="green")
    grid = _grid(3, gap=1)
    grid.add_row(head, filled, share)
    return grid


def _grid(columns: int, gap: int) -> Table:
    return Table.grid(*(Column(no_wrap=True) for _ in range(columns)), padding=(0, gap, 0, 0))


def facts_of(progress: Progress, now: float) -> list[tuple[str, str]]:
    """Return the numbers of a run with their labels."""
    left, median, population = progress.seconds_left(now), progress.median_seconds, progress.population
    failures = ", ".join(f"{count} {status.replace('_', ' ')}" for status, count in progress.failures.most_common())
    facts = [_stage(progress)]
    if progress.listed:
        facts.append(("networks", f"{progress.configurations_done} of {len(progress.run.configurations)} done"))
    else:
        diversity = population.diversity if population else None
        facts += [
            (
                "population",
                f"{number_text(population.mean)} ± {number_text(population.deviation)}" if population else "–",
            ),
            ("diversity", f"{diversity:.2f}" if diversity is not None else "–"),
        ]
    facts += [
        ("failures", failures or "0"),
        *([("infeasible", str(progress.infeasible))] if progress.infeasible else []),
        ("a training", f"{seconds_text(median)} (median)" if median is not None else "–"),
        ("elapsed", duration(progress.elapsed(now))),
    ]
    if progress.disk:
        facts.append(("states on disk", size_text(progress.disk)))
    if progress.ended is None:
        facts.append(("left", f"about {duration(left)}" if left is not None else "–"))
        facts.append(("workers busy", f"{progress.busy} of {max(progress.busy, progress.run.settings.workers)}"))
        if report := progress.last_report:
            facts.append(("last report", report))
    return facts


def _stage(progress: Progress) -> tuple[str, str]:
    if progress.finished:
        return "stage", "finished"
    if progress.stage != "search":
        return "stage", "finalists on new seeds" if progress.stage == "finalist" else "finalists on the test set"
    last = stage_of(progress.run, progress.recent[-1]) if progress.recent else ""
    if progress.listed:
        return "seed", f"{last.removeprefix('seed ') or 1} of {progress.run.settings.seeds}"
    return ("stage", last) if last.startswith("race") else ("generation", str(progress.generation))


def fact_grid(facts: list[tuple[str, str]], columns: int) -> Table:
    """Return facts in columns, read from top to bottom."""
    grid = _grid(columns, gap=3)
    rows = math.ceil(len(facts) / columns)
    label_width = max(len(label) for label, _ in facts)
    cells = [Text.assemble((f"{label:<{label_width}}  ", "dim"), value) for label, value in facts]
    for row in range(rows):
        grid.add_row(*cells[row::rows])
    return grid


def best_lines(progress: Progress, width: int, most: int) -> list[Text]:
    """Return the leader: its fitness, its id, and as much of its genome as fits into so many lines."""
    best = progress.best
    if best is None or progress.listed or most < 1:
        return []
    head = Text.assemble(("best ", "dim"), (number_text(best.fitness), "bold green"), (f" (#{best.individual})", "dim"))
    beside = len(head) + 2
    if width - beside < FACT_WIDTH:  # the genome goes below
        return [head, *(Text(f"  {line}") for line in wrapped(best.genome, width - 2, most - 1))]
    first, *others = wrapped(best.genome, width - beside, most) or [""]
    return [Text.assemble(head, "  ", first), *(Text(" " * beside + line) for line in others)]


def wrapped(text: str, width: int, lines: int) -> list[str]:
    """Return the lines of a text, at most so many; the last one says what was left out."""
    if lines < 1:
        return []
    return textwrap.wrap(text, max(4, width), max_lines=lines, placeholder=" …", break_on_hyphens=False)


def row_grid(run: Run, evaluations: list[Evaluation], width: int, *, genomes: bool) -> Table:
    """Return the last evaluations, newest last; if asked, with their genomes or the reasons why they failed."""
    grid = _grid(4, gap=2)
    grid.columns[2].justify = "right"
    results = list(map(texts.result_of, evaluations))
    times = [seconds_text(e.seconds) if e.shared_with is None else "" for e in evaluations]
    heads = [(f"#{e.individual}", *rest) for e, *rest in zip(evaluations, results, times, strict=True)]
    room = width - sum(2 + max(map(len, column)) for column in zip(*heads, strict=True))
    for entry, (number, result, seconds) in zip(evaluations, heads, strict=True):
        reason = texts.reason_of(entry)
        style = "yellow" if reason else ""
        text = "".join(wrapped(reason or texts.genome_text(run, entry.individual), room, 1)) if genomes else ""
        grid.add_row(Text(number, "dim"), Text(result, style), Text(seconds, "dim"), Text(text, style))
    return grid


def print_progress(console: Console, progress: Progress, status: str) -> None:
    """Print the state of a run: the live table on a terminal, plain lines elsewhere."""
    if console.is_interactive:
        console.print(LiveTable(progress, status))
        return
    lines = [("run", progress.run.shown_path), ("state", status), ("what", title_of(progress.run))]
    lines += [(noun, f"{done} of {total}") for noun, done, total in progress.counts]
    if (best := progress.best) is not None and not progress.listed:
        lines.append(("best", f"{number_text(best.fitness)} (#{best.individual})  {best.genome}"))
    for label, value in [*lines, *facts_of(progress, time.time())]:
        console.print(f"{label:<13} {value}", markup=False, soft_wrap=True)


class TerminalObserver:
    """Shows a running run on stderr: a live table on a terminal, one line per evaluation elsewhere.

    Args:
        console: Writes to stderr.
        quiet: Show only warnings.
        debug: Also show the traceback of each evaluation that fails.
    """

    def __init__(self, console: Console, *, quiet: bool = False, debug: bool = False):
        self._console, self._quiet, self._debug = console, quiet, debug
        # With FORCE_COLOR, rich takes any console for a terminal; a log file needs no animation.
        self._animated = not quiet and console.is_interactive and console.file.isatty()
        self._table: LiveTable | None = None
        self._live: Live | None = None
        self._drawn: list[int] = []

    @property
    def progress(self) -> Progress | None:
        """The numbers of the run that is shown."""
        return None if self._table is None else self._table.progress

    def __enter__(self) -> TerminalObserver:
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.stop()

    def conclude(self) -> None:
        """Write what the run has come to: the live table is gone, and nothing else will be printed."""
        if self.progress is not None:
            self.notify(texts.conclusion(self.progress, time.time()))

    def started(self, run: Run, total: int) -> None:
        """Say what the run does, and show its numbers from now on."""
        settings, variant = run.settings, (run.settings.dataset or {}).get("variant")
        what = f"{settings.model} on {variant}, {settings.device} {settings.precision} {settings.engine}"
        if settings.objective is not None:
            what = f"the objective {settings.objective}"
        bound = "" if settings.strategy == LISTED else f": up to {total} trainings"
        self.notify(f"{title_of(run)}{bound}, {what}")
        progress = Progress(run, total)
        self.show(progress)
        if progress.done:
            more = f", {len(run.unevaluated())} more are proposed" if not progress.listed else ""
            self.notify(f"resuming: {progress.done} of {total} trainings are done{more}")
        if settings.fitness == "test" and not progress.listed:
            self.warn("fitness is TEST accuracy (--fitness test): the test set selects, so it cannot judge the result")

    def show(self, progress: Progress) -> None:
        """Show a run's numbers from now on."""
        self._table = LiveTable(progress)
        if self._animated and self._live is None:
            self._live = Live(
                console=self._console,
                get_renderable=self._frame,
                refresh_per_second=REFRESHES_PER_SECOND,
                transient=True,
                redirect_stdout=sys.stdout.isatty(),
            )
            self._live.start(refresh=True)

    def working(self, stage: Stage, busy: int) -> None:
        """Learn what the run is doing."""
        if self._table is not None and not self._quiet:
            with self._table.lock:
                self._table.progress.work(stage, busy)

    def reported(self, run: Run, report: Report) -> None:
        """Do nothing: the live table reads the last report from the run."""

    def evaluated(self, run: Run, evaluation: Evaluation, seconds_left: float | None) -> None:
        """Show an evaluation in the live table, or write its line."""
        if self._debug and evaluation.traceback:
            self.warn(texts.traceback_text(evaluation, evaluation.traceback))
        if self._quiet or self._table is None:
            return
        with self._table.lock:
            self._table.progress.take(evaluation, seconds_left)
        if self._live is None:
            line = texts.line_of(self._table.progress, evaluation)
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def status(self, text: str) -> None:
        """Show a note about the run in the live table; without a table, write it if it is new."""
        if self._table is None or self._table.status == text:
            return
        with self._table.lock:
            self._table.status = text
        if self._live is None and text:
            self.notify(text)

    def notify(self, message: str) -> None:
        """Write a line above the live table."""
        if not self._quiet:
            self.warn(message)

    def warn(self, message: str) -> None:
        """Write a line above the live table, even in quiet mode."""
        self._console.print(made_plain(message), highlight=False, markup=False, soft_wrap=not self._console.is_terminal)

    def _frame(self) -> RenderableType:
        """Return what the live display shows now."""
        assert self._table is not None
        width = self._console.width
        lines = self._console.render_lines(self._table, pad=False)
        # A terminal that got narrower has wrapped the lines: rich erases only as many as it wrote.
        folded = sum(math.ceil(length / width) - 1 for length in self._drawn if length > width)
        if folded:
            up = ((ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1))
            self._console.control(Control(ControlType.CARRIAGE_RETURN, *up * folded))
        lines.append([])  # for the cursor: the "^C" that a terminal echoes must not break the last line
        self._drawn = [Segment.get_line_length(line) for line in lines]
        return SegmentLines(lines, new_lines=True)
