"""Ports under a trunk: which may come there, and that they are not deleted while they are."""

from sqlalchemy.engine import Connection

from kilonova.database import networks as queries
from kilonova.database import trunks as held
from kilonova.model.errors import Conflict, Invalid, NotFound
from kilonova.model.network import Port, SubPort, Trunk

SUB_PORT = "trunk:subport"
_LARGEST_TAG = 4094


def refuse_carried(connection: Connection, port: Port) -> None:
    """Raise ``Conflict`` for a port that a trunk needs."""
    if port.device_owner == SUB_PORT:
        raise Conflict(f"Port {port.id} is a subport of trunk {port.device_id}.", name="PortInUseAsSubPort")
    trunk_id = held.of_parent(connection, port.id)
    if trunk_id is not None:
        raise Conflict(f"Port {port.id} is the parent port of trunk {trunk_id}.", name="PortInUseAsTrunkParent")


def read_tag(value: int | str) -> int:
    """A VLAN number. Raises ``Invalid`` for what is none."""
    if not 1 <= int(value) <= _LARGEST_TAG:
        raise Invalid(f"Invalid input for segmentation_id: {value} is not between 1 and {_LARGEST_TAG}.")
    return int(value)


def put_under(connection: Connection, trunk: Trunk, parent: Port, port: Port, tag: int) -> None:
    """The trunk carries the port from now on. Raises ``Conflict`` if the port is used, or the number is."""
    if port.id == parent.id:
        raise Conflict(f"Port {port.id} is the parent of this trunk.", name="ParentPortInUse")
    refuse_carried(connection, port)
    if port.binding or port.device_id:
        raise Conflict(f"Port {port.id} is in use by {port.device_id}.", name="PortInUse")
    taken = Conflict(f"Segmentation id {tag} is taken on trunk {trunk.id}.", name="DuplicateSubPort")
    if queries.exists(connection, SubPort, trunk_id=trunk.id, segmentation_id=tag):
        raise taken
    entry = SubPort(port_id=port.id, trunk_id=trunk.id, segmentation_type="vlan", segmentation_id=tag)
    queries.insert(connection, entry, taken)
    state = {"status": parent.status, "host": parent.host} if parent.binding else {"status": "DOWN"}
    queries.update(connection, Port, port.id, {"device_id": trunk.id, "device_owner": SUB_PORT, **state})


def take_from(connection: Connection, trunk: Trunk, port_id: str) -> None:
    """The port is its own again. Raises ``NotFound`` if the trunk does not carry it."""
    if not held.drop_subport(connection, trunk.id, port_id):
        raise NotFound(f"Port {port_id[:64]} is no subport of trunk {trunk.id}.", name="SubPortNotFound")
    queries.update(connection, Port, port_id, {"device_id": "", "device_owner": "", "status": "DOWN", "host": ""})
