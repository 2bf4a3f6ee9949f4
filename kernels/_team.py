"""Threads that work on one step together: a barrier inside compiled code, and who runs it.

The workers are Python threads that run one compiled function without the interpreter's lock and
meet at barriers inside it, dozens of times a step, which costs less than handing every part of the
step to a pool. Between two steps they look out for the next one for a while, in compiled code too:
waking a thread that sleeps costs some 50 microseconds, a step begins 20 times sooner for one that
is awake. Knows no arithmetic. Called by `decoder` and by what runs it.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from ._jit import jit
from ._threads import atomic_add, atomic_load, atomic_swap, give_way, job_of, pause, run_job

_SPINS = 4096  # looks at the barrier before the processor is offered to others
_LOOKS, _OFFERS = 20_000, 2_000  # looks for the next job, then with such offers, before sleep
_GENERATION = 16  # a cache line away from the count
LEFT = 17  # not 0: a thread has gone and will not come
BARRIER = 32  # int64 numbers of a barrier; a team has one for all and one for each thread

# A team's desk, int64: what is to be done, by whom, and the barriers of those who do it. What one
# thread writes while another reads it has a cache line to itself.
_JOBS = 0  # so many were given out
_CODE, _DATA, _THREADS, _FAILED = 8, 9, 10, 11  # of the present one
_DONE = 16  # workers that have done it
_STATES, _STATE = 32, 8  # of worker w: _STATES + w * _STATE
_ASLEEP, _AWAKE, _WANTED = 0, 1, 2  # or looking out for a job; or bound to get one
_MOST = 16  # threads
_BARRIERS = _STATES + _MOST * _STATE


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
    while atomic_load(barrier, _GENERATION) == generation and atomic_load(barrier, LEFT) == 0:
        spins += 1
        if spins > _SPINS:
            give_way()


@jit
def _call(desk):  # type: ignore[no-untyped-def]
    """Want every worker; the numbers of those asleep, as bits: they must be woken."""
    asleep = 0
    for worker in range(1, desk[_THREADS]):
        at = _STATES + worker * _STATE
        if atomic_swap(desk, at, _AWAKE, _WANTED) == _ASLEEP:
            atomic_swap(desk, at, _ASLEEP, _WANTED)
            asleep |= 1 << worker
    return asleep


@jit
def _wake(desk):  # type: ignore[no-untyped-def]
    """The numbers of workers who slept and do not any more, as bits: they must be told."""
    asleep = 0
    for worker in range(1, desk[_THREADS]):
        if atomic_swap(desk, _STATES + worker * _STATE, _ASLEEP, _AWAKE) == _ASLEEP:
            asleep |= 1 << worker
    return asleep


@jit
def _serve(desk, worker, jobs):  # type: ignore[no-untyped-def]
    """Do what is given out after the first `jobs`, until nothing has been for a while; how many
    were given out by then."""
    state = _STATES + worker * _STATE
    looks = 0
    while True:
        if atomic_load(desk, _JOBS) != jobs:
            jobs += 1
            if run_job(desk[_CODE], desk[_DATA], worker, desk[_THREADS]) != 0:
                _leave(desk)
            atomic_swap(desk, state, _WANTED, _AWAKE)
            atomic_add(desk, _DONE, 1)
            looks = 0
        elif looks < _LOOKS:
            pause()
            looks += 1
        elif looks < _LOOKS + _OFFERS:
            give_way()
            looks += 1
        elif atomic_swap(desk, state, _AWAKE, _ASLEEP) == _AWAKE:
            return jobs
        elif atomic_load(desk, _BARRIERS + LEFT) != 0:
            return jobs  # whoever wanted this worker was interrupted
        else:
            give_way()


@jit
def _leave(desk):  # type: ignore[no-untyped-def]
    """Nobody waits at a barrier any more."""
    atomic_add(desk, _FAILED, 1)
    for barrier in range(desk[_THREADS] + 1):
        atomic_add(desk, _BARRIERS + barrier * BARRIER + LEFT, 1)


def _given_out(desk, *args):  # type: ignore[no-untyped-def]
    """Run `kernel` on every thread; the caller is the first, the others are wanted already. False
    where one failed."""
    threads = desk[_THREADS]
    job = job_of(kernel, desk[_BARRIERS:], args)  # type: ignore[name-defined]  # noqa: F821
    code, data = job
    if threads > 1:
        desk[_CODE], desk[_DATA] = code, data
        atomic_add(desk, _JOBS, 1)
    if run_job(code, data, 0, threads) != 0:
        _leave(desk)
    looks = 0
    while atomic_load(desk, _DONE) < threads - 1:
        looks += 1
        if looks > _SPINS:
            give_way()
    desk[_DONE] = 0
    return desk[_FAILED] == 0


def _launcher(kernel: Any) -> Callable[..., bool]:
    """`_given_out` for one kernel, compiled; kept on disk beside the kernel itself."""
    written = kernel.py_func.__code__
    code = _given_out.__code__.replace(
        co_filename=written.co_filename, co_firstlineno=written.co_firstlineno
    )
    known = {
        **{name: globals()[name] for name in code.co_names if name in globals()},
        "kernel": kernel, "__name__": kernel.py_func.__module__,
    }  # fmt: skip
    launch = types.FunctionType(code, known, f"given_out_{written.co_name}")
    launch.__qualname__ = launch.__name__
    return jit(launch)  # type: ignore[no-any-return]


_launchers: dict[Any, Callable[..., bool]] = {}  # by kernel


def _desk(threads: int) -> np.ndarray:
    desk = np.zeros(_BARRIERS + BARRIER * (threads + 1), np.int64)
    desk[_THREADS] = threads
    return desk


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
    Compiled functions (`_jit.jit`) are handed over in compiled code; plain ones work too.
    """

    def __init__(self, threads: int | None = None) -> None:
        """threads: None for as many as there are processors, at most 16."""
        wanted = min(processors(), _MOST) if threads is None else threads
        if wanted > _MOST:
            raise ValueError(f"a team has at most {_MOST} threads, not {wanted}")
        self.threads = max(1, wanted)
        self._turn = threading.Lock()
        self._crew: _Crew | None = None
        self._process = os.getpid()

    def run(self, function: Callable[..., None], *args: Any) -> None:
        """Call it on every thread of the team and wait for all."""
        if self._process != os.getpid():  # neither threads nor their locks live through a fork
            self._turn, self._crew, self._process = threading.Lock(), None, os.getpid()
        if self.threads == 1 or self._turn.locked():
            self.alone(function, *args)
            return
        with self._turn:
            # An interrupt may come anywhere: workers are of the team only while they wait.
            crew, self._crew = self._crew, None
            try:
                if crew is None:
                    crew = _Crew(self.threads)
                crew.run(function, args)
            except BaseException:
                if crew is not None:
                    crew.dismiss()
                raise
            self._crew = crew

    def awake(self) -> bool:
        """Would `run` find its workers looking out for work? For work that is done sooner than one
        that sleeps is woken."""
        crew = self._crew
        return crew is not None and self._process == os.getpid() and crew.awake()

    def wake(self) -> None:
        """Let the workers look out for work, for a moment; waits for none of them."""
        if self.threads > 1 and self._process == os.getpid() and not self._turn.locked():
            with self._turn:
                crew, self._crew = self._crew or _Crew(self.threads), None
                crew.wake()
                self._crew = crew

    def alone(self, function: Callable[..., None], *args: Any) -> None:
        """Call it on the caller's thread only: for what is not worth two."""
        if hasattr(function, "py_func"):
            _launch(function, _desk(1), args)
        else:
            function(0, 1, np.zeros(BARRIER * 2, np.int64), *args)

    def __del__(self) -> None:
        if getattr(self, "_crew", None) is not None:
            self._crew.release()  # type: ignore[union-attr]


