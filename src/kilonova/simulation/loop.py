"""The event loop of a simulated world: virtual time, and a seed that decides whose turn it is.

Several *processes* share the loop. To which one a callback belongs is kept in a context variable, so that it is inherited
by every task and timer that a process makes. Within a process callbacks run in the order asyncio promises; between
processes the seed chooses. A process that was killed is never run again: its tasks stand where they stood, no ``finally``
of theirs runs, as after ``kill -9``. One that is frozen (``kill -STOP``) does nothing, and does all of it when it goes on.
"""

import asyncio
import contextvars
import heapq
from collections import deque
from collections.abc import Callable
from typing import Any

from kilonova.model.clock import Random

STEPS_AT_MOST = 3_000_000
EPOCH = 1_800_000_000_000_000
"""The wall clock at virtual zero, in microseconds."""

PROCESS: contextvars.ContextVar["Process | None"] = contextvars.ContextVar("simulated process", default=None)


class Livelock(Exception):
    """Virtual time stands still although there is always something to do, or the world never ends."""


class Process:
    """One life of a simulated operating-system process. ``held`` is what has come to it while it is ``frozen``."""

    def __init__(self, name: str, *, skew: float = 0.0) -> None:
        self.name = name
        self.skew = skew
        self.alive = True
        self.ready = False
        self.frozen = False
        self.held: list[asyncio.Handle] = []
        self.on_death: Callable[[Process], None] = lambda process: None
        self._fate: tuple[int, Callable[[], None]] | None = None
        self.context = contextvars.copy_context()
        self.context.run(PROCESS.set, self)

    def kill(self) -> None:
        """At once, wherever its tasks are."""
        if self.alive:
            self.alive = False
            self.held.clear()
            self.on_death(self)

    def freeze(self) -> None:
        """It stands still where it is, and does not notice."""
        self.frozen = True

    def meets(self, turns: int, fate: Callable[[], None]) -> None:
        """``fate`` befalls it after so many turns of its own, unless it is spared; the latest counts."""
        self._fate = (turns, fate)

    def spare(self, fate: Callable[[], None] | None = None) -> None:
        """What was to befall it does not; with ``fate``, only that."""
        if self._fate is not None and fate in (None, self._fate[1]):
            self._fate = None

    def turned(self) -> None:
        """A turn has ended, which is an await point."""
        if self._fate is not None:
            turns, fate = self._fate
            self._fate = (turns - 1, fate) if turns > 0 else None
            if self._fate is None:
                fate()


class SimulatedLoop(asyncio.BaseEventLoop):
    """Time jumps to the next timer when nobody has anything left to do."""

    _ready: deque[asyncio.Handle]
    _scheduled: list[tuple[float, int, asyncio.TimerHandle]]
    _stopping: bool

    def __init__(self, source: Random, *, most_turns: int | None = STEPS_AT_MOST) -> None:
        super().__init__()
        self._most_turns = most_turns
        self._moment = 0.0
        self._asked = 0
        self._source = source
        self._clock_resolution = 1e-9
        self.turns = 0
        self.set_exception_handler(lambda loop, context: None)  # killed tasks leave futures that nobody asks
        self.over = False
        self.neutral = contextvars.copy_context()
        """The context of what belongs to no process: the network, the machines, the passing of time."""

    def time(self) -> float:
        return self._moment

    def call_soon(  # type: ignore[override]  # the stub ties the arguments to the callback's; we only pass them on
        self, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        if not self.over:  # afterwards only the remains of killed tasks are collected
            self._ready.append(handle)
        return handle

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        # Numbers compare faster than handles do, and what is due at one moment comes in the order it was asked for.
        self._asked += 1
        heapq.heappush(self._scheduled, (when, self._asked, timer))
        return timer

    def later(self, seconds: float, callback: Callable[..., Any], *args: Any) -> asyncio.TimerHandle:
        """``call_later`` for what goes on whoever dies."""
        return self.call_later(seconds, callback, *args, context=self.neutral)

    def create_task(
        self, coro: Any, *, name: object = None, context: contextvars.Context | None = None
    ) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(
            coro, loop=self, name=None if name is None else str(name), context=context
        )
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        return task

    def _run_once(self) -> None:
        ready, scheduled = self._ready, self._scheduled
        if not ready:
            self._jump()
        while scheduled and scheduled[0][0] <= self._moment:
            timer = heapq.heappop(scheduled)[2]
            if not timer.cancelled():
                ready.append(timer)
        while ready and not self._stopping:
            handle = ready.popleft() if len(ready) == 1 else self._choose(ready)
            if handle._cancelled:
                continue
            process = handle._context.get(PROCESS)  # type: ignore[attr-defined]
            if process is None:
                handle._run()
            elif process.frozen and process.alive:
                process.held.append(handle)
            elif process.alive:
                handle._run()
                process.turned()
            self.turns += 1
            if self._most_turns is not None and self.turns > self._most_turns:
                raise Livelock(f"{self.turns} turns, and virtual time is only {self._moment:.3f} s")

    def thaw(self, process: Process) -> None:
        """It goes on, with all that has come meanwhile: what was asked of it, answers, timers that ran out."""
        process.frozen = False
        self._ready.extend(process.held)
        process.held.clear()

    def _jump(self) -> None:
        scheduled = self._scheduled
        while scheduled and scheduled[0][2].cancelled():
            heapq.heappop(scheduled)
        if not scheduled:
            raise Livelock("nobody has anything left to do, and nothing will ever happen")
        self._moment = max(self._moment, scheduled[0][0])

    def _choose(self, ready: deque[asyncio.Handle]) -> asyncio.Handle:
        """The oldest callback of a process that the seed picks: asyncio promises an order only within one."""
        picked = ready[int(self._source.random() * len(ready))]._context.get(PROCESS)  # type: ignore[attr-defined]
        for index, handle in enumerate(ready):
            if handle._context.get(PROCESS) is picked:  # type: ignore[attr-defined]
                del ready[index]
                return handle
        raise AssertionError("unreachable: the picked callback is among them")

    def _check_closed(self) -> None:
        """Nothing is held that could be closed; what is left of killed tasks may be collected after us."""

    def _process_events(self, event_list: object) -> None:
        """There are no descriptors."""

    def _write_to_self(self) -> None:
        """There are no threads to be woken by."""


class SimulatedClock:
    """A process's ``Clock``: its wall clock is ``skew`` seconds off, and may jump."""

    def __init__(self, loop: SimulatedLoop, skew: float = 0.0) -> None:
        self._loop = loop
        self._epoch = EPOCH + int(skew * 1_000_000)

    def now(self) -> int:
        return self._epoch + int(self._loop.time() * 1_000_000)

    def jump(self, seconds: float) -> None:
        """Somebody sets the wall clock. Nothing that runs on the monotonic one notices."""
        self._epoch += int(seconds * 1_000_000)

    def monotonic(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)  # noqa: TID251 -- on this loop it takes no time
