"""The tables of what stands beside servers: their moves, groups, consoles and passwords, and the groups of hosts."""

import sqlalchemy as sa

from kilonova.database.metadata import table
from kilonova.database.types import Id, Json, LongText, Moment, Name, Sequence

server_migrations = table(  # every move of a server to another host or flavor; Nova's ``migrations``
    "server_migrations",
    sa.Column("id", Sequence, primary_key=True, autoincrement=True),
    sa.Column("uuid", Id, nullable=False, unique=True),
    sa.Column("server_id", Id, nullable=False),
    sa.Column("action_id", Id),  # the durable action that performs it
    sa.Column("migration_type", sa.String(32), nullable=False),
    sa.Column("status", sa.String(32), nullable=False),
    sa.Column("wish", sa.String(16)),  # what an operator asked of one that runs: "abort", "force_complete"
    sa.Column("source_compute", Name),
    sa.Column("source_node", Name),
    sa.Column("dest_compute", Name),
    sa.Column("dest_node", Name),
    sa.Column("dest_host", Name),  # the destination's address
    sa.Column("old_flavor_id", sa.Integer),  # numbers of ``flavors.id``
    sa.Column("new_flavor_id", sa.Integer),
    sa.Column("user_id", Id),
    sa.Column("project_id", Id),
    sa.Column("memory_total", sa.BigInteger),  # bytes, of a live migration that has begun to copy
    sa.Column("memory_processed", sa.BigInteger),
    sa.Column("memory_remaining", sa.BigInteger),
    sa.Column("disk_total", sa.BigInteger),
    sa.Column("disk_processed", sa.BigInteger),
    sa.Column("disk_remaining", sa.BigInteger),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
    sa.Index("ix_server_migrations_listing", "created_at", "id"),
    sa.Index("ix_server_migrations_server", "server_id", "status"),
    sa.Index("ix_server_migrations_source", "source_compute", "status"),
    sa.Index("ix_server_migrations_action", "action_id"),
    sa.Index("ix_server_migrations_project", "project_id", "created_at"),
    sa.Index("ix_server_migrations_changes", "updated_at"),
)

server_groups = table(
    "server_groups",
    sa.Column("seq", Sequence, primary_key=True, autoincrement=True),
    sa.Column("id", Id, nullable=False, unique=True),
    sa.Column("project_id", Id, nullable=False),
    sa.Column("user_id", Id, nullable=False),
    sa.Column("name", Name, nullable=False),
    sa.Column("policy", sa.String(32), nullable=False),
    sa.Column("rules", Json, nullable=False),
    sa.Column("placements", sa.BigInteger, nullable=False, default=0),  # counted up, so that placements queue up here
    sa.Column("created_at", Moment, nullable=False),
    sa.Index("ix_server_groups_project", "project_id", "seq"),
)

server_group_members = table(
    "server_group_members",
    sa.Column("group_id", Id, primary_key=True),
    sa.Column("server_id", Id, primary_key=True),
    sa.Index("ix_server_group_members_server", "server_id"),
)

quota_user_limits = table(  # below the limits of the project they are in
    "quota_user_limits",
    sa.Column("project_id", Id, primary_key=True),
    sa.Column("user_id", Id, primary_key=True),
    sa.Column("resource", sa.String(64), primary_key=True),
    sa.Column("hard_limit", sa.BigInteger, nullable=False),
)

aggregates = table(
    "aggregates",
    sa.Column("id", Sequence, primary_key=True, autoincrement=True),
    sa.Column("uuid", Id, nullable=False, unique=True),
    sa.Column("name", Name, nullable=False, unique=True),
    sa.Column("availability_zone", Name),  # stands in the metadata as well, as clients see it
    sa.Column("metadata", Json, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("updated_at", Moment),
    sa.Index("ix_aggregates_zone", "availability_zone"),
)

aggregate_hosts = table(
    "aggregate_hosts",
    sa.Column("aggregate_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("host", Name, primary_key=True),
    sa.Index("ix_aggregate_hosts_host", "host"),
)

console_tokens = table(
    "console_tokens",
    sa.Column("token_hash", sa.String(64), primary_key=True),  # SHA-256, hex: the token itself is kept nowhere
    sa.Column("server_id", Id, nullable=False),
    sa.Column("console_type", sa.String(32), nullable=False),
    sa.Column("host", Name, nullable=False),
    sa.Column("port", sa.Integer, nullable=False),
    sa.Column("tls_port", sa.Integer),
    sa.Column("internal_access_path", Name),
    sa.Column("access_url_base", Name),
    sa.Column("expires_at", Moment, nullable=False),
    sa.Index("ix_console_tokens_server", "server_id"),
    sa.Index("ix_console_tokens_expires", "expires_at"),
)

server_passwords = table(  # as the guest posted it, encrypted with the user's public key
    "server_passwords",
    sa.Column("server_id", Id, primary_key=True),
    sa.Column("password", LongText, nullable=False),
)

quota_classes = table(  # beside the default class, which stands in quota_limits; no project is in one of these
    "quota_classes",
    sa.Column("name", Name, primary_key=True),
    sa.Column("resource", sa.String(64), primary_key=True),
    sa.Column("hard_limit", sa.BigInteger, nullable=False),
)
