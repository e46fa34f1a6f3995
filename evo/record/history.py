"""The state of a run, built from its events: what was proposed, what was measured, and how it ranks."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from evo.confusion import Confusion, confusion_from_json
from evo.errors import ConfigurationError, RunError
from evo.evaluation import FAILURES, CurvePoint, Evaluation, Phase, phase_of, replicate_number
from evo.individual import DURATION, STEPS, Genome, Individual, whole_count
from evo.models import MODELS
from evo.ranking import ranking
from evo.record.journal import Event
from evo.record.ranked import RankedIndividual
from evo.record.settings import LISTED, Settings
from evo.space import SearchSpace
from evo.space.file import space_from_dict
from evo.space.settings import SIGNS

LEAVE_BOUNDS = ("report2019",)
"""Strategies whose genomes may leave the space, because the original algorithm's did."""
HALL_OF_FAME = 10
"""Genomes in the table of the best."""


class History:
    """The state of a run after its events, and questions about it.

    Attributes:
        settings: What was asked for.
        space: The search space.
        proposals: In their order. An individual that was proposed again is in it again: with another replicate to be
            evaluated on another seed, with a larger `until` to continue its training.
        individuals: By id.
        results: All evaluations in the order of the journal: the parts of a paused training, the finalists' trainings.
        evaluations: The last result of each (individual, replicate).
        answered: The proposal that each of these answers; an individual that was listed stands for its own.
        generations: Ids of the members of every finished generation.
        finalists: Ids of the genomes that are trained again, best first.
        finalist_seeds: Trainings of each of them.
        ended_early: Whether these are the finalists of a search that a person or the clock has ended; proposals and
            results of the search that follow take it up again.
        winner: Id of the finalist with the best mean, once it is named.
        reported: What trainings have reported that have no result yet, or paused before, by (individual, replicate).
        tests: Test-set metrics of the finalists' trainings, by (individual, replicate).
        ended: Paused trainings that a pruner has ended, by (individual, replicate).
        retried: Failed evaluations that are tried again and have no new result yet, by (individual, replicate).
    """

    def __init__(self, settings: Settings):
        self.settings = settings
        self.space = space_of(settings)
        self.proposals: list[Individual] = []
        self.individuals: list[Individual] = []
        self.results: list[Evaluation] = []
        self.evaluations: dict[tuple[int, int], Evaluation] = {}
        self.answered: dict[tuple[int, int], Individual] = {}
        self.generations: dict[int, tuple[int, ...]] = {}
        self.finalists: tuple[int, ...] = ()
        self._finalist_seeds: int | None = None
        self.ended_early = False
        self.winner: int | None = None
        self._parts: defaultdict[tuple[int, int], list[Evaluation]] = defaultdict(list)
        self._proposed: defaultdict[tuple[int, int], list[Individual]] = defaultdict(list)
        self.reported: dict[tuple[int, int], list[CurvePoint]] = {}
        self.tests: dict[tuple[int, int], dict[str, Any]] = {}
        self.ended: set[tuple[int, int]] = set()
        self.retried: dict[tuple[int, int], Evaluation] = {}

    def take(self, event: Event) -> None:
        """Change the state by an event.

        Raises:
            RunError: A proposal is missing before this one.
            ValueError: The event cannot follow those before it. (Other built-in errors: evo did not write it.)
        """
        match event["kind"]:
            case "start":
                if "settings" in event and not self.settings.began_as(event["settings"]):
                    raise ValueError("it began with other settings than settings.json holds (seed, space, strategy, …)")
            case "proposal":
                proposal = self._known_or_new(Individual.from_dict(event["individual"]))
                self.proposals.append(proposal)
                self._proposed[proposal.id, proposal.replicate].append(proposal)
                self.ended_early = False
            case "ended":
                self._check_known(event["individual"])
                self.ended.add((event["individual"], int(event["replicate"])))
            case "reports":
                self._take_reports(event)
            case "evaluation":
                evaluation = Evaluation.from_dict(event["evaluation"])
                self._check_known(evaluation.individual)
                self.results.append(evaluation)
                key = evaluation.individual, evaluation.replicate
                self._parts[key].append(evaluation)
                self.evaluations[key] = evaluation
                self.reported.pop(key, None)
                self._note_answered(key)
                self.retried.pop(key, None)
                self.ended_early = self.ended_early and evaluation.phase != "search"
            case "retry":
                for individual, replicate in event["evaluations"]:
                    self._take_back((int(individual), int(replicate)))
                gone = {id(failed) for failed in self.retried.values()}
                self.results = [result for result in self.results if id(result) not in gone]
            case "generation":
                self._check_known(*event["members"])
                self.generations[int(event["generation"])] = tuple(event["members"])
            case "finalists":
                self._check_ranked(*event["individuals"])
                self.finalists, self.winner = tuple(event["individuals"]), None
                self._finalist_seeds = _count_of_seeds(event["seeds"]) if "seeds" in event else None
                self.ended_early = event.get("ended_early") is True
            case "winner":
                self._check_ranked(event["individual"])
                if event["individual"] not in self.finalists:
                    raise ValueError(f"individual {event['individual']} is not a finalist")
                self.winner = event["individual"]
            case "test":
                self._check_known(event["individual"])
                confusion_from_json(event.get("confusion", ()))
                self.tests[event["individual"], int(event["replicate"])] = event

    def _take_reports(self, event: Event) -> None:
        """Add points to the curve of a training; one that had to start again replaces those that it repeats."""
        key = whole_count(event["individual"], "individual"), whole_count(event["replicate"], "replicate")
        self._check_known(key[0])
        new = [CurvePoint.from_dict(point) for point in event["points"]]
        if new:
            known = self.reported.pop(key, [])  # the last entry is that of the last report
            self.reported[key] = [point for point in known if point.step < new[0].step] + new

    def curve_of(self, individual: int, replicate: int) -> tuple[CurvePoint, ...]:
        """Return the learning curve of a training as far as it is known, also of one that is running."""
        evaluation = self.evaluations.get((individual, replicate))
        known = evaluation.curve if evaluation is not None else ()
        new = self.reported.get((individual, replicate), [])
        return (*(point for point in known if not new or point.step < new[0].step), *new)

    def _note_answered(self, key: tuple[int, int]) -> None:
        proposed, part = self._proposed.get(key, []), len(self._parts[key])
        self.answered[key] = (proposed[:part] or [self.individuals[key[0]]])[-1]

    def _take_back(self, key: tuple[int, int]) -> None:
        """Forget a failed evaluation, which is tried again: its proposal has no result until then."""
        failed = self.evaluations.get(key)
        if failed is None or failed.status not in FAILURES:
            raise ValueError(f"the evaluation {key} has not failed")
        self.retried[key] = self._parts[key].pop()
        if self._parts[key]:
            self.evaluations[key] = self._parts[key][-1]
            self._note_answered(key)
        else:
            del self.evaluations[key], self.answered[key]
        self.ended_early = self.ended_early and phase_of(key[1]) != "search"
        self.winner = None if phase_of(key[1]) == "finalist" and key[0] in self.finalists else self.winner
        self.tests.pop(key, None)

    @property
    def told(self) -> list[Evaluation]:
        """What a strategy knew: the results, and the failures that are being tried again."""
        return [*self.results, *self.retried.values()]

    def _known_or_new(self, individual: Individual) -> Individual:
        """Return a proposal that was recorded; a new individual is added to the others."""
        if individual.replicate or self._continues(individual):
            self._check_known(individual.id)
            known = self.individuals[individual.id]
            changes = {name: getattr(individual, name) for name in ("generation", "replicate", "until")}
            return replace(known, **changes)
        if individual.id != len(self.individuals):
            raise RunError(f"journal: proposal {individual.id} follows proposal {len(self.individuals) - 1}")
        bound = self.settings.strategy not in LEAVE_BOUNDS
        if bound and (problems := self.space.problems(individual.genome)):
            raise ValueError(f"individual {individual.id}: {problems[0]}")
        self.individuals.append(individual)
        return individual

    def _continues(self, individual: Individual) -> bool:
        """Return whether a proposal continues the paused training of a known individual."""
        paused = self.evaluations.get((individual.id, 0))
        if paused is None or not paused.paused:
            return False
        return individual.until is None or individual.until > (self.answered[individual.id, 0].until or 0)

    def pauses(self, individual: Individual) -> bool:
        """Return whether an individual is trained in parts: its first proposal said where to pause."""
        return self.individuals[individual.id].until is not None

    def proposal_of(self, evaluation: Evaluation) -> Individual:
        """Return the proposal that an evaluation answers; of a finalist's training, the individual."""
        parts = self.parts(evaluation.individual, evaluation.replicate)
        known = self.individuals[evaluation.individual]
        return next((proposal for proposal, part in parts if part == evaluation), known)

    def _check_known(self, *individuals: int) -> None:
        for number in individuals:
            if not isinstance(number, int) or not 0 <= number < len(self.individuals):
                raise ValueError(f"no individual {number!r} was proposed before")

    def _check_ranked(self, *individuals: int) -> None:
        self._check_known(*individuals)
        for number in individuals:
            if not self.evaluations[number, 0].succeeded:
                raise ValueError(f"the evaluation of individual {number} failed")

    @property
    def configurations(self) -> list[Genome]:
        """The configurations of a run without a search: those it began with, and those that were added since."""
        known = [individual.genome for individual in self.individuals]
        return known + self.settings.initial[len(known) :]

    @property
    def search_evaluations(self) -> list[Evaluation]:
        """The evaluations of the search, in the order of (individual, replicate)."""
        return [self.evaluations[key] for key in sorted(self.evaluations) if phase_of(key[1]) == "search"]

    @property
    def trainings(self) -> int:
        """How many trainings the search has done, as the budget counts them.

        Where a strategy decides how far to train, each part of a continued training counts; with a pruner, the whole.
        Earlier results do not count: nothing was trained for them.
        """
        made = [evaluation for evaluation in self.results if not evaluation.earlier]
        searched = [evaluation for evaluation in made if phase_of(evaluation.replicate) == "search"]
        if self.settings.pruner is not None:
            return len({(evaluation.individual, evaluation.replicate) for evaluation in searched})
        return len(searched)

    @property
    def counted_proposals(self) -> list[Individual]:
        """The proposals of trainings as `trainings` counts them, with the earlier results."""
        if self.settings.pruner is None:
            return self.proposals
        first: dict[tuple[int, int], Individual] = {}
        for proposal in self.proposals:
            first.setdefault((proposal.id, proposal.replicate), proposal)
        return list(first.values())

    @property
    def finalist_seeds(self) -> int:
        """How many trainings each finalist has: as recorded with the finalists, else as the run was asked for."""
        return self.settings.finalist_seeds if self._finalist_seeds is None else self._finalist_seeds

    @property
    def finalist_evaluations(self) -> list[Evaluation]:
        """The trainings of the current finalists on new seeds, best finalist first."""
        keys = [
            (individual, replicate_number("finalist", place))
            for individual in self.finalists
            for place in range(self.finalist_seeds)
        ]
        return [self.evaluations[key] for key in keys if key in self.evaluations]

    def test_accuracy_of(self, evaluation: Evaluation) -> float | None:
        """Return what a training's weights reach on the test set, measured in the training or after it."""
        if evaluation.test_accuracy is not None:
            return evaluation.test_accuracy
        return self.tests.get((evaluation.individual, evaluation.replicate), {}).get("test_accuracy")

    def counts_confusion(self, phase: Phase) -> bool:
        """Return whether trainings of a phase count which classes they confuse: those that no test follows.

        Trainings of a search do not: what is shown of them is shown of the winner, once its test is done.
        """
        return self.settings.strategy == LISTED or (phase == "finalist" and self.settings.fitness == "test")

    def confusion_of(self, evaluation: Evaluation) -> tuple[str, Confusion]:
        """Return which classes a training confuses, and on which part: the test set if it was measured there."""
        test = self.tests.get((evaluation.individual, evaluation.replicate), {})
        if "confusion" in test:
            return "test", confusion_from_json(test["confusion"])
        return self.settings.fitness, evaluation.confusion

    def unevaluated(self, most: int | None = None) -> list[Individual]:
        """Return the proposals, of all or of the first `most`, that have no result yet.

        The parts of a training have theirs one after another.
        """
        known = Counter({key: len(parts) for key, parts in self._parts.items()})
        counted = {(proposal.id, proposal.replicate) for proposal in self.counted_proposals[:most]}
        first = self.proposals[:most] if self.settings.pruner is None else self.proposals
        waiting = []
        for proposal in first:
            if (proposal.id, proposal.replicate) not in counted:
                continue
            known[proposal.id, proposal.replicate] -= 1
            if known[proposal.id, proposal.replicate] < 0:
                waiting.append(proposal)
        return waiting

    def parts(self, individual: int, replicate: int = 0) -> Iterator[tuple[Individual, Evaluation]]:
        """Yield the results of a training, each with its proposal: one per part if it was paused and continued.

        A configuration that is listed, not proposed, stands for its own proposal.
        """
        key = individual, replicate
        return zip(self._proposed.get(key) or [self.individuals[individual]], self._parts[key], strict=False)

    def by_generation(self) -> dict[int, list[tuple[Individual, Evaluation, float]]]:
        """Return the trainings of the search by the generation that proposed them: proposal, result and seconds.

        A part of a continued training is a training of its own here.
        """
        found: defaultdict[int, list[tuple[Individual, Evaluation, float]]] = defaultdict(list)
        for last in self.search_evaluations:
            before = 0.0
            if last.earlier:
                continue
            for proposal, evaluation in self.parts(last.individual, last.replicate):
                found[proposal.generation].append((proposal, evaluation, evaluation.seconds - before))
                before = evaluation.seconds
        return found

    def fitness_in(self, generation: int | None, individual: int) -> float | None:
        """Return the fitness of a generation's member; None if its training failed.

        If a later generation proposed to continue the training, it is what was reached before that; without a
        generation, what has been reached by now. (In an asynchronous search a part may end after its generation.)
        """
        reached: Evaluation | None = None
        for proposal, evaluation in self.parts(individual):
            if reached is None or generation is None or proposal.generation <= generation:
                reached = evaluation
        return reached.fitness if reached is not None and reached.succeeded else None

    def ranked(self) -> list[RankedIndividual]:
        """Return the individuals whose training did not fail, best first; of equal genomes only the first.

        Paused trainings, by how far they went (see `standing`), only if no genome was fully trained.
        """
        told = self.individuals, self.proposals, self.evaluations, self.answered
        order = ranking(*told, self.settings.sign, self._ties)
        entries = [self._entry(number, fitnesses) for number, fitnesses in order]
        return [entry for entry in entries if entry.evaluation.complete] or entries

    @property
    def _ties(self) -> dict[str, float]:
        """The objectives that decide between genomes of equal fitness, so that the best one is on the front.

        Measured seconds decide nothing. Of older runs the order of the proposals decides: their finalists are chosen.
        """
        if "direction" in self.settings.absent:
            return {}
        goals = self.settings.objectives or {}
        return {
            name: SIGNS[goal] for name, goal in goals.items() if name not in ("fitness", "seconds", self.settings.goal)
        }

    def _entry(self, number: int, fitnesses: tuple[float, ...]) -> RankedIndividual:
        replicates = fitnesses if len(fitnesses) > 1 else ()
        individual = replace(self.individuals[number], until=self.answered[number, 0].until)
        evaluation = self.evaluations[number, 0]
        return RankedIndividual(individual, evaluation, self.config_of(number), replicates)

    def config_of(self, number: int) -> Genome:
        """Return the configuration that an individual stands for: with free steps, the steps of its best checkpoint."""
        evaluation = self.evaluations.get((number, 0))
        steps = evaluation.steps_trained if evaluation is not None and self.settings.free_steps else None
        return self.individuals[number].config | ({STEPS: steps} if steps is not None else {})

    def entry(self, number: int) -> RankedIndividual:
        """Return an individual with what the search measured of it; equal genomes have an entry each."""
        found = [entry for entry in self.search_evaluations if entry.individual == number and entry.succeeded]
        return self._entry(number, tuple(entry.fitness for entry in found if entry.fitness is not None))

    @property
    def best(self) -> RankedIndividual:
        """The winner of the finalists; without a winner, the individual that ranks first.

        Raises:
            RunError: Every evaluation failed.
        """
        if self.winner is not None and self.evaluations[self.winner, 0].succeeded:
            return self.entry(self.winner)
        ranking = self.ranked()
        if not ranking:
            counted = len(self.evaluations)
            if counted and all(evaluation.infeasible for evaluation in self.evaluations.values()):
                raise RunError(
                    f"all {counted} evaluations of this run are infeasible; the column error of its table has the "
                    "reasons. Search a space with more that is allowed, or give evo.Infeasible a violation, which the "
                    "search can follow"
                )
            raise RunError("no evaluation of this run is complete")
        return ranking[0]

    def shares_curves(self, genome: Genome) -> bool:
        """Return whether genomes that differ from one only in their steps are the beginnings of one curve.

        This is known only of shipped models: a user-defined model may read the steps, or keep state outside its
        tensors. It does not hold if an objective needs what a curve does not show (the train accuracy) or what the
        longer training would falsify (the time).
        """
        asked = {"seconds", "train_accuracy"} & set(self.settings.objectives or {})
        searched = any(name in self.space.genes for name in DURATION)
        return self.space.training.prefix_exact(genome) and self.keeps_states and searched and not asked

    @property
    def keeps_states(self) -> bool:
        """Whether a training can be continued from the state after its last step: known only of shipped models."""
        return self.settings.model in MODELS


def space_of(settings: Settings) -> SearchSpace:
    """Return the search space of a run.

    Raises:
        RunError: The settings hold none.
    """
    try:
        return space_from_dict(settings.space, name=settings.space_name, where="settings.json", recorded=True)
    except (ConfigurationError, TypeError, AttributeError) as error:
        raise RunError(f"settings.json: {error}") from None


def _count_of_seeds(value: Any) -> int:
    """Return the number of each finalist's trainings from an event.

    Raises:
        ValueError: It is not such a number.
    """
    most = replicate_number("weights") - replicate_number("finalist")
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise ValueError(f"seeds must be a whole number from 1 to {most}, got {value!r}")
    return value
