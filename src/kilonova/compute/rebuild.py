"""The step ``rebuild``: the old guest goes, a new one is prepared, confirmed, and let run (or left off)."""

import msgspec

from kilonova.compute.build import confirm, prepare
from kilonova.compute.step import StepRun
from kilonova.compute.tools import Tools
from kilonova.model.server import TaskState


async def rebuild(run: StepRun, tools: Tools) -> None:
    """Perform it. Whatever is here of an older epoch is not the guest that is asked for."""
    assert run.asked.guest is not None and run.granted is not None
    spec = msgspec.structs.replace(run.asked.guest, image=run.granted.image, epoch=run.epoch)
    present = await tools.driver.show_guest(spec.server_id)
    if present is not None and present.epoch < spec.epoch:
        with run.timeline.span("rebuild.destroy"):
            await tools.driver.destroy(spec.server_id)
    await run.progress(TaskState.REBUILD_SPAWNING)
    await prepare(run, tools, spec)
    await confirm(run, tools, spec)
