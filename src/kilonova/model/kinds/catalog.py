"""Every kind of action there is, by its name."""

from kilonova.model.action import Kind
from kilonova.model.kinds.command import CHANGE_PASSWORD, TRIGGER_CRASH_DUMP
from kilonova.model.kinds.create import CREATE
from kilonova.model.kinds.delete import DELETE
from kilonova.model.kinds.evacuate import EVACUATE
from kilonova.model.kinds.interfaces import ATTACH_INTERFACE, DETACH_INTERFACE
from kilonova.model.kinds.live_migration import LIVE_MIGRATION
from kilonova.model.kinds.pause import PAUSE, UNPAUSE
from kilonova.model.kinds.power import REBOOT, START, STOP
from kilonova.model.kinds.rebuild import REBUILD
from kilonova.model.kinds.rescue import RESCUE, UNRESCUE
from kilonova.model.kinds.resize import CONFIRM, MIGRATE, RESIZE, REVERT
from kilonova.model.kinds.shelve import SHELVE
from kilonova.model.kinds.snapshot import CREATE_BACKUP, CREATE_IMAGE
from kilonova.model.kinds.soft_delete import RESTORE, SOFT_DELETE
from kilonova.model.kinds.suspend import RESUME, SUSPEND
from kilonova.model.kinds.unshelve import SHELVE_OFFLOAD, UNSHELVE, UNSHELVE_IN_PLACE

_ALL = (
    *(CREATE, DELETE, START, STOP, REBOOT),
    *(SOFT_DELETE, RESTORE, REBUILD, RESCUE, UNRESCUE),
    *(CREATE_IMAGE, CREATE_BACKUP, SHELVE),
    *(RESIZE, MIGRATE, CONFIRM, REVERT, EVACUATE, LIVE_MIGRATION),
    *(SHELVE_OFFLOAD, UNSHELVE, UNSHELVE_IN_PLACE),
    *(ATTACH_INTERFACE, DETACH_INTERFACE),
    *(PAUSE, UNPAUSE, SUSPEND, RESUME, CHANGE_PASSWORD, TRIGGER_CRASH_DUMP),
)

KINDS: dict[str, Kind] = {kind.name: kind for kind in _ALL}

DISK_WORK = tuple(
    kind.name
    for kind in (
        *(CREATE, REBUILD, EVACUATE, UNSHELVE, RESCUE),
        *(RESIZE, MIGRATE, CREATE_IMAGE, CREATE_BACKUP),
    )
)
"""What keeps the disks of a host busy for long: it counts as I/O operations for those rules that ask."""
