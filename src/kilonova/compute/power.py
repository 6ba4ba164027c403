"""The steps of start, stop and reboot: each makes the guest what was asked for, whatever it is now."""

import structlog

from kilonova.compute.step import StepRun
from kilonova.compute.tools import Tools
from kilonova.model.errors import GuestGone
from kilonova.model.server import PowerState

log = structlog.get_logger()


async def power_on(run: StepRun, tools: Tools) -> None:
    """Start a guest that is off."""
    with run.timeline.span("power_on"):
        await tools.driver.power_on(run.asked.server_id)
    await run.finish(PowerState.RUNNING)


async def power_off(run: StepRun, tools: Tools) -> None:
    """Shut a guest down, and cut the power after ``grace`` seconds."""
    with run.timeline.span("power_off"):
        await tools.driver.power_off(run.asked.server_id, tools.grace)
    await run.finish(PowerState.SHUTDOWN)


async def put_away(run: StepRun, tools: Tools) -> None:
    """Shut down a guest whose server was deleted for the time being; there may be none left."""
    with run.timeline.span("put_away"):
        try:
            await tools.driver.power_off(run.asked.server_id, tools.grace)
        except GuestGone:
            log.warning("soft-deleted without a guest", server=run.asked.server_id)
    await run.finish(PowerState.SHUTDOWN)


async def reboot(run: StepRun, tools: Tools) -> None:
    """Reboot: soft asks the guest first, hard does not."""
    hard = run.asked.input.get("type") == "HARD"
    with run.timeline.span("reboot", type="HARD" if hard else "SOFT"):
        await tools.driver.reboot(run.asked.server_id, hard=hard, grace=tools.grace)
    await run.finish(PowerState.RUNNING)
