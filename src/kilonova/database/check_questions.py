"""What ``database/checks.py`` asks the database: each rule's own question, put together once."""

import sqlalchemy as sa

from kilonova.database.tables import (
    actions,
    allocations,
    fixed_ips,
    host_inventories,
    hosts,
    networks,
    ports,
    quota_usages,
    server_groups,
    servers,
)
from kilonova.model.action import ActionState
from kilonova.model.server import VmState

_a, _l, _h, _p, _s = actions.c, allocations.c, hosts.c, ports.c, servers.c
_LIVE = _s.deleted_at.is_(None)
_COUNTED = _s.vm_state != VmState.SOFT_DELETED
_FREE = _s.action_id.is_(None)

# --- allocations -------------------------------------------------------------------------------------------

ALLOCATIONS_WITHOUT_SERVER = (
    sa.select(_l.server_id, _l.host)
    .where(~sa.select(_s.id).where(_LIVE, _s.id == _l.server_id).exists())
    .order_by(_l.server_id, _l.host)
)
ALLOCATIONS_ELSEWHERE = (
    sa.select(_l.server_id, _l.host, _s.host.label("home"))
    .join(servers, _s.id == _l.server_id)
    .where(_LIVE, _l.consumer == _l.server_id, _s.host.is_distinct_from(_l.host))
    .order_by(_l.server_id, _l.host)
)
ALLOCATIONS_MISSING = (
    sa.select(_s.id, _s.host)
    .where(
        _LIVE,
        _s.host.is_not(None),
        ~sa.select(_l.server_id).where(_l.consumer == _s.id, _l.host == _s.host).exists(),
    )
    .order_by(_s.id)
)
ALLOCATIONS_DOUBLED = sa.select(_l.consumer).group_by(_l.consumer).having(sa.func.count() > 1).order_by(_l.consumer)
ALLOCATIONS_OF_MOVES = (
    sa.select(_l.consumer, _l.server_id, _l.host, _s.action_id, _s.resized_from)
    .join(servers, _s.id == _l.server_id)
    .where(_LIVE, _l.consumer != _l.server_id)
    .order_by(_l.server_id, _l.host)
)
CONSUMERS = sa.select(_l.consumer, _l.host)
RESIZED = (
    sa.select(_s.id, _s.vm_state, _s.action_id, _s.host, _s.resized_from)
    .where(_LIVE, sa.or_(_s.vm_state == VmState.RESIZED, _s.resized_from.is_not(None)))
    .order_by(_s.seq)
)

# --- hosts and quota ---------------------------------------------------------------------------------------

HOSTS = sa.select(hosts).order_by(_h.host)
CLAIMED = sa.select(
    _l.host,
    sa.func.sum(_l.vcpus).label("vcpus"),
    sa.func.sum(_l.memory_mb).label("memory_mb"),
    sa.func.sum(_l.disk_gb).label("disk_gb"),
    sa.func.count().label("servers"),
).group_by(_l.host)
CLAIMED_CUSTOM = sa.select(_l.host, _l.custom).where(_l.custom.is_not(None))
USED_CUSTOM = sa.select(host_inventories.c.host, host_inventories.c.resource_class, host_inventories.c.used)
CHARGED = sa.select(_s.project_id, _s.flavor, _s.charged).where(_LIVE, _COUNTED)
GROUPS = sa.select(server_groups.c.project_id, sa.func.count()).group_by(server_groups.c.project_id)
USAGES = sa.select(quota_usages)
CHARGED_FOR_NOTHING = (
    sa.select(_s.id).where(_LIVE, _s.charged.is_not(None), _FREE, _s.resized_from.is_(None)).order_by(_s.seq)
)

# --- actions and the servers they hold ---------------------------------------------------------------------

LATE = sa.select(actions).where(_a.lease_until < sa.bindparam("before")).order_by(_a.lease_until)
_IS_OPEN = _a.state.in_((ActionState.PENDING, ActionState.RUNNING))
UNLEASED = (
    sa.select(_a.id, _a.kind, _a.server_id, _a.state)
    .where(
        sa.or_(
            sa.and_(_IS_OPEN, sa.or_(_a.lease_until.is_(None), _a.finished_at.is_not(None))),
            sa.and_(~_IS_OPEN, sa.or_(_a.lease_until.is_not(None), _a.finished_at.is_(None))),
        )
    )
    .order_by(_a.seq)
)
HOLDING_NOTHING = (
    sa.select(_a.id, _a.kind, _a.server_id)
    .where(
        _a.lease_until.is_not(None),
        ~sa.select(_s.id).where(_s.id == _a.server_id, _s.action_id == _a.id).exists(),
    )
    .order_by(_a.seq)
)
HELD_BY_NOTHING = (
    sa.select(_s.id, _s.action_id, _a.state)
    .outerjoin(actions, _a.id == _s.action_id)
    .where(_s.action_id.is_not(None), sa.or_(_a.id.is_(None), _a.finished_at.is_not(None)))
    .order_by(_s.seq)
)
TASKS_OF_NOBODY = sa.select(_s.id, _s.task_state).where(_LIVE, _s.task_state.is_not(None), _FREE).order_by(_s.seq)
BUILDS_OF_NOBODY = sa.select(_s.id).where(_LIVE, _s.vm_state == VmState.BUILDING, _FREE).order_by(_s.seq)

# --- networks ----------------------------------------------------------------------------------------------

NETWORKS = sa.select(networks.c.id)
PORTS = sa.select(_p.id, _p.device_id)
PORTS_OF_NOBODY = PORTS.where(
    _p.binding != "", ~sa.select(_s.id).where(_LIVE, _s.id == _p.device_id).exists()
).order_by(_p.id)
WITH_ADDRESSES = (
    sa.select(_s.id, _s.addresses)
    .where(_LIVE, _s.vm_state.in_((VmState.ACTIVE, VmState.STOPPED)), _FREE)
    .order_by(_s.seq)
)
ADDRESSES_OF_NOBODY = (
    sa.select(fixed_ips.c.ip_address, fixed_ips.c.port_id)
    .where(~sa.select(_p.id).where(_p.id == fixed_ips.c.port_id).exists())
    .order_by(fixed_ips.c.ip_address)
)
