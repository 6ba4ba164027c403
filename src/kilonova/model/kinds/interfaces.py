"""``attach_interface`` and ``detach_interface``: the server's host plugs a card in, or pulls it out.

The port is the server's from the request on; it ceases to be when the card is out, or could not be plugged in
(``database/outcomes.py``). ``input["port_id"]`` says which.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from kilonova.model.action import Kind, Performer, Step
from kilonova.model.server import VmState

_STATES = frozenset({VmState.ACTIVE, VmState.PAUSED, VmState.STOPPED})

ATTACH_INTERFACE = Kind(
    name="attach_interface",
    steps=(
        Step(
            name="plug",
            performer=Performer.COMPUTE,
            task_state=None,
            undo="the card is pulled out again by the host; the port is given back in the transaction that ends the action",
        ),
    ),
    vm_states=_STATES,
)

DETACH_INTERFACE = Kind(
    name="detach_interface",
    steps=(
        Step(
            name="unplug",
            performer=Performer.COMPUTE,
            task_state=None,
            undo="none: asked again, it finds the cards as they are; a card that the guest does not let go stays",
        ),
    ),
    vm_states=_STATES,
)


def without(nics: list[dict[str, Any]], port_id: str) -> list[dict[str, Any]]:
    """A server's cards but the one of that port."""
    return [nic for nic in nics if nic["port_id"] != port_id]


def asked_for(
    nics: Sequence[Mapping[str, Any]], networks: Sequence[Mapping[str, Any]], port_id: str
) -> list[dict[str, Any]]:
    """What a server's create request would have said, had it not had that card: the others keep their slots."""
    gone = [nic.get("slot") for nic in nics if nic["port_id"] == port_id]
    entries = [
        {**entry, "slot": number if entry.get("slot") is None else entry["slot"]}
        for number, entry in enumerate(networks)
    ]
    return [entry for entry in entries if entry["slot"] not in gone]
