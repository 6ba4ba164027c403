"""The tables, by subject; those of the network service stand in ``network_tables.py``. One metadata object; Alembic's migrations
(``migrations/``) must produce exactly it.

Conventions: ids are strings, moments are microseconds since the epoch, documents are JSON text, sizes carry
their unit in the name. Rows of deleted servers stay, with ``deleted_at`` set, as ``GET /servers?deleted=true`` and
``os-instance-actions`` of deleted servers (2.21) need them.
"""

import sqlalchemy as sa

from kilonova.database.metadata import metadata as metadata
from kilonova.database.metadata import table as _table
from kilonova.database.network_tables import fixed_ips as fixed_ips
from kilonova.database.network_tables import networks as networks
from kilonova.database.network_tables import ports as ports
from kilonova.database.placement_tables import host_inventories as host_inventories
from kilonova.database.placement_tables import host_traits as host_traits
from kilonova.database.placement_tables import resource_classes as resource_classes
from kilonova.database.placement_tables import traits as traits
from kilonova.database.resource_tables import aggregate_hosts as aggregate_hosts
from kilonova.database.resource_tables import aggregates as aggregates
from kilonova.database.resource_tables import console_tokens as console_tokens
from kilonova.database.resource_tables import quota_user_limits as quota_user_limits
from kilonova.database.resource_tables import server_group_members as server_group_members
from kilonova.database.resource_tables import server_groups as server_groups
from kilonova.database.resource_tables import server_migrations as server_migrations
from kilonova.database.resource_tables import server_passwords as server_passwords
from kilonova.database.types import Id, Json, LongText, Moment, Name, Sequence

# --- servers and what is done to them ----------------------------------------------------------------------

servers = _table(
    "servers",
    sa.Column("seq", Sequence, primary_key=True, autoincrement=True),
    sa.Column("id", Id, nullable=False, unique=True),
    sa.Column("project_id", Id, nullable=False),
    sa.Column("user_id", Id, nullable=False),
    sa.Column("name", Name, nullable=False),
    sa.Column("hostname", Name, nullable=False),
    sa.Column("description", Name),
    sa.Column("vm_state", sa.String(32), nullable=False),
    sa.Column("task_state", sa.String(64)),
    sa.Column("power_state", sa.Integer, nullable=False, default=0),
    sa.Column("host", Name),
    sa.Column("availability_zone", Name),
    sa.Column("requested_zone", Name),
    sa.Column("flavor_id", Name, nullable=False),
    sa.Column("flavor", Json, nullable=False),
    sa.Column("image_id", Id),
    sa.Column("image", Json),
    sa.Column("key_name", Name),
    sa.Column("public_key", LongText),
    sa.Column("user_data", LongText),
    sa.Column("personality", Json),
    sa.Column("config_drive", sa.Boolean, nullable=False, default=False),
    sa.Column("metadata", Json, nullable=False),
    sa.Column("tags", Json, nullable=False),
    sa.Column("networks", Json, nullable=False),  # asked for
    sa.Column("addresses", Json, nullable=False),  # given: a list of model.guest.Nic
    sa.Column("security_groups", Json, nullable=False),
    sa.Column("scheduler_hints", Json, nullable=False),
    sa.Column("reservation_id", sa.String(32), nullable=False),
    sa.Column("launch_index", sa.Integer, nullable=False, default=0),
    sa.Column("root_device_name", sa.String(32)),
    sa.Column("access_ip_v4", sa.String(39)),
    sa.Column("access_ip_v6", sa.String(39)),
    sa.Column("disk_config", sa.String(16), nullable=False, default="MANUAL"),
    sa.Column("locked", sa.Boolean, nullable=False, default=False),
    sa.Column("locked_by", sa.String(16)),  # owner or admin
    sa.Column("locked_reason", Name),
    sa.Column("progress", sa.Integer, nullable=False, default=0),
    sa.Column("fault", Json),
    sa.Column("action_id", Id),  # the one action that is changing it now
    sa.Column("charged", Json),  # quota it is charged with while it may get another flavor; NULL: as its own says
    sa.Column("resized_from", Json),  # where it goes back to unless its move is confirmed
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("updated_at", Moment),
    sa.Column("launched_at", Moment),
    sa.Column("terminated_at", Moment),
    sa.Column("deleted_at", Moment),
    sa.Column("soft_deleted_at", Moment),  # since when it waits to be restored or reclaimed
    sa.Column("shelved_image_id", Id),  # what a shelved server is made of again
    sa.Index("ix_servers_listing", "project_id", "deleted_at", "created_at", "seq"),
    sa.Index("ix_servers_all", "deleted_at", "created_at", "seq"),
    sa.Index("ix_servers_host", "host", "deleted_at"),
    sa.Index("ix_servers_state", "vm_state", "deleted_at"),
    sa.Index("ix_servers_name", "project_id", "name"),
    sa.Index("ix_servers_changes", "project_id", "updated_at"),
    sa.Index("ix_servers_soft_deleted", "soft_deleted_at"),
)

