"""A run: one folder (or one place in memory) that keeps what a search did, and shows it as tables."""

from __future__ import annotations

import contextlib
import html
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from evo.errors import RunError, StorageError
from evo.evaluation import SUCCESSES, CurvePoint, Evaluation, phase_of
from evo.files import own_folder, remove_file
from evo.individual import Individual
from evo.places import as_typed, entered
from evo.plain_text import escaped
from evo.record.commands import command_on
from evo.record.folder import (
    STATE_FOLDERS,
    STATES,
    TRIALS,
    is_run,
    make_run_folder,
    prune_states,
    remove_leftovers,
    run_folder,
    size_of,
)
from evo.record.history import History
from evo.record.journal import CONFUSION, REPORTS, Event, Journal, is_written
from evo.record.settings import CHANGED_BY_RESUME, LISTED, Settings, current_versions
from evo.record.tracebacks import Tracebacks

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


class Table:
    """A table of a run as an attribute: built, and pandas imported, when it is asked for."""

    def __init__(self, name: str, doc: str):
        self._name, self.__doc__ = name, doc

    @overload
    def __get__(self, run: None, kind: type[Run]) -> Table: ...
    @overload
    def __get__(self, run: Run, kind: type[Run]) -> pd.DataFrame: ...
    def __get__(self, run: Run | None, kind: type[Run]) -> Table | pd.DataFrame:
        if run is None:
            return self
        from evo.record.tables import BUILDERS

        return BUILDERS[self._name](run)


