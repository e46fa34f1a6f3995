"""The live view of a search agrees with its tables, fits the terminal, and leaves nothing behind."""

from __future__ import annotations

import io
import math
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

import evo
from evo.display.live import LiveTable, TerminalObserver, facts_of, print_progress
from evo.display.progress import Progress, genome_text, line_of, printable
from evo.evaluation import Evaluation
from evo.loop.search_loop import SilentObserver, Stage
from evo.record.run import Run
from tests.screen import Screen
from tests.test_run import evaluation, fill, individual, make_settings

pytestmark = pytest.mark.usefixtures("quick_models")

SPACE = evo.SearchSpace(
    {
        "hidden_layers": evo.Layers(depth=(1, 3), width=(4, 512), log=True),
        "learning_rate": evo.Float(1e-5, 1e-1, log=True),
        "activation": evo.Categorical(["relu", "gelu", "tanh"]),
        "steps": evo.Integer(100, 1600, log=True),
    }
)
WIDTHS = (30, 40, 60, 80, 200)


def objective(config: dict[str, Any], seed: int) -> float:
    if config["activation"] == "tanh" and config["steps"] > 400:
        raise ValueError("too long")
    return -abs(math.log10(config["learning_rate"]) + 3) + config["steps"] / 1e4 + (seed % 100) / 1e3


class Checking(SilentObserver):
    """Keeps the numbers as the terminal's observer does; compares them with the run after every evaluation."""

    def __init__(self) -> None:
        self.progress: Progress | None = None
        self.stages: list[str] = []

    def started(self, run: Run, total: int) -> None:
        self.progress = Progress(run, total)

    def working(self, stage: Stage, busy: int) -> None:
        assert self.progress is not None
        self.stages.append(stage)
        assert busy == 1
        self.progress.work(stage, busy)

    def evaluated(self, run: Run, evaluation: Evaluation, seconds_left: float | None) -> None:
        assert self.progress is not None
        self.progress.take(evaluation, seconds_left)
        check(self.progress, run)


