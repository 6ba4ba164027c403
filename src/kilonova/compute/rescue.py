"""The steps of rescue and unrescue."""

import msgspec

from kilonova.compute.step import StepRun
from kilonova.compute.tools import Tools
from kilonova.model.guest import Guest, GuestState
from kilonova.model.server import PowerState


async def rescue(run: StepRun, tools: Tools) -> None:
    """Shut the guest down and boot it from the rescue image, unless that is what it does already."""
    assert run.asked.guest is not None and run.granted is not None
    spec = msgspec.structs.replace(run.asked.guest, image=run.granted.image)
    present = await tools.driver.show_guest(spec.server_id)
    if not _runs_rescued(present):
        with run.timeline.span("power_off"):
            await tools.driver.power_off(spec.server_id, tools.grace)
        with run.timeline.span("rescue"):
            await tools.driver.power_on(spec.server_id, rescue=spec)
    await run.finish(PowerState.RUNNING)


async def unrescue(run: StepRun, tools: Tools) -> None:
    """Shut the rescue system down and boot the guest from its own disk."""
    server_id = run.asked.server_id
    if _runs_rescued(await tools.driver.show_guest(server_id)):
        with run.timeline.span("power_off"):
            await tools.driver.power_off(server_id, tools.grace)
    with run.timeline.span("unrescue"):
        await tools.driver.power_on(server_id)
    await run.finish(PowerState.RUNNING)


def _runs_rescued(guest: Guest | None) -> bool:
    return guest is not None and guest.rescued and guest.state is GuestState.RUNNING
