"""The steps that do something inside a guest."""

from kilonova.compute.step import StepRun
from kilonova.compute.tools import Tools
from kilonova.model.errors import HostFault
from kilonova.model.guest import GuestCommand


async def set_password(run: StepRun, tools: Tools) -> None:
    """Change the administrator's password. It came with the request's own message and is written down nowhere."""
    password = run.asked.guest.admin_password if run.asked.guest is not None else None
    if password is None:
        raise HostFault("the new password was lost on its way to the host; ask for it again", retry=False)
    with run.timeline.span("set_password"):
        await tools.driver.command(run.asked.server_id, GuestCommand(verb="set_password", password=password))
    await run.finish()


async def crash_dump(run: StepRun, tools: Tools) -> None:
    """Send a non-maskable interrupt, on which the guest's kernel dumps itself if it was told to."""
    with run.timeline.span("crash_dump"):
        await tools.driver.command(run.asked.server_id, GuestCommand(verb="nmi"))
    await run.finish()
