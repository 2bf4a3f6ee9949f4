"""Threads that meet inside compiled code: nobody waits for one who will not come."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np
import pytest
from meeting import counted, expected

from constrained_gpt.kernels._team import Team, meet


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_meet(threads: int) -> None:
    team = Team(threads)
    for _ in range(20):
        out = counted(team)
        assert (out == np.array(expected(threads))[:, None]).all()


def test_a_failure_in_one_thread_is_everybodys() -> None:
    """The others do not wait at the barrier for ever, the caller hears of it, the team goes on."""
    team = Team(3)

    def failing(thread: int, threads: int, barrier: np.ndarray, bad: int) -> None:
        if thread == bad:
            raise MemoryError(f"thread {bad}")
        meet(barrier, threads)

    for bad in (0, 1, 2):
        with pytest.raises(MemoryError, match=f"thread {bad}"):
            team.run(failing, bad)
        assert (counted(team) == np.array(expected(3))[:, None]).all()


def test_a_second_caller_runs_alone() -> None:
    team = Team(2)
    inside, go_on = threading.Event(), threading.Event()
    seen: list[Any] = []

    def slow(thread: int, threads: int, barrier: np.ndarray) -> None:
        inside.set()
        go_on.wait(10)

    other = threading.Thread(target=team.run, args=(slow,))
    other.start()
    assert inside.wait(10)
    team.run(lambda thread, threads, barrier: seen.append((thread, threads)))
    go_on.set()
    other.join()
    assert seen == [(0, 1)]
    team.run(lambda thread, threads, barrier: seen.append((thread, threads)))
    assert sorted(seen[1:]) == [(0, 2), (1, 2)]


def test_workers_that_have_fallen_asleep_come_when_called() -> None:
    """The pauses are about as long as a worker looks out: some calls come as it lies down."""
    team = Team(2)
    rng = np.random.default_rng(0)
    wanted = np.array(expected(2, 5))[:, None]
    for pause in (*rng.uniform(0, 4e-3, 150), 0.2, 0.0, 0.2):
        time.sleep(pause)
        assert (counted(team, 5) == wanted).all()


def test_no_more_threads_than_a_desk_has_places() -> None:
    with pytest.raises(ValueError, match="at most 16"):
        Team(17)


def test_a_team_that_is_gone_leaves_no_threads() -> None:
    before = set(threading.enumerate())
    team = Team(4)
    counted(team)
    workers = set(threading.enumerate()) - before
    assert len(workers) == 3
    del team
    gc.collect()
    for worker in workers:
        worker.join(20)
    assert not any(worker.is_alive() for worker in workers)


_INTERRUPTED = """
import os, random, signal, sys
import numpy as np
sys.path.insert(0, {tests!r})
from meeting import Team, counted, expected

def stop(number, frame):
    raise KeyboardInterrupt

signal.signal(signal.SIGALRM, stop)
rng = random.Random(1)
team = Team(3)
wanted = np.array(expected(3, 30))[:, None]
counted(team)
caught = 0
for trial in range(60):
    try:
        signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-5, 3e-3))
        while True:
            counted(team, 30)
    except KeyboardInterrupt:
        caught += 1
    assert (counted(team, 30) == wanted).all(), trial
child = os.fork()
if child == 0:  # the workers did not come along
    os._exit(0 if (counted(team, 30) == wanted).all() else 3)
assert os.waitpid(child, 0)[1] == 0
print(caught, "interrupts")
"""


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="needs signals and fork")
def test_interrupts_and_forks(request: pytest.FixtureRequest) -> None:
    """Ctrl-C at any moment: nothing hangs, and the next call is right. In a process of its own,
    which can be stopped if it does hang."""
    script = _INTERRUPTED.format(tests=str(request.path.parent.parent))
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "60 interrupts\n"


def test_workers_are_woken_before_they_are_needed() -> None:
    team = Team(3)
    assert not team.awake()
    team.wake()
    assert team.awake()
    assert (counted(team) == np.array(expected(3))[:, None]).all()
    until = time.monotonic() + 60
    while team.awake():  # they go to sleep of their own accord, called or not
        assert time.monotonic() < until
        time.sleep(0.001)
    team.wake()
    while team.awake():
        assert time.monotonic() < until
        time.sleep(0.001)
    assert (counted(team) == np.array(expected(3))[:, None]).all()
    Team(1).wake()
    assert not Team(1).awake()