def check(progress: Progress, run: Run) -> None:
    """Compare numbers with what the run's own methods and tables say."""
    ranked = run.ranked()
    if ranked and progress.stage != "test":
        assert progress.best is not None
        assert (progress.best.individual, progress.best.fitness) == (ranked[0].id, pytest.approx(ranked[0].fitness))
    assert progress.done == len(run.search_evaluations)
    assert progress.failures == Counter(e.status for e in run.evaluations.values() if not e.complete)
    seconds = [e.seconds for e in run.evaluations.values() if e.complete and e.shared_with is None]
    assert (progress.median_seconds is None) == (not seconds)
    if seconds:
        middle = sorted(seconds)[(len(seconds) - 1) // 2 : len(seconds) // 2 + 1]
        assert progress.median_seconds == pytest.approx(sum(middle) / len(middle))


@pytest.mark.parametrize("strategy", ["ga", "surrogate", "halving", "ageing", "random"])
def test_the_numbers_are_those_of_the_runs_own_tables(strategy: str) -> None:
    watcher = Checking()
    run = evo.search(SPACE, objective, strategy=strategy, budget=40, population=6, seed=1, observer=watcher)
    progress = watcher.progress
    assert progress is not None
    last = run.generation_table.iloc[-1]
    assert progress.population is not None
    assert progress.population.mean == pytest.approx(last["mean"])
    assert progress.population.deviation == pytest.approx(last["std"])
    assert progress.population.diversity == pytest.approx(last["diversity"])
    assert progress.generation == run.table["generation"].max()
    assert set(watcher.stages) == {"search", "finalist"}
    assert progress.counts == [("evaluations", 40, 40), ("finalists", 9, 9)]
    assert progress.failures["failed"] > 0, "this test needs failures"
    assert [row.individual for row in progress.recent] == [e.individual for e in list(run.evaluations.values())[-5:]]


def test_the_numbers_of_a_loaded_run_are_those_of_a_watched_one() -> None:
    watcher = Checking()
    run = evo.search(SPACE, objective, budget=30, population=6, seed=2, observer=watcher)
    assert watcher.progress is not None
    afresh = Progress(run, 30)
    for name in ("best", "population", "generation", "failures", "done", "recent", "median_seconds"):
        assert getattr(afresh, name) == getattr(watcher.progress, name), name


def test_a_race_also_moves_individuals_that_wait_for_their_turn() -> None:
    run = Run.create(make_settings())
    for number, fitness in enumerate((0.9, 0.8, 0.7)):
        run.record_proposal(individual(number, x=number / 10))
        run.record(evaluation(number, fitness))
    progress = Progress(run, 9)
    check(progress, run)
    for number in (1, 2):
        run.record_proposal(replace(individual(number, x=number / 10), replicate=1))
    run.record(evaluation(1, 0.1, replicate=1))
    progress.take(run.evaluations[1, 1])
    assert progress.best is not None
    assert progress.best.individual == 2
    check(progress, run)
    run.record_proposal(individual(3, x=0.3))
    run.record(evaluation(3, 0.95))
    progress.take(run.evaluations[3, 0])
    check(progress, run)
    assert progress.best.individual == 3


def test_the_winner_is_shown_once_it_is_named() -> None:
    run = Run.create(make_settings(finalists=2))
    fill(run)
    progress = Progress(run, 4)
    progress.work("finalist", 1)
    assert progress.best is not None
    assert progress.best.individual == 1
    progress.work("test", 1)
    assert progress.best.individual == run.winner == 3


def filled_progress(**settings: Any) -> Progress:
    run = Run.create(make_settings(**settings))
    fill(run)
    progress = Progress(run, 4000, began=time.time() - 3723)
    progress.work("search", 1)
    progress.ends = time.time() + 7384.0
    return progress


def drawn(renderable: Any, width: int, height: int = 24) -> list[str]:
    console = Console(file=io.StringIO(), force_terminal=True, width=width, height=height, color_system=None)
    console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    return re.sub(r"\x1b\[[\d;]*m", "", console.file.getvalue()).splitlines()


@pytest.mark.parametrize("width", WIDTHS)
def test_the_table_fits_every_width_with_every_number_whole(width: int) -> None:
    progress = filled_progress()
    lines = drawn(LiveTable(progress), width)
    text = "\n".join(lines)
    assert max(map(len, lines)) <= width
    assert "4 of 4000" in text
    assert "best 0.9000 (#1)" in text
    for label, value in facts_of(progress, time.time()):
        assert any(label in line and value in line for line in lines), (label, value)
    assert "1:02:03" in text
    assert "about 2:03:0" in text
    assert "1 failed" in text
    assert len(lines) < 24


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("height", [8, 14, 20, 50])
def test_the_table_leaves_rows_out_where_the_terminal_is_low(width: int, height: int) -> None:
    lines = drawn(LiveTable(filled_progress()), width, height)
    assert "4 of 4000" in lines[0] + lines[1]
    if height >= 14 or width >= 80:
        assert len(lines) < height


def test_long_genomes_lose_whole_genes_and_say_so() -> None:
    genes = {f"gene_{number}": evo.Float(0.0, 1.0) for number in range(40)}
    run = evo.search(evo.SearchSpace(genes), lambda config: 1.0, budget=3, population=3)
    progress = Progress(run, 3)
    assert progress.best is not None
    words = progress.best.genome.split()
    for width in (40, 80):
        lines = drawn(LiveTable(progress), width)
        assert max(map(len, lines)) <= width
        assert len(lines) < 24
        shown = re.findall(r"gene_\d+=\S+", "\n".join(lines))
        assert shown[:3] == words[:3]
        assert set(shown) <= {word for number in range(3) for word in genome_text(run, number).split()}
        assert "…" in "\n".join(lines)


def test_a_run_of_listed_networks_has_no_generations() -> None:
    run = Run.create(make_settings(strategy="listed", seeds=2, finalists=0, initial=[{}, {}]))
    for number in range(2):
        run.record_proposal(individual(number))
    progress = Progress(run, 4)
    for number, replicate in ((0, 0), (1, 0), (1, 1)):
        run.record(evaluation(number, 0.5, replicate))
        progress.take(run.evaluations[number, replicate])
    labels = dict(facts_of(progress, time.time()))
    assert labels["networks"] == "1 of 2 done"
    assert labels["seed"] == "2 of 2"
    assert not {"generation", "population", "diversity"} & set(labels)


def test_text_from_a_run_cannot_command_the_terminal() -> None:
    run = Run.create(make_settings())
    run.record_proposal(individual(0))
    run.record(evaluation(0, None, error="\x1b]0;mine\x07 bad"))
    progress = Progress(run, 4)
    assert printable("\x1b[2J\r\n") == "?[2J  "
    assert "\x1b]0" not in "\n".join(drawn(LiveTable(progress), 80))
    assert "\x1b" not in line_of(progress, run.evaluations[0, 0])


# The observer.


def watched(console: Console, actions: Callable[[TerminalObserver, Run], None], *, quiet: bool = False) -> None:
    run = Run.create(make_settings())
    with TerminalObserver(console, quiet=quiet) as observer:
        observer.started(run, 4)
        actions(observer, run)


def some_evaluations(observer: TerminalObserver, run: Run) -> None:
    for number in range(3):
        run.record_proposal(individual(number, x=number / 10))
        run.record(evaluation(number, number / 10))
        observer.working("search", 1)
        observer.evaluated(run, run.evaluations[number, 0], 10.0)
        if observer._live is not None:
            observer._live.refresh()
    observer.notify("a note")


def test_the_live_table_goes_away_and_notes_stay() -> None:
    screen = Screen(80)
    seen: list[str] = []

    def actions(observer: TerminalObserver, run: Run) -> None:
        some_evaluations(observer, run)
        seen.append(screen.text)

    watched(screen.console(), actions)
    assert seen[0].count("╭") == 1, "one table, however often it was drawn"
    assert "3 of 4" in seen[0]
    assert seen[0].index("a note") < seen[0].index("╭")
    assert "╭" not in screen.text
    assert screen.text.endswith("a note")
    assert screen.cursor_shown


@pytest.mark.parametrize("width", [40, 80])
def test_an_interrupt_leaves_nothing_of_the_table(width: int) -> None:
    screen = Screen(width)

    def actions(observer: TerminalObserver, run: Run) -> None:
        some_evaluations(observer, run)
        screen.write("^C")  # the terminal's own echo, wherever the cursor is
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        watched(screen.console(), actions)
    assert screen.text.endswith("a note")
    assert screen.cursor_shown


@pytest.mark.parametrize("widths", [(80, 60), (80, 44), (100, 41), (44, 36), (60, 120)])
def test_a_terminal_that_is_resized_shows_one_table(widths: tuple[int, int]) -> None:
    screen = Screen(widths[0], height=60)
    console = screen.console()

    def actions(observer: TerminalObserver, run: Run) -> None:
        some_evaluations(observer, run)
        assert observer._live is not None
        screen.resize(widths[1])
        console.width = widths[1]
        for _ in range(2):
            observer._live.refresh()
            assert screen.text.count("3 of 4") == 1
            assert screen.text.count("elapsed") == 1

    watched(console, actions)
    assert "elapsed" not in screen.text
    assert re.search(r"a\s+note$", screen.text)


def test_the_clock_runs_between_evaluations() -> None:
    screen = Screen(80)

    def actions(observer: TerminalObserver, run: Run) -> None:
        assert observer.progress is not None
        observer.progress.began -= 60
        end = time.monotonic() + 10
        while not re.search(r"elapsed +[1-9]\d*:\d\d", screen.text):
            assert time.monotonic() < end
            time.sleep(0.05)

    watched(screen.console(), actions)


@pytest.mark.parametrize("how", ["pipe", "force color", "dumb"])
def test_there_is_no_animation_without_a_terminal(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if how == "dumb":
        monkeypatch.setenv("TERM", "dumb")
        file: io.StringIO = Screen(200)
    else:
        file = io.StringIO()
    console = Console(file=file, force_terminal=how != "pipe" or None, color_system=None, width=200)
    watched(console, some_evaluations)
    text = file.text if isinstance(file, Screen) else file.getvalue()
    assert "\x1b" not in text
    assert "╭" not in text
    assert [line.partition(":")[0] for line in text.splitlines()[1:4]] == [
        "#0 generation 0",
        "#1 generation 0",
        "#2 generation 1",
    ]


def test_no_color_has_no_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    file = io.StringIO()
    Console(file=file, force_terminal=True, width=80, height=24).print(LiveTable(filled_progress()))
    codes = {code for codes in re.findall(r"\x1b\[([\d;]*)m", file.getvalue()) for code in codes.split(";") if code}
    assert codes <= {"0", "1", "2", "39", "49"}, "bold, dim, and back to what was before"


def test_quiet_shows_only_warnings() -> None:
    screen = Screen(80)

    def actions(observer: TerminalObserver, run: Run) -> None:
        some_evaluations(observer, run)
        observer.warn("take care")

    watched(screen.console(), actions, quiet=True)
    assert screen.text == "take care"


def test_frames_may_be_drawn_while_evaluations_come() -> None:
    screen = Screen(80)
    run = Run.create(make_settings(budget=400))
    with TerminalObserver(screen.console()) as observer:
        observer.started(run, 400)
        assert observer._live is not None
        over = threading.Event()
        problems: list[BaseException] = []

        def draw() -> None:
            try:
                while not over.is_set():
                    assert observer._live is not None
                    observer._live.refresh()
            except BaseException as problem:
                problems.append(problem)

        thread = threading.Thread(target=draw)
        thread.start()
        for number in range(400):
            run.record_proposal(individual(number, x=number / 400))
            run.record(evaluation(number, number / 400))
            if number % 7 == 6:
                run.record_generation(number // 7, range(number - 6, number + 1))
            observer.working("search", 1)
            observer.evaluated(run, run.evaluations[number, 0], 1.0)
        over.set()
        thread.join()
    assert not problems


@pytest.mark.parametrize("width", [40, 80, None])
def test_the_state_of_a_run_is_printed(width: int | None) -> None:
    progress = filled_progress()
    file = io.StringIO() if width is None else Screen(width, 30)
    console = Console(file=file, force_terminal=width is not None or None, width=width or 200, height=30)
    print_progress(console, progress, "stopped")
    text = file.text if isinstance(file, Screen) else file.getvalue()
    assert "4 of 4000" in text
    assert "stopped" in text
    assert genome_text(progress.run, 1) in " ".join(text.replace("│", " ").split())
    assert "\x1b" not in text


def test_a_part_of_a_continued_training_belongs_to_the_generation_that_proposed_it() -> None:
    run = Run.create(make_settings())
    progress = Progress(run, 4)
    for until, generation in ((10, 0), (30, 6)):
        run.record_proposal(replace(individual(0), until=until, generation=generation))
        run.record(replace(evaluation(0, 0.5, steps_trained=until), status="partial"))
        progress.take(run.evaluations[0, 0])
        assert progress.generation == generation
        assert f"generation {generation}:" in line_of(progress, run.results[-1])
    assert f"generation {0}:" in line_of(progress, run.results[0])


def test_a_leader_that_fails_when_its_training_is_continued_leads_no_longer() -> None:
    run = Run.create(make_settings())
    progress = Progress(run, 4)
    parts = [(0, 10, 0.9), (1, 10, 0.5), (0, 30, None)]
    for number, until, fitness in parts:
        run.record_proposal(replace(individual(number, x=number / 10), until=until))
        status = "partial" if fitness is not None else "diverged"
        run.record(replace(evaluation(number, fitness, steps_trained=until), status=status))
        progress.take(run.evaluations[number, 0])
    assert progress.best is not None
    assert progress.best.individual == run.best.id == 1
    assert run.trainings == 3