class Run(History):
    """A history that is kept: every event is in the journal before it counts.

    Attributes:
        path: The run folder, an absolute path; None for a run in memory.
    """

    def __init__(self, settings: Settings, journal: Journal, path: Path | None = None):
        super().__init__(settings)
        self.path, self._journal = path, journal
        self._next_tables = 0.0
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._tracebacks = Tracebacks(path)
        self._take_read(journal.events)

    # Making and opening.

    @classmethod
    def create(cls, settings: Settings, path: Path | None = None, *, overwrite: bool = False) -> Run:
        """Start a run.

        Args:
            settings: What is asked for.
            path: The run folder; None keeps the run in memory.
            overwrite: Replace the run that is in the folder.

        Raises:
            ConfigurationError: The folder exists and may not be overwritten, or holds something that is not a run.
            RunError: Another process writes the run that is to be replaced.
            StorageError: The disk does not take it.
        """
        if path is None:
            return cls(settings, Journal.create(None, settings=settings.digest))
        path = entered(path) if not path.is_absolute() else path

        with contextlib.ExitStack() as on_failure:

            def fill(folder: Path) -> Journal:
                settings.save(folder)
                journal = Journal.create(folder / "journal.jsonl", settings=settings.digest)
                on_failure.callback(journal.close)
                return journal

            journal = make_run_folder(path, fill, overwrite=overwrite)
            journal.path = path / "journal.jsonl"
            run = cls(settings, journal, path)
            on_failure.pop_all()
        return run

    @classmethod
    def load(cls, path: Path | str) -> Run:
        """Read a run, also one that is being written.

        Raises:
            RunError: The folder holds no run, or a damaged one.
        """
        folder = run_folder(path)
        return cls(Settings.load(folder), Journal.read(folder / "journal.jsonl"), folder)

    @classmethod
    def open(cls, path: Path | str, warn: Callable[[str], None]) -> Run:
        """Open a run to continue it.

        Raises:
            RunError: The folder holds no run or a damaged one, or another process is writing it.
        """
        folder = run_folder(path)
        journal = Journal.open(folder / "journal.jsonl", warn)
        try:
            run = cls(Settings.load(folder), journal, folder)
            remove_leftovers(folder)
            run.forget_checkpoints()
        except BaseException:
            journal.close()
            raise
        return run

    def close(self) -> None:
        """Let other processes write the run."""
        self._journal.close()

    def read_new(self) -> list[Event]:
        """Read what another process has written since the run was loaded; return those events.

        Raises:
            RunError: The run is damaged.
        """
        events = self._journal.read_new()
        self._take_read(events)
        return events

    # Recording.

    def record_proposal(self, individual: Individual) -> None:
        """Keep a proposal."""
        self._record({"kind": "proposal", "individual": individual.to_dict()})

    def record_reports(self, individual: int, replicate: int, points: Sequence[CurvePoint]) -> None:
        """Keep what a running training has reported; the journal of an older run has no place for it."""
        if self._journal.format >= REPORTS:
            values = [point.to_dict() for point in points]
            self._record({"kind": "reports", "individual": individual, "replicate": replicate, "points": values})

    def record_ended(self, individual: int, replicate: int) -> None:
        """Keep that a paused training has ended early, and remove its files."""
        self._record({"kind": "ended", "individual": individual, "replicate": replicate})
        self.forget_trial(individual, replicate)

    def record(self, evaluation: Evaluation) -> None:
        """Keep an evaluation; the state of an interrupted training is no longer needed."""
        if self._journal.format < CONFUSION:
            evaluation = replace(evaluation, confusion=())
        key = evaluation.individual, evaluation.replicate
        if evaluation.status not in SUCCESSES and not evaluation.curve and key in self.reported:
            curve = self.curve_of(*key)  # of a training that took too long, or whose worker has died
            evaluation = replace(evaluation, curve=curve, steps_trained=curve[-1].step)
        self._record({"kind": "evaluation", "evaluation": evaluation.to_dict()})
        self._tracebacks.keep(evaluation)
        self._forget_checkpoint(evaluation.individual, evaluation.replicate)
        if not evaluation.paused:
            self.forget_trial(evaluation.individual, evaluation.replicate)
        if self.path is not None:
            prune_states(self.path / STATES)

    def forget_trial(self, individual: int, replicate: int) -> None:
        """Remove the files of a training that cannot continue."""
        if (folder := self.trial_folder(individual, replicate)) is not None:
            shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):  # others are still there, or there never was one
                Path(folder).parent.rmdir()

    def record_retry(self, failed: Sequence[tuple[int, int]]) -> None:
        """Keep which failed evaluations, by (individual, replicate), are tried again, from their beginning."""
        for key in failed:
            self.forget_trial(*key)
        self._record({"kind": "retry", "evaluations": [list(key) for key in failed]})

    def _forget_checkpoint(self, individual: int, replicate: int) -> None:
        if (checkpoint := self.checkpoint(individual, replicate)) is not None:
            remove_file(Path(checkpoint))
            with contextlib.suppress(OSError):  # other states are still in it, or there never was one
                Path(checkpoint).parent.rmdir()

    def forget_checkpoints(self) -> None:
        """Remove the states of trainings that are recorded: a kill may have come in between."""
        if self.path is None or not any((self.path / name).is_dir() for name in ("checkpoints", TRIALS)):
            return
        continued = {(proposal.id, proposal.replicate) for proposal in self.unevaluated()}
        for key in self.evaluations.keys() - continued:
            self._forget_checkpoint(*key)
            if not self.evaluations[key].paused:
                self.forget_trial(*key)

    def record_generation(self, generation: int, members: Sequence[int]) -> None:
        """Keep who was in a generation's population."""
        self._record({"kind": "generation", "generation": generation, "members": list(members)})

    def record_finalists(
        self, individuals: Sequence[int], seeds: int | None = None, *, ended_early: bool = False
    ) -> None:
        """Keep which genomes are trained again.

        Args:
            individuals: Best first.
            seeds: Trainings of each; None for as many as the settings say.
            ended_early: Whether the search could go on.
        """
        event: Event = {"kind": "finalists", "individuals": list(individuals)}
        if seeds is not None and seeds != self.settings.finalist_seeds:
            event["seeds"] = seeds
        if ended_early:
            event["ended_early"] = True
        self._record(event)

    def record_winner(self, individual: int) -> None:
        """Keep which finalist is best; recorded before the test set is read."""
        self._record({"kind": "winner", "individual": individual})

    def record_test(self, evaluation: Evaluation) -> None:
        """Keep the test-set metrics of a finalist's training."""
        event = {"individual": evaluation.individual, "replicate": evaluation.replicate}
        metrics = {"test_accuracy": evaluation.test_accuracy, "test_loss": evaluation.loss, "error": evaluation.error}
        counted = evaluation.confusion and self._journal.format >= CONFUSION
        counts = {"confusion": [list(entry) for entry in evaluation.confusion]} if counted else {}
        self._record({"kind": "test", **event, **metrics, **counts})
        self._tracebacks.keep(evaluation)

    def record_late(self, evaluation: Evaluation) -> None:
        """Keep what finished while the run was being stopped: a training, or the test of one that is recorded."""
        earlier = self.evaluations.get((evaluation.individual, evaluation.replicate))
        if earlier is not None and evaluation.phase == "finalist":
            self.record_test(evaluation)
        else:
            self.record(evaluation.after(earlier))

    def record_resume(self, settings: Settings) -> None:
        """Keep that the run was resumed, with what versions, where and how far."""
        self.settings = settings
        values = {name: getattr(settings, name) for name in CHANGED_BY_RESUME}
        self._record({"kind": "resume", **values, "versions": current_versions()})
        if self.path is not None:
            settings.save(self.path)

    def _record(self, event: Event) -> None:
        self._journal.append(event)
        self.take(event)

    def _take_read(self, events: Sequence[Event]) -> None:
        """Bring the state up to events that were read."""
        for event in events:
            try:
                self.take(event)
            except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
                raise RunError(
                    f"{self._journal.path}: event {event.get('number')} is not what evo writes "
                    f"({type(error).__name__}: {error}); the file was changed by something else, restore it from a copy"
                ) from None

    def checkpoint(self, individual: int, replicate: int) -> str | None:
        """Return where the state of a training is kept while it is interrupted; None for a run in memory.

        Raises:
            RunError: The folder for it is a link: what a run writes stays in its folder.
        """
        return self._inside("checkpoints", f"{individual}-{replicate}.safetensors")

    def last_state(self, seed: int) -> str | None:
        """Return where the state after the last step of a training is kept during the search; see `checkpoint`."""
        return self._inside(STATES, f"{seed}.safetensors") if self.keeps_states else None

    def forget_states(self) -> None:
        """Remove the states that only an unfinished search needs."""
        if self.path is not None and self.last_state(0) is not None:
            shutil.rmtree(self.path / STATES, ignore_errors=True)
        if self.settings.max_steps is not None:
            for folder in Path(str(self.trial_folder(0, 0))).parent.glob("*-*"):
                number, _, replicate = folder.name.partition("-")
                if number.isdigit() and replicate.isdigit() and phase_of(int(replicate)) == "search":
                    self.forget_trial(int(number), int(replicate))

    def weights(self, individual: int, replicate: int) -> str | None:
        """Return where a finalist's weights wait for the test; see `checkpoint`."""
        return self._inside("weights", f"{individual}-{replicate}.safetensors")

    def trial_folder(self, individual: int, replicate: int) -> str | None:
        """Return where an objective that reports keeps the files of a training; None for any other.

        A run in memory has a temporary folder for them, which goes with the run.
        """
        if self.settings.max_steps is None:
            return None
        name = f"{individual}-{replicate}"
        if self.path is not None:
            return self._inside(TRIALS, name)
        if self._temporary is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="evo-trials-")
        return str(Path(self._temporary.name) / TRIALS / name)

    def disk_use(self) -> int:
        """Return the bytes of the states of trainings that are not done: interrupted, paused, or to be continued."""
        if self.path is None:
            return 0
        return sum(size_of(self.path / name) for name in (*STATE_FOLDERS, TRIALS))

    def _inside(self, folder: str, name: str) -> str | None:
        return str(own_folder(self.path / folder) / name) if self.path is not None else None

    # Asking.

    @property
    def torn(self) -> bool:
        """Whether its journal ended in the middle of a line when it was read, and no process is writing it."""
        path = self._journal.path
        return self._journal.torn and path is not None and not is_written(path)

    @property
    def folder(self) -> Path:
        """The run folder.

        Raises:
            RunError: The run is in memory.
        """
        if self.path is None:
            raise RunError("the run is in memory and has no folder; give the search an output")
        return self.path

    @property
    def shown_path(self) -> str:
        """The run folder as messages show it: as it was typed."""
        return as_typed(self.path) if self.path is not None else "in memory"

    @property
    def name(self) -> str:
        """The name that tables and figures show: the folder's, or the space's for a run in memory."""
        return escaped(self.path.resolve().name) if self.path is not None else self.settings.space_name

    def command(self, command: str, *arguments: str, **options: Any) -> str:
        """Return a command on the run's folder as one types it: see `evo.record.commands.command_on`."""
        return command_on(self.path or Path(), self.settings, command, *arguments, **options)

    def traceback(self, individual: int, replicate: int = 0) -> str:
        """Return the traceback of an evaluation that an exception has failed; empty if none is kept.

        Raises:
            RunError: There is no such individual.
        """
        if not 0 <= individual < len(self.individuals):
            raise RunError(f"individual {individual}: this run has {len(self.individuals)}, counted from 0")
        return self._tracebacks.of(individual, replicate)

    # Tables.

    table = Table("evaluations", "The results table: one row per evaluation of the search, as in evaluations.csv.")
    populations = Table("populations", "Who was in which population, as in populations.csv.")
    generation_table = Table("generations", "One row per generation, as in generations.csv.")
    curves = Table("curves", "All learning curves, as in curves.csv.")
    hall_of_fame = Table("hall_of_fame", "The best genomes of the search, as in hall_of_fame.csv.")
    front = Table("front", "The genomes that no other beats in every objective, as in front.csv.")
    confusion = Table("confusion", "Which classes the measured trainings take for which, as in confusion.csv.")
    finalist_table = Table("finalists", "The finalists' trainings on new seeds, as in finalists.csv.")

    def write_tables(self, *, share: float = 1.0) -> None:
        """Write all CSV files from the journal, each atomically; nothing for a run in memory.

        Args:
            share: Write only if no more than this fraction of the time goes into writing. Below 1 it bounds the cost
                of the tables for thousands of evaluations that take milliseconds.

        Raises:
            StorageError: They cannot be written, or the folder is gone.
        """
        began = time.monotonic()
        if self.path is None or (began < self._next_tables and share < 1.0):
            return
        if not is_run(self.path):  # do not create it again
            raise StorageError(f"{self.shown_path}: was moved or removed; if it was moved, continue where it is now")
        from evo.record.tables import write_tables

        write_tables(self, self.path)
        self._next_tables = time.monotonic() + (time.monotonic() - began) * (1 / share - 1)

    def __repr__(self) -> str:
        return f"Run({self.shown_path}: {self.trainings} evaluations, space {self.settings.space_name!r})"

    def plot(self) -> dict[str, Figure]:
        """Return the figures of `evo report` by name; a notebook shows one at the end of a cell."""
        if self.settings.strategy == LISTED:
            from evo.reports.training import training_figures

            return training_figures(self)
        from evo.reports.figures import figures_of

        return figures_of(self)

    def _repr_html_(self) -> str:
        """Return the hall of fame as a table, for notebooks."""
        counts = f"{self.trainings} evaluations"
        without = {
            what: sum(getattr(one, what) for one in self.search_evaluations) for what in ("failed", "infeasible")
        }
        facts = [self.settings.strategy, counts, *(f"{count} {what}" for what, count in without.items() if count)]
        facts.append(f"winner: individual {self.winner}" if self.winner is not None else "no winner named")
        caption = html.escape(f"{self.name}, best genomes: {', '.join(facts)}")
        from evo.record.tables import with_texts

        table = str(with_texts(self.hall_of_fame, self.space).to_html(index=False, escape=True, na_rep=""))
        return table.replace(">", f"><caption>{caption}</caption>", 1)
