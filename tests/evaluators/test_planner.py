"""The longest task starts first, memory bounds what runs at a time, and something always runs."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from evo.evaluators import Task
from evo.evaluators.planner import MEMORY_SHARE, Planner


def task(individual: int, cost: float = 1.0, memory: float = 0.0) -> Task:
    return Task(individual, 0, 0, {}, cost=cost, memory=memory)


def planner(*tasks: Task, free: float = math.inf) -> Planner:
    made = Planner()
    made.limit_memory(free)
    for one in tasks:
        made.add(one)
    return made


def take(planner: Planner, running: Sequence[Task], **options: Any) -> Task | None:
    """Take the next task where no two belong together."""
    batch = planner.take(running, **options)
    assert len(batch) <= 1
    return batch[0] if batch else None


def ids(planner: Planner, running: list[Task] | None = None) -> list[int]:
    """Take every task that there is, one after another; each ends before the next."""
    found = []
    while (one := take(planner, running or [])) is not None:
        found.append(one.individual)
    return found


def test_the_longest_starts_first_and_of_equals_the_first() -> None:
    costs = [2.0, 5.0, 1.0, 5.0, 2.0, math.inf, math.inf]
    made = planner(*(task(number, cost) for number, cost in enumerate(costs)))
    assert len(made) == 7
    assert ids(made) == [5, 6, 1, 3, 0, 4, 2]
    assert len(made) == 0


def test_a_task_that_is_put_back_is_next_and_still_itself() -> None:
    made = planner(task(0, 2.0), task(1, 9.0, memory=7.0), task(2, 3.0))
    taken = take(made, [])
    assert taken is not None
    assert taken.individual == 1
    made.put_back([taken])
    assert len(made) == 3
    again = take(made, [])
    assert again is not None
    assert replace(again, cost=taken.cost) == taken
    assert ids(made) == [2, 0]


def test_a_task_that_is_put_back_is_next_also_before_urgent_ones() -> None:
    made = planner(*(task(number, math.inf) for number in range(3)))
    taken = take(made, [])
    assert taken is not None
    made.put_back([taken])
    assert ids(made) == [0, 1, 2]


def test_what_runs_at_a_time_fits_into_the_share_of_the_free_memory() -> None:
    made = planner(task(0, 9.0, 60.0), task(1, 8.0, 60.0), task(2, 7.0, 30.0), task(3, 6.0, 20.0), free=100.0)
    assert made.memory == pytest.approx(MEMORY_SHARE * 100)
    running: list[Task] = []
    while (one := take(made, running)) is not None:
        running.append(one)
    assert [one.individual for one in running] == [0, 3], "the costliest that fit: 60 + 20 of 85"
    assert len(made) == 2
    running.pop(0)
    following = take(made, running)
    assert following is not None
    assert following.individual == 1


def test_a_task_larger_than_all_memory_runs_alone_and_the_rest_beside_one_another() -> None:
    made = planner(task(0, 9.0, 1000.0), task(1, 1.0, 10.0), task(2, 1.0, 10.0), free=50.0)
    large = take(made, [])
    assert large is not None
    assert large.individual == 0
    assert take(made, [large]) is None
    small = take(made, [])
    assert small is not None
    assert take(made, [small]) is not None


def test_random_tasks_stay_within_memory_and_all_run() -> None:
    rng = random.Random(5)
    for _ in range(50):
        tasks = [task(number, rng.uniform(0, 5), rng.uniform(0, 80)) for number in range(20)]
        made, running, done = planner(*tasks, free=100.0), list[Task](), set[int]()
        while len(made) or running:
            while len(running) < 4 and (one := take(made, running)) is not None:
                running.append(one)
            assert running, "nothing runs although something waits"
            assert len(running) == 1 or sum(one.memory for one in running) <= 85.0
            done.add(running.pop(rng.randrange(len(running))).individual)
        assert done == set(range(20))


def test_a_task_that_ran_out_of_memory_comes_back_alone_and_last_and_half_as_much_may_run() -> None:
    first, second = task(0, 9.0, 40.0), task(1, 8.0, 40.0)
    made = planner(task(2, 1.0, 30.0), task(3, 0.5, 30.0), free=100.0)
    made.out_of_memory(first, beside=[second])
    assert made.memory == pytest.approx(40.0), "half of what ran"
    assert len(made) == 3
    small = take(made, [])
    assert small is not None
    assert small.individual == 2, "it is the costliest, but comes last"
    assert take(made, [small]) is None, "30 and 30 are above 40"
    other = take(made, [])
    assert other is not None
    assert take(made, [other]) is None, "it does not start beside another"
    again = take(made, [])
    assert again == first
    assert ids(made) == []


def test_all_that_ran_beside_a_long_task_one_after_another_counts_for_no_more_than_may_run_at_a_time() -> None:
    long = task(0, 9.0, memory=40.0)
    made = planner(long, free=100.0)
    assert take(made, []) == long
    made.out_of_memory(long, beside=[task(number, memory=40.0) for number in range(1, 9)])
    assert made.memory == pytest.approx(42.5), "half of the 85 of 100 that may run"


def test_where_a_task_is_not_welcome_another_one_starts() -> None:
    made = planner(task(0, 9.0), task(1, 1.0))
    assert take(made, [], is_welcome=lambda one: one.individual != 0) == task(1, 1.0)
    assert take(made, [], is_welcome=lambda one: one.individual != 0) is None
    assert take(made, []) == task(0, 9.0)


def test_the_bound_falls_to_half_of_what_ran_also_where_none_was_known_and_never_rises() -> None:
    made = planner()
    made.out_of_memory(task(0, memory=40.0), beside=[task(1, memory=20.0)])
    assert made.memory == 30.0
    made.out_of_memory(task(0, memory=400.0), beside=[task(1, memory=200.0)])
    assert made.memory == 30.0
    made.out_of_memory(task(0, memory=10.0), beside=[task(1, memory=10.0)])
    assert made.memory == 10.0


def test_while_a_task_runs_alone_nothing_starts_beside_it() -> None:
    made = planner()
    lonely = task(0)
    made.out_of_memory(lonely, beside=[task(1)])
    assert take(made, []) == lonely
    made.add(task(2))
    made.add(task(3))
    assert take(made, [lonely]) is None
    following = take(made, [])
    assert following is not None
    assert take(made, [following]) is not None, "afterwards as before"


def test_two_that_ran_out_of_memory_run_one_after_another() -> None:
    made = planner()
    for number in range(2):
        made.out_of_memory(task(number), beside=[task(9)])
    first = take(made, [])
    assert first is not None
    assert take(made, [first]) is None
    assert ids(made) == [1]


def test_tasks_of_unknown_memory_still_run_at_a_time_after_one_ran_out() -> None:
    made = planner(task(0), task(1), task(2))
    made.out_of_memory(task(3), beside=[task(0)])
    running: list[Task] = []
    while (one := take(made, running)) is not None:
        running.append(one)
    assert [one.individual for one in running] == [0, 1, 2]


def test_a_cleared_planner_has_nothing_left() -> None:
    made = planner(task(0), task(1))
    made.out_of_memory(task(2), beside=[task(0)])
    made.clear()
    assert len(made) == 0
    assert take(made, []) is None
    made.add(task(3))
    assert ids(made) == [3]
