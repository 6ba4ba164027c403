"""Queries on floating addresses."""

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kilonova.database import network_tables as t

_fl = t.floating_ips.c
_f = t.fixed_ips.c
_p = t.ports.c


def any_through(connection: Connection, router_id: str) -> bool:
    """Whether a floating address needs the router's gateway."""
    return connection.execute(sa.select(_fl.id).where(_fl.router_id == router_id).limit(1)).first() is not None


def any_to(connection: Connection, router_id: str, subnet_id: str) -> bool:
    """Whether a floating address stands, through the router, for one of the subnet's."""
    query = sa.select(_fl.id).join(
        t.fixed_ips, sa.and_(_f.port_id == _fl.port_id, _f.ip_address == _fl.fixed_ip_address)
    )
    return connection.execute(query.where(_fl.router_id == router_id, _f.subnet_id == subnet_id)).first() is not None


def router_between(connection: Connection, subnet_id: str, external_network_id: str) -> str | None:
    """A router that joins a subnet to an external network."""
    query = (
        sa.select(t.routers.c.id)
        .join(t.ports, _p.device_id == t.routers.c.id)
        .join(t.fixed_ips, _f.port_id == _p.id)
        .where(
            _f.subnet_id == subnet_id,
            _p.device_owner == "network:router_interface",
            t.routers.c.external_network_id == external_network_id,
        )
        .order_by(t.routers.c.id)
        .limit(1)
    )
    return connection.execute(query).scalar()
