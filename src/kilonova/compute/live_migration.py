"""The steps of a live migration on the two hosts: one prepares, one hands over, and the database says who goes on."""

import asyncio

import msgspec

from kilonova.compute.build import prepare
from kilonova.compute.step import StepRun
from kilonova.compute.tools import Tools
from kilonova.messaging.contract import MoveProgress
from kilonova.model.errors import HostFault
from kilonova.model.guest import GuestState
from kilonova.model.migration import Wish
from kilonova.model.server import PowerState

_ASK_EVERY = 1.0  # seconds between two looks at what the operator wishes


async def receive(run: StepRun, tools: Tools) -> None:
    """Make a guest ready that waits for its memory; where it waits goes into the action's work."""
    assert run.asked.guest is not None
    spec = msgspec.structs.replace(run.asked.guest, epoch=run.epoch, incoming=True)
    await prepare(run, tools, spec)
    guest = await tools.driver.show_guest(spec.server_id)
    await run.finish(output={"ticket": "" if guest is None else guest.incoming})


async def transfer(run: StepRun, tools: Tools) -> None:
    """Send the guest. Once it is handed over it stands here, and goes on only if the move fails after all."""
    with run.timeline.span("transfer"):
        if await run.wish(MoveProgress()) == Wish.ABORT:
            raise _aborted()
        ticket = str(run.asked.work.get("ticket", ""))
        moving = asyncio.ensure_future(tools.driver.move(run.asked.server_id, ticket))
        try:
            await _see_through(run, tools, moving)
        except (Exception, asyncio.CancelledError):
            moving.cancel()
            await asyncio.gather(moving, return_exceptions=True)
            raise
    await run.finish()


async def _see_through(run: StepRun, tools: Tools, moving: asyncio.Future[None]) -> None:
    """Until the guest is handed over, or an operator wishes otherwise."""
    while True:
        pause = asyncio.ensure_future(tools.clock.sleep(_ASK_EVERY))
        await asyncio.wait((moving, pause), return_when=asyncio.FIRST_COMPLETED)
        pause.cancel()
        if moving.done():
            await moving
            return
        wish = await run.wish(MoveProgress())
        if wish == Wish.ABORT:
            raise _aborted()
        if wish == Wish.FORCE_COMPLETE:
            await tools.driver.set_paused(run.asked.server_id, True)


def _aborted() -> HostFault:
    return HostFault("The live migration was aborted by an operator.", retry=False)


async def settle(run: StepRun, tools: Tools) -> None:
    """The database has the server here: its guest goes on."""
    with run.timeline.span("settle"):
        await tools.driver.release(run.asked.server_id)
    await run.finish(_power(run))


async def keep(run: StepRun, tools: Tools) -> None:
    """The move has failed: the guest goes on here, if it was handed over already."""
    with run.timeline.span("keep"):
        guest = await tools.driver.show_guest(run.asked.server_id)
        if guest is not None and guest.state is GuestState.MOVED:
            await tools.driver.release(run.asked.server_id)
    await run.finish(_power(run))


def _power(run: StepRun) -> PowerState:
    return PowerState.PAUSED if run.asked.work.get("stays_paused") else PowerState.RUNNING
