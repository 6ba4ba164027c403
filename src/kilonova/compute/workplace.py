"""Who works on which server of this host: one step at a time each, a delete ends what it finds."""

import asyncio

from kilonova.compute.step import StepRun
from kilonova.messaging.contract import RunningStep


class Workplace:
    """The steps at work on this host, by server."""

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}
        self._waiting: dict[str, int] = {}
        self._runs: dict[str, StepRun] = {}  # by action
        self._tasks: dict[str, asyncio.Task[object]] = {}  # by server
        self._left: set[str] = set()

    def running(self) -> list[RunningStep]:
        """What the heartbeat renews."""
        return [RunningStep(action_id=action_id, epoch=run.epoch) for action_id, run in self._runs.items()]

    def busy(self, server_id: str) -> bool:
        """Whether somebody works on the server, or waits to."""
        return server_id in self._locks

    def watch(self) -> set[str]:
        """The servers that somebody has ended working on since now; it grows, until the next such call."""
        self._left = set()
        return self._left

    def hold(self, run: StepRun) -> None:
        """From now on the heartbeat renews this step."""
        self._runs[run.asked.action_id] = run
        task = asyncio.current_task()
        assert task is not None
        self._tasks[run.asked.server_id] = task

    def let_go(self, run: StepRun) -> None:
        """Its lease is nobody's business any more."""
        self._runs.pop(run.asked.action_id, None)
        self._tasks.pop(run.asked.server_id, None)

    def cancel_action(self, action_id: str) -> None:
        """The action is no longer ours: stop working on it.

        Unless it is being finished: then it may be over because *we* have finished it and the word is still on its way.
        The step hears that word itself, or leaves the guest as it is, prepared, to reconcile.
        """
        run = self._runs.get(action_id)
        if run is not None and not run.finishing:
            self.cancel_server(run.asked.server_id)

    def cancel_server(self, server_id: str) -> None:
        """Stop whatever is at work on a server; its step undoes itself."""
        task = self._tasks.get(server_id)
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    async def enter(self, server_id: str) -> None:
        """Wait for the turn on a server."""
        self._waiting[server_id] = self._waiting.get(server_id, 0) + 1
        lock = self._locks.setdefault(server_id, asyncio.Lock())
        try:
            await lock.acquire()
        except BaseException:
            self._leave_queue(server_id)
            raise

    def leave(self, server_id: str) -> None:
        """The next one's turn."""
        self._locks[server_id].release()
        self._left.add(server_id)
        self._leave_queue(server_id)

    def _leave_queue(self, server_id: str) -> None:
        self._waiting[server_id] -= 1
        if not self._waiting[server_id]:
            del self._waiting[server_id]
            del self._locks[server_id]
