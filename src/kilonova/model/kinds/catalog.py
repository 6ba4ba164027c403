"""Every kind of action there is, by its name."""

from kilonova.model.action import Kind
from kilonova.model.kinds.create import CREATE
from kilonova.model.kinds.delete import DELETE
from kilonova.model.kinds.interfaces import ATTACH_INTERFACE, DETACH_INTERFACE
from kilonova.model.kinds.power import REBOOT, START, STOP

KINDS: dict[str, Kind] = {
    kind.name: kind for kind in (CREATE, DELETE, START, STOP, REBOOT, ATTACH_INTERFACE, DETACH_INTERFACE)
}
