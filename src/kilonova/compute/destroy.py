"""The step ``destroy`` of a delete: nothing of the server stays on this host."""

from kilonova.compute.step import StepRun
from kilonova.compute.tools import Tools


async def destroy(run: StepRun, tools: Tools) -> None:
    """End the guest, remove what it had, say so."""
    with run.timeline.span("destroy"):
        await tools.driver.destroy(run.asked.server_id)
    await run.finish()
