"""The steps that make an image of a server: ``snapshot``, and ``shelve``, which shuts it down before.

They do not fail: what went wrong goes with their end, and the control plane deletes the image's record for it.
"""

from collections.abc import Awaitable, Mapping
from typing import Any

import structlog

from kilonova.compute.step import StepRun
from kilonova.compute.tools import Tools
from kilonova.model.errors import KilonovaError, Stale
from kilonova.model.guest import GuestState
from kilonova.model.server import PowerState, TaskState

log = structlog.get_logger()

_SNAPSHOT = {"copy": TaskState.IMAGE_PENDING_UPLOAD, "upload": TaskState.IMAGE_UPLOADING}
_SHELVE = {"copy": TaskState.SHELVING_IMAGE_PENDING_UPLOAD, "upload": TaskState.SHELVING_IMAGE_UPLOADING}


async def snapshot(run: StepRun, tools: Tools) -> None:
    """Upload a copy of the root disk as it is now."""
    if run.asked.kind == "createImage":
        await run.progress(TaskState.IMAGE_SNAPSHOT)
    await run.finish(output=await _told(run, _upload(run, tools, _SNAPSHOT)))


async def shelve(run: StepRun, tools: Tools) -> None:
    """Shut the guest down, then upload its root disk. If that fails, a guest that ran runs again."""
    before = await tools.driver.show_guest(run.asked.server_id)

    async def shut_down_and_upload() -> None:
        with run.timeline.span("power_off"):
            await tools.driver.power_off(run.asked.server_id, tools.grace)
        await _upload(run, tools, _SHELVE)

    output = await _told(run, shut_down_and_upload())
    if output:
        run.astray = True
        if before is not None and before.state is GuestState.RUNNING:
            await _run_again(run, tools)
    await run.finish(None if output else PowerState.SHUTDOWN, output)


async def _run_again(run: StepRun, tools: Tools) -> None:
    """Best effort: the server follows its guest if that stays off."""
    try:
        await tools.driver.power_on(run.asked.server_id)
    except KilonovaError as error:
        log.warning("not shelved, and off", server=run.asked.server_id, error=error.message)


async def _told(run: StepRun, work: Awaitable[None]) -> dict[str, Any]:
    """The output of the step: nothing, or what went wrong."""
    try:
        await work
    except Stale:
        raise
    except KilonovaError as error:
        log.warning("no image made", server=run.asked.server_id, error=error.message)
        return {"failure": {"message": error.message, "details": error.details}}
    except Exception as error:
        log.exception("no image made", server=run.asked.server_id)
        details = f"{type(error).__name__}: {error}"
        return {"failure": {"message": "The compute host failed unexpectedly.", "details": details}}
    return {}


async def _upload(run: StepRun, tools: Tools, tasks: Mapping[str, TaskState]) -> None:
    assert run.granted is not None
    upload = run.granted.upload
    if upload is None:
        return  # an earlier try has done it, or the image is gone; the step that follows looks

    async def stage(name: str) -> None:
        await run.progress(tasks[name])

    with run.timeline.span("snapshot", image=upload.image_id):
        await tools.driver.snapshot(run.asked.server_id, upload, stage)
