"""What nova-compute does for each step, by the step's name: one file per operation."""

from kilonova.compute.build import build
from kilonova.compute.command import crash_dump, set_password
from kilonova.compute.destroy import destroy
from kilonova.compute.interfaces import plug, unplug
from kilonova.compute.live_migration import keep, receive, settle, transfer
from kilonova.compute.move import arrive, come_back, depart, destroy_copy, stay
from kilonova.compute.pause import pause, resume, suspend, unpause
from kilonova.compute.power import power_off, power_on, put_away, reboot
from kilonova.compute.rebuild import rebuild
from kilonova.compute.rescue import rescue, unrescue
from kilonova.compute.snapshot import shelve, snapshot
from kilonova.compute.tools import Operation

OPERATIONS: dict[str, Operation] = {
    "build": build,
    "destroy": destroy,
    "destroy_copy": destroy_copy,
    "depart": depart,
    "arrive": arrive,
    "stay": stay,
    "resurrect": build,
    "receive": receive,
    "transfer": transfer,
    "settle": settle,
    "keep": keep,
    "retreat": depart,
    "return": come_back,
    "power_on": power_on,
    "power_off": power_off,
    "reboot": reboot,
    "plug": plug,
    "unplug": unplug,
    "put_away": put_away,
    "rebuild": rebuild,
    "snapshot": snapshot,
    "shelve": shelve,
    "rescue": rescue,
    "unrescue": unrescue,
    "pause": pause,
    "unpause": unpause,
    "suspend": suspend,
    "resume": resume,
    "set_password": set_password,
    "crash_dump": crash_dump,
}

PREPARING = frozenset({"build", "rebuild", "arrive", "resurrect", "receive"})
"""Steps that make a guest which never ran: when they are cancelled, what they have made is unmade."""

ON_A_CONFIRMED_GUEST = frozenset(
    {"power_on", "power_off", "reboot", "put_away", "plug", "unplug", "snapshot", "shelve", "rescue", "unrescue"}
    | {"pause", "unpause", "suspend", "resume", "set_password", "crash_dump", "depart", "retreat", "transfer"}
)
"""Steps that are asked for only where the server is, in a state that it has on a host: its guest was confirmed there."""
