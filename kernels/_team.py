"""Threads that work on one step together: a barrier inside compiled code, and who runs it.

The workers are Python threads that call one compiled function without the interpreter's lock and
meet at barriers inside it, dozens of times a step, which costs less than handing every part of the
step to a pool. Knows no arithmetic. Called by `decoder` and by what runs it.
"""

from __future__ import annotations

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
BARRIER = 32  # int64 numbers of a barrier; a team has one for each of its threads


@jit
def meet(barrier, threads):  # type: ignore[no-untyped-def]
    """Wait until `threads` threads have come here. barrier: int64 (BARRIER,), zeros at first."""
    if threads == 1:
        return
    generation = atomic_load(barrier, _GENERATION)
    if atomic_add(barrier, 0, 1) == threads - 1:
        atomic_add(barrier, 0, -threads)
        atomic_add(barrier, _GENERATION, 1)
        return
    spins = 0
    while atomic_load(barrier, _GENERATION) == generation:
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
    return min(free, int(asked)) if asked.isdigit() and int(asked) > 0 else free


class Team:
    """Runs function(thread, threads, barrier, *args) in every thread, the caller's among them.

    One call at a time has the workers; another that comes meanwhile runs in its own thread alone,
    with the same result. `threads` 1 never starts a worker.
    """

    def __init__(self, threads: int | None = None) -> None:
        """threads: None for as many as there are processors, at most 16."""
        wanted = min(processors(), 16) if threads is None else threads
        self.threads = max(1, wanted)
        self._busy = threading.Lock()
        self._inboxes: list[queue.SimpleQueue[Any]] = []
        self._process = os.getpid()

    def run(self, function: Callable[..., None], *args: Any) -> None:
        """Call it on every thread of the team and wait for all."""
        if self.threads == 1 or not self._busy.acquire(blocking=False):
            function(0, 1, np.zeros(BARRIER, np.int64), *args)
            return
        try:
            if self._process != os.getpid():  # threads do not live through a fork
                self._inboxes, self._process = [], os.getpid()
            while len(self._inboxes) < self.threads - 1:
                inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
                worker = threading.Thread(target=self._work, args=(inbox,), daemon=True)
                worker.start()
                self._inboxes.append(inbox)
            barrier = np.zeros(BARRIER * self.threads, np.int64)
            done = threading.Semaphore(0)
            for number, inbox in enumerate(self._inboxes, start=1):
                inbox.put((function, number, self.threads, barrier, args, done))
            function(0, self.threads, barrier, *args)
            for _ in self._inboxes:
                done.acquire()
        finally:
            self._busy.release()

    @staticmethod
    def _work(inbox: queue.SimpleQueue[Any]) -> None:
        while True:
            function, number, threads, barrier, args, done = inbox.get()
            try:
                function(number, threads, barrier, *args)
            finally:
                done.release()
            del function, barrier, args


_shared: list[Team] = []


def shared_team() -> Team:
    """The team of this process, one thread a processor; made on its first use."""
    if not _shared:
        _shared.append(Team())
    return _shared[0]
