"""The steps of pause, unpause, suspend and resume."""

from kilonova.compute.step import StepRun
from kilonova.compute.tools import Tools
from kilonova.model.server import PowerState


async def pause(run: StepRun, tools: Tools) -> None:
    """Stop the guest's processors."""
    with run.timeline.span("pause"):
        await tools.driver.set_paused(run.asked.server_id, True)
    await run.finish(PowerState.PAUSED)


async def unpause(run: StepRun, tools: Tools) -> None:
    """Let them go on."""
    with run.timeline.span("unpause"):
        await tools.driver.set_paused(run.asked.server_id, False)
    await run.finish(PowerState.RUNNING)


async def suspend(run: StepRun, tools: Tools) -> None:
    """Keep the guest's memory on disk and free the rest."""
    with run.timeline.span("suspend"):
        await tools.driver.suspend(run.asked.server_id)
    await run.finish(PowerState.SUSPENDED)


async def resume(run: StepRun, tools: Tools) -> None:
    """Let a suspended guest go on."""
    with run.timeline.span("resume"):
        await tools.driver.power_on(run.asked.server_id)
    await run.finish(PowerState.RUNNING)
