"""What nova-compute does for each step, by the step's name: one file per operation."""

from kilonova.compute.build import build
from kilonova.compute.destroy import destroy
from kilonova.compute.interfaces import plug, unplug
from kilonova.compute.power import power_off, power_on, reboot
from kilonova.compute.tools import Operation

OPERATIONS: dict[str, Operation] = {
    "build": build,
    "destroy": destroy,
    "power_on": power_on,
    "power_off": power_off,
    "reboot": reboot,
    "plug": plug,
    "unplug": unplug,
}

PREPARING = frozenset({"build"})
"""Steps that make a guest which never ran: when they are cancelled, what they have made is unmade."""
