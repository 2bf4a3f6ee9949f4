"""Threads that work on one step together: a barrier inside compiled code, and who runs it.

The workers are Python threads that call one compiled function without the interpreter's lock and
meet at barriers inside it, dozens of times a step, which costs less than handing every part of the
step to a pool. Knows no arithmetic. Called by `decoder` and by what runs it.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from ._jit import jit
from ._simd import atomic_add, atomic_load, give_way

_SPINS = 4096  # looks at the barrier before the processor is offered to others
_GENERATION = 16  # a cache line away from the count
_LEFT = 17  # not 0: a thread has gone and will not come
BARRIER = 32  # int64 numbers of a barrier; a team has one for all and one for each thread


@jit
def meet(barrier, threads):  # type: ignore[no-untyped-def]
    """Wait until `threads` threads have come here, or one will not come any more.

    barrier: int64 (BARRIER,), zeros at first.
    """
    if threads == 1:
        return
    generation = atomic_load(barrier, _GENERATION)
    if atomic_add(barrier, 0, 1) == threads - 1:
        atomic_add(barrier, 0, -threads)
        atomic_add(barrier, _GENERATION, 1)
        return
    spins = 0
    while atomic_load(barrier, _GENERATION) == generation and atomic_load(barrier, _LEFT) == 0:
        spins += 1
        if spins > _SPINS:
            give_way()


def processors() -> int:
    """Processors this process may use; OMP_NUM_THREADS lowers it, as it does for torch."""
    try:
        free = len(os.sched_getaffinity(0))
    except AttributeError:
        free = os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return min(free, int(asked)) if asked.isdecimal() and int(asked) > 0 else free


class Team:
    """Runs function(thread, threads, barrier, *args) in every thread, the caller's among them.

    One call at a time has the workers; another that comes meanwhile runs in its own thread alone,
    with the same result. `threads` 1 never starts a worker. A call that is interrupted (Ctrl-C) or
    fails in one thread is given up by all; what it was to write is undefined, the next call works.
    """

    def __init__(self, threads: int | None = None) -> None:
        """threads: None for as many as there are processors, at most 16."""
        wanted = min(processors(), 16) if threads is None else threads
        self.threads = max(1, wanted)
        self._turn = threading.Lock()
        self._inboxes: list[queue.SimpleQueue[Any]] = []  # of workers that wait
        self._process = os.getpid()

    def run(self, function: Callable[..., None], *args: Any) -> None:
        """Call it on every thread of the team and wait for all."""
        if self._process != os.getpid():  # neither threads nor their locks live through a fork
            self._turn, self._inboxes, self._process = threading.Lock(), [], os.getpid()
        if self.threads == 1 or self._turn.locked():
            function(0, 1, np.zeros(BARRIER, np.int64), *args)
            return
        with self._turn:
            # An interrupt may come anywhere: workers are of the team only while they wait.
            inboxes, self._inboxes = self._inboxes, []
            barrier = np.zeros(BARRIER * (self.threads + 1), np.int64)
            # not a Semaphore: an interrupt inside one leaves it locked
            done, failed = queue.SimpleQueue[None](), list[BaseException]()
            working = 0
            try:
                while len(inboxes) < self.threads - 1:
                    inboxes.append(_hired())
                for number, inbox in enumerate(inboxes, start=1):
                    inbox.put((function, number, self.threads, barrier, args, done, failed))
                    working += 1
                function(0, self.threads, barrier, *args)
                while working:
                    done.get()
                    working -= 1
            except BaseException:
                barrier[_LEFT::BARRIER] = 1
                _dismiss(inboxes)
                with contextlib.suppress(queue.Empty):
                    for _ in range(working):  # they have no far way to go
                        done.get(timeout=0.2)
                raise
            self._inboxes = inboxes
            if failed:
                raise failed[0]

    def __del__(self) -> None:
        for inbox in getattr(self, "_inboxes", []):  # no other name is left at the very end
            inbox.put(None)


def _hired() -> queue.SimpleQueue[Any]:
    """A new worker's inbox."""
    inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_work, args=(inbox,), daemon=True).start()
    return inbox


def _dismiss(inboxes: list[queue.SimpleQueue[Any]]) -> None:
    """Let workers go when they have done what they are at."""
    for inbox in inboxes:
        inbox.put(None)


def _work(inbox: queue.SimpleQueue[Any]) -> None:
    while (job := inbox.get()) is not None:
        function, number, threads, barrier, args, done, failed = job
        try:
            function(number, threads, barrier, *args)
        except BaseException as error:  # the caller raises it
            failed.append(error)
            barrier[_LEFT::BARRIER] = 1
        done.put(None)
        del job, function, barrier, args


_shared: list[Team] = []


def shared_team() -> Team:
    """The team of this process, one thread a processor; made on its first use."""
    if not _shared:
        _shared.append(Team())
    return _shared[0]
