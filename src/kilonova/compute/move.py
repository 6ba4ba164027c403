"""The steps of resize and cold migration on the two hosts. Decision 0005: one side may run, and the database says which."""

import msgspec
import structlog

from kilonova.compute.build import confirm, prepare
from kilonova.compute.destroy import destroy
from kilonova.compute.step import StepRun
from kilonova.compute.tools import Tools
from kilonova.model.errors import GuestGone, HostFault, Stale
from kilonova.model.guest import GuestSpec, GuestState
from kilonova.model.server import PowerState

log = structlog.get_logger()


async def depart(run: StepRun, tools: Tools) -> None:
    """The guest is off from here on, and its disk stays as it is."""
    with run.timeline.span(run.asked.step):
        await tools.driver.power_off(run.asked.server_id, tools.grace)
    await run.finish(PowerState.SHUTDOWN)


async def arrive(run: StepRun, tools: Tools) -> None:
    """Prepare the guest here, in its new size; it runs, or is off for good, once the database has it here."""
    assert run.asked.guest is not None and run.granted is not None
    spec = msgspec.structs.replace(run.asked.guest, nics=run.granted.nics, epoch=run.epoch)
    if run.in_place:
        await _make_over(run, tools, spec)
        return
    await prepare(run, tools, spec)
    await confirm(run, tools, spec)


async def _make_over(run: StepRun, tools: Tools, spec: GuestSpec) -> None:
    """The same on the host that the guest is on. Nothing is destroyed here whatever happens: it is the only copy."""
    try:
        with run.timeline.span("arrive.in_place"):
            await tools.driver.prepare(msgspec.structs.replace(spec, in_place=True), _silent)
    except HostFault as fault:
        raise HostFault(fault.message, details=fault.details, retry=False) from fault
    try:
        await run.finish(PowerState.SHUTDOWN if spec.stays_off else PowerState.RUNNING)
    except Stale as stale:
        log.info("left to whoever took over", server=spec.server_id, step=run.asked.step, reason=stale.message)
        return
    await tools.driver.release(spec.server_id)


def _silent(stage: str) -> None:
    """The stages of a guest that is made over are not worth an event each."""


async def stay(run: StepRun, tools: Tools) -> None:
    """The move has failed: the guest goes on here as it was before."""
    await _as_before(run, tools)
    await run.finish(_power(run))


async def come_back(run: StepRun, tools: Tools) -> None:
    """The move was reverted, and the database has the server here again."""
    await _as_before(run, tools)
    await run.finish(_power(run))


async def _as_before(run: StepRun, tools: Tools) -> None:
    with run.timeline.span(run.asked.step):
        try:
            if run.in_place:
                await _make_back(run, tools)
            await tools.driver.release(run.asked.server_id)  # confirmed long ago, if perhaps not let run yet
            if not run.asked.work.get("stays_off"):
                await tools.driver.power_on(run.asked.server_id)
        except GuestGone:
            # Lost with its host's disk, say: the server's next comparison says so, which this step cannot mend.
            log.error("the guest to go on with is not here", server=run.asked.server_id)


async def _make_back(run: StepRun, tools: Tools) -> None:
    """As large as the server is again, unless it has run all the time."""
    assert run.asked.guest is not None and run.granted is not None
    guest = await tools.driver.show_guest(run.asked.server_id)
    if guest is not None and guest.state not in (GuestState.RUNNING, GuestState.PAUSED):
        nics = run.granted.nics
        spec = msgspec.structs.replace(run.asked.guest, nics=nics, epoch=run.epoch, in_place=True)
        await tools.driver.prepare(spec, _silent)


async def destroy_copy(run: StepRun, tools: Tools) -> None:
    """The other side of a move is not needed any more; where there is none, there is nothing to do."""
    if run.in_place:
        await run.finish()
    else:
        await destroy(run, tools)


def _power(run: StepRun) -> PowerState:
    return PowerState.SHUTDOWN if run.asked.work.get("stays_off") else PowerState.RUNNING