actions = _table(
    "actions",
    sa.Column("seq", Sequence, primary_key=True, autoincrement=True),
    sa.Column("id", Id, nullable=False, unique=True),
    sa.Column("server_id", Id, nullable=False),
    sa.Column("kind", sa.String(64), nullable=False),
    sa.Column("request_id", Name, nullable=False),
    sa.Column("global_request_id", Name),
    sa.Column("traceparent", Name),
    sa.Column("user_id", Id),
    sa.Column("project_id", Id),
    sa.Column("input", Json, nullable=False),
    sa.Column("work", Json, nullable=False, default=dict),  # what its steps have found out so far
    sa.Column("step", sa.String(64), nullable=False),
    sa.Column("on_host", Name),  # the host that performs the step; NULL: the control plane does
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("owner", Name),  # who holds the lease: a service's host
    sa.Column("claimant", Id),  # the very attempt that holds it
    sa.Column("epoch", sa.BigInteger, nullable=False, default=0),
    sa.Column("lease_until", Moment),  # NULL once it is over
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("excluded_hosts", Json, nullable=False),
    sa.Column("before", Json, nullable=False),  # the server's states before it, for going back
    sa.Column("message", LongText),
    sa.Column("started_at", Moment, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
    sa.Column("finished_at", Moment),
    sa.Index("ix_actions_server", "server_id", "started_at"),
    sa.Index("ix_actions_request", "request_id"),
    sa.Index("ix_actions_lease", "lease_until"),
    sa.Index("ix_actions_host", "on_host", "lease_until"),
)

action_events = _table(
    "action_events",
    sa.Column("seq", Sequence, primary_key=True, autoincrement=True),
    sa.Column("action_id", Id, nullable=False),
    sa.Column("name", sa.String(64), nullable=False),
    sa.Column("service", sa.String(32), nullable=False),
    sa.Column("host", Name, nullable=False),
    sa.Column("started_at", Moment, nullable=False),
    sa.Column("finished_at", Moment, nullable=False),
    sa.Column("result", sa.String(16), nullable=False),
    sa.Column("details", Json, nullable=False),
    sa.Index("ix_action_events_action", "action_id", "seq"),
)

decisions = _table(  # of nova-scheduler, with their reasons; the oldest are purged
    "decisions",
    sa.Column("seq", Sequence, primary_key=True, autoincrement=True),
    sa.Column("server_id", Id, nullable=False),
    sa.Column("action_id", Id, nullable=False),
    sa.Column("request_id", Name, nullable=False),
    sa.Column("kind", sa.String(64), nullable=False),
    sa.Column("outcome", sa.String(16), nullable=False),  # model.decision.Outcome
    sa.Column("host", Name),
    sa.Column("zone", Name),
    sa.Column("decided_at", Moment, nullable=False),
    sa.Column("details", Json, nullable=False),
    sa.Index("ix_decisions_server", "server_id", "seq"),
    sa.Index("ix_decisions_outcome", "outcome", "seq"),
)

allocations = _table(
    "allocations",
    sa.Column("consumer", Id, primary_key=True),  # the server where it is; its move where it comes from or may go to
    sa.Column("host", Name, primary_key=True),
    sa.Column("server_id", Id, nullable=False),
    sa.Column("project_id", Id, nullable=False),
    sa.Column("vcpus", sa.Integer, nullable=False),
    sa.Column("memory_mb", sa.Integer, nullable=False),
    sa.Column("disk_gb", sa.Integer, nullable=False),
    sa.Column("topology", Json),  # what was given of the host's: model.topology.given.GivenTopology
    sa.Column("custom", Json),  # amounts by resource class, of host_inventories; NULL: none
    sa.Column("created_at", Moment, nullable=False),
    sa.Index("ix_allocations_host", "host"),
    sa.Index("ix_allocations_server", "server_id"),
)

quota_usages = _table(
    "quota_usages",
    sa.Column("project_id", Id, primary_key=True),
    sa.Column("resource", sa.String(64), primary_key=True),
    sa.Column("in_use", sa.BigInteger, nullable=False),
)

quota_limits = _table(
    "quota_limits",
    sa.Column("project_id", Id, primary_key=True),  # "" is the default class
    sa.Column("resource", sa.String(64), primary_key=True),
    sa.Column("hard_limit", sa.BigInteger, nullable=False),
)

# --- who runs where ----------------------------------------------------------------------------------------

services = _table(
    "services",
    sa.Column("id", Sequence, primary_key=True, autoincrement=True),
    sa.Column("uuid", Id, nullable=False, unique=True),
    sa.Column("binary", sa.String(64), nullable=False),
    sa.Column("host", Name, nullable=False),
    sa.Column("zone", Name, nullable=False),
    sa.Column("incarnation", Id, nullable=False),
    sa.Column("disabled", sa.Boolean, nullable=False, default=False),
    sa.Column("disabled_reason", Name),
    sa.Column("forced_down", sa.Boolean, nullable=False, default=False),
    sa.Column("started_at", Moment, nullable=False),
    sa.Column("last_seen_at", Moment, nullable=False),
    sa.Column("stopped_at", Moment),  # it said goodbye
    sa.Column(
        "compare_due", sa.Boolean, nullable=False, default=False
    ),  # a guest there was decided about without its host
    sa.Column("metrics", Json),  # what the host's monitors measured last, by Nova's names; NULL: it has none
    sa.UniqueConstraint("binary", "host"),
)

hosts = _table(
    "hosts",
    sa.Column("id", Sequence, primary_key=True, autoincrement=True),
    sa.Column("uuid", Id, nullable=False, unique=True),
    sa.Column("host", Name, nullable=False, unique=True),
    sa.Column("address", sa.String(64), nullable=False),
    sa.Column("availability_zone", Name, nullable=False),
    sa.Column("hypervisor_type", sa.String(64), nullable=False),
    sa.Column("hypervisor_version", sa.Integer, nullable=False),
    sa.Column("capabilities", Json, nullable=False),
    sa.Column("vcpus", sa.Integer, nullable=False),
    sa.Column("memory_mb", sa.Integer, nullable=False),
    sa.Column("disk_gb", sa.Integer, nullable=False),
    sa.Column("free_disk_gb", sa.Integer, nullable=False),
    # What the host itself keeps back and multiplies by, and what an operator wants of that to be otherwise, by class. Of its
    # processors it keeps back those that are not shared: they are no VCPU, whatever an operator wants.
    sa.Column("vcpus_reserved", sa.Integer, nullable=False, default=0),
    sa.Column("memory_mb_reserved", sa.Integer, nullable=False, default=0),
    sa.Column("disk_gb_reserved", sa.Integer, nullable=False, default=0),
    sa.Column("vcpus_ratio", sa.Double, nullable=False, default=1.0),
    sa.Column("memory_mb_ratio", sa.Double, nullable=False, default=1.0),
    sa.Column("disk_gb_ratio", sa.Double, nullable=False, default=1.0),
    sa.Column("inventory_terms", Json, nullable=False, default=dict),
    # What may be claimed in all: totals minus reserved times ratio, so that a claim is one comparison.
    sa.Column("vcpus_capacity", sa.Integer, nullable=False),
    sa.Column("memory_mb_capacity", sa.Integer, nullable=False),
    sa.Column("disk_gb_capacity", sa.Integer, nullable=False),
    sa.Column("vcpus_used", sa.Integer, nullable=False, default=0),
    sa.Column("memory_mb_used", sa.Integer, nullable=False, default=0),
    sa.Column("disk_gb_used", sa.Integer, nullable=False, default=0),
    sa.Column("servers_count", sa.Integer, nullable=False, default=0),
    sa.Column("topology", Json),  # as reported: model.topology.machine.Topology
    sa.Column("topology_used", Json),  # the sum of its allocations'; NULL: nothing
    sa.Column("topology_version", sa.BigInteger, nullable=False, default=0),  # rises whenever one of the two changes
    sa.Column("devices_free", sa.Integer, nullable=False, default=0),
    sa.Column("failed_builds", sa.Integer, nullable=False, default=0),  # since one has succeeded
    sa.Column(
        "generation", sa.BigInteger, nullable=False, default=0
    ),  # counts the changes of what is there and claimed
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
    sa.Index("ix_hosts_failed_builds", "failed_builds"),
)

findings = _table(  # what a host's last look at its guests found and may not mend by itself
    "findings",
    sa.Column("kind", sa.String(64), primary_key=True),
    sa.Column("host", Name, primary_key=True),
    sa.Column("subject", Name, primary_key=True),
    sa.Column("message", LongText, nullable=False),
    sa.Column("first_seen_at", Moment, nullable=False),
    sa.Column("last_seen_at", Moment, nullable=False),
    sa.Index("ix_findings_host", "host"),
)

# --- compute's own small things ----------------------------------------------------------------------------

flavors = _table(
    "flavors",
    sa.Column("id", Sequence, primary_key=True, autoincrement=True),
    sa.Column("flavorid", Name, nullable=False, unique=True),
    sa.Column("name", Name, nullable=False, unique=True),
    sa.Column("vcpus", sa.Integer, nullable=False),
    sa.Column("memory_mb", sa.Integer, nullable=False),
    sa.Column("disk_gb", sa.Integer, nullable=False),
    sa.Column("ephemeral_gb", sa.Integer, nullable=False, default=0),
    sa.Column("swap_mb", sa.Integer, nullable=False, default=0),
    sa.Column("rxtx_factor", sa.Float, nullable=False, default=1.0),
    sa.Column("is_public", sa.Boolean, nullable=False, default=True),
    sa.Column("disabled", sa.Boolean, nullable=False, default=False),
    sa.Column("description", LongText),
    sa.Column("extra_specs", Json, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
)

flavor_access = _table(
    "flavor_access",
    sa.Column("flavorid", Name, primary_key=True),
    sa.Column("project_id", Id, primary_key=True),
)

keypairs = _table(
    "keypairs",
    sa.Column("id", Sequence, primary_key=True, autoincrement=True),
    sa.Column("user_id", Id, nullable=False),
    sa.Column("name", Name, nullable=False),
    sa.Column("type", sa.String(16), nullable=False),
    sa.Column("fingerprint", Name, nullable=False),
    sa.Column("public_key", LongText, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.UniqueConstraint("user_id", "name"),
)

# --- identity ----------------------------------------------------------------------------------------------

domains = _table(
    "domains",
    sa.Column("id", Id, primary_key=True),
    sa.Column("name", Name, nullable=False, unique=True),
    sa.Column("description", LongText, nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
)

projects = _table(
    "projects",
    sa.Column("id", Id, primary_key=True),
    sa.Column("domain_id", Id, nullable=False),
    sa.Column("name", Name, nullable=False),
    sa.Column("description", LongText, nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("tags", Json, nullable=False),
    sa.Column("extra", Json, nullable=False),
    sa.UniqueConstraint("domain_id", "name"),
)

users = _table(
    "users",
    sa.Column("id", Id, primary_key=True),
    sa.Column("domain_id", Id, nullable=False),
    sa.Column("name", Name, nullable=False),
    sa.Column("password_hash", Name),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("default_project_id", Id),
    sa.Column("extra", Json, nullable=False),
    sa.Column("tokens_valid_from", Moment, nullable=False),  # tokens issued before are void
    sa.UniqueConstraint("domain_id", "name"),
)

roles = _table(
    "roles",
    sa.Column("id", Id, primary_key=True),
    sa.Column("name", Name, nullable=False, unique=True),
    sa.Column("description", LongText),
)

role_assignments = _table(
    "role_assignments",
    sa.Column("user_id", Id, primary_key=True),
    sa.Column("target_type", sa.String(16), primary_key=True),  # project, domain, system
    sa.Column("target_id", Id, primary_key=True),  # "all" for system
    sa.Column("role_id", Id, primary_key=True),
)

application_credentials = _table(
    "application_credentials",
    sa.Column("id", Id, primary_key=True),
    sa.Column("user_id", Id, nullable=False),
    sa.Column("project_id", Id, nullable=False),
    sa.Column("name", Name, nullable=False),
    sa.Column("description", LongText),
    sa.Column("secret_hash", Name, nullable=False),
    sa.Column("roles", Json, nullable=False),
    sa.Column("unrestricted", sa.Boolean, nullable=False),
    sa.Column("expires_at", Moment),
    sa.UniqueConstraint("user_id", "name"),
)

revoked_tokens = _table(
    "revoked_tokens",
    sa.Column("audit_id", Id, primary_key=True),
    sa.Column("expires_at", Moment, nullable=False),
)

secrets = _table(  # keys that every API process must share: token key, image-ticket key
    "secrets",
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("value", Name, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
)

# --- images ------------------------------------------------------------------------------------------------

images = _table(
    "images",
    sa.Column("seq", Sequence, primary_key=True, autoincrement=True),
    sa.Column("id", Id, nullable=False, unique=True),
    sa.Column("name", Name),
    sa.Column("owner", Id, nullable=False),
    sa.Column("status", sa.String(32), nullable=False),
    sa.Column("visibility", sa.String(16), nullable=False),
    sa.Column("disk_format", sa.String(16)),
    sa.Column("container_format", sa.String(16)),
    sa.Column("size", sa.BigInteger),
    sa.Column("virtual_size", sa.BigInteger),
    sa.Column("checksum", sa.String(32)),
    sa.Column("sha512", sa.String(128)),
    sa.Column("upload_id", Id),  # the upload whose bytes count: part of the file's name, and the fence of its writer
    sa.Column("min_disk_gb", sa.Integer, nullable=False),
    sa.Column("min_memory_mb", sa.Integer, nullable=False),
    sa.Column("protected", sa.Boolean, nullable=False),
    sa.Column("hidden", sa.Boolean, nullable=False),
    sa.Column("tags", Json, nullable=False),
    sa.Column("properties", Json, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
    sa.Column("deleted_at", Moment),
    sa.Index("ix_images_listing", "deleted_at", "created_at", "seq"),
)

image_members = _table(  # whom a shared image is shared with, and what they said to it
    "image_members",
    sa.Column("image_id", Id, primary_key=True),
    sa.Column("member_id", Id, primary_key=True),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
    sa.Index("ix_image_members_member", "member_id"),
)
