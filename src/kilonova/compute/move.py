"""The steps of resize and cold migration on the two hosts. Decision 0005: one side may run, and the database says which."""

import msgspec
import structlog

from kilonova.compute.build import confirm, prepare
from kilonova.compute.step import StepRun
from kilonova.compute.tools import Tools
from kilonova.model.errors import NotFound
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
    await prepare(run, tools, spec)
    await confirm(run, tools, spec)


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
            await tools.driver.release(run.asked.server_id)  # confirmed long ago, if perhaps not let run yet
            if not run.asked.work.get("stays_off"):
                await tools.driver.power_on(run.asked.server_id)
        except NotFound:
            # Lost with its host's disk, say: the server's next comparison says so, which this step cannot mend.
            log.error("the guest to go on with is not here", server=run.asked.server_id)


def _power(run: StepRun) -> PowerState:
    return PowerState.SHUTDOWN if run.asked.work.get("stays_off") else PowerState.RUNNING
