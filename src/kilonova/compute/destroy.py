"""The step ``destroy`` of a delete: nothing of the server stays on this host."""

from kilonova.compute.step import StepRun
from kilonova.hypervisor.driver import Driver


async def destroy(run: StepRun, driver: Driver) -> None:
    """End the guest, remove what it had, say so."""
    with run.timeline.span("destroy"):
        await driver.destroy(run.asked.server_id)
    await run.finish()