def _launch(function: Any, desk: np.ndarray, args: tuple[Any, ...]) -> None:
    """Run a compiled function on the threads of a desk."""
    launch = _launchers.get(function)
    if launch is None:
        launch = _launchers[function] = _launcher(function)
    if not launch(desk, *args):
        raise MemoryError("no memory for a thread of the step; free some and try again")


class _Crew:
    """A team's workers and what they share. `dismiss` if anything goes wrong, else `release`."""

    def __init__(self, threads: int) -> None:
        self.desk = _desk(threads)
        self._inboxes: list[queue.SimpleQueue[Any]] = [
            queue.SimpleQueue() for _ in range(threads - 1)
        ]
        # not a Semaphore: an interrupt inside one leaves it locked
        self._done = queue.SimpleQueue[BaseException | None]()
        for worker, inbox in enumerate(self._inboxes, start=1):
            args = (worker, inbox, self.desk, self._done)
            threading.Thread(target=_work, args=args, daemon=True).start()

    def run(self, function: Callable[..., None], args: tuple[Any, ...]) -> None:
        """Call it on all threads and wait for them."""
        if hasattr(function, "py_func"):
            self._tell(_call(self.desk))
            _launch(function, self.desk, args)
            return
        threads = len(self._inboxes) + 1
        barrier = np.zeros(BARRIER * (threads + 1), np.int64)
        working, failed = 0, None
        try:
            for inbox in self._inboxes:
                inbox.put((function, threads, barrier, args))
                working += 1
            function(0, threads, barrier, *args)
            while working:
                failed = self._done.get() or failed
                working -= 1
        except BaseException:
            barrier[LEFT::BARRIER] = 1
            with contextlib.suppress(queue.Empty):
                for _ in range(working):  # they have no far way to go
                    self._done.get(timeout=0.2)
            raise
        if failed is not None:
            raise failed

    def awake(self) -> bool:
        """Is no worker asleep?"""
        states = self.desk[_STATES + _STATE : _STATES + _STATE * (1 + len(self._inboxes)) : _STATE]
        return bool(states.all())

    def wake(self) -> None:
        """Let the workers look at the desk for a while."""
        self._tell(_wake(self.desk))

    def _tell(self, asleep: int) -> None:
        """Let those of whom the bits are set look at the desk."""
        if asleep:
            for worker, inbox in enumerate(self._inboxes, start=1):
                if asleep >> worker & 1:
                    inbox.put(_SERVE)

    def dismiss(self) -> None:
        """Let the workers go, whatever they are at."""
        self.desk[_BARRIERS + LEFT :: BARRIER] = 1
        self.release()

    def release(self) -> None:
        """Let the workers go when they have nothing to do."""
        for inbox in self._inboxes:  # no other name is left at the very end
            inbox.put(None)


_SERVE = object()  # into a worker's inbox: look at the desk


def _work(
    worker: int, inbox: queue.SimpleQueue[Any], desk: np.ndarray,
    done: queue.SimpleQueue[BaseException | None],
) -> None:  # fmt: skip
    jobs = 0
    while (job := inbox.get()) is not None:
        if job is _SERVE:
            jobs = _serve(desk, worker, jobs)
            continue
        function, threads, barrier, args = job
        failed: BaseException | None = None
        try:
            function(worker, threads, barrier, *args)
        except BaseException as error:  # the caller raises it
            failed = error
            barrier[LEFT::BARRIER] = 1
        done.put(failed)
        del job, function, barrier, args, failed


_shared: list[Team] = []


def shared_team() -> Team:
    """The team of this process, one thread a processor; made on its first use."""
    if not _shared:
        _shared.append(Team())
    return _shared[0]
