"""The tables of the embedded network service. Tags of all its nouns stand in one table, as their ids are unique among all."""

import sqlalchemy as sa

from kilonova.database.metadata import table
from kilonova.database.types import Id, Json, LongText, Moment, Name


def _described() -> tuple[sa.Column[object], ...]:
    """What each noun of the API has: who made it when, and how often it was changed."""
    return (
        sa.Column("description", LongText, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("created_at", Moment, nullable=False),
        sa.Column("updated_at", Moment, nullable=False),
    )


networks = table(
    "networks",
    sa.Column("id", Id, primary_key=True),
    sa.Column("project_id", Id, nullable=False),
    sa.Column("name", Name, nullable=False),
    sa.Column("shared", sa.Boolean, nullable=False),
    sa.Column("external", sa.Boolean, nullable=False),
    sa.Column("is_default", sa.Boolean, nullable=False),
    sa.Column("admin_state_up", sa.Boolean, nullable=False),
    sa.Column("port_security_enabled", sa.Boolean, nullable=False),
    sa.Column("mtu", sa.Integer, nullable=False),
    sa.Column("bridge", sa.String(15), nullable=False),
    sa.Column("network_type", sa.String(32), nullable=False),
    sa.Column("physical_network", Name),
    sa.Column("segmentation_id", sa.Integer),
    sa.Column("dns_domain", Name, nullable=False),
    *_described(),
    sa.Index("ix_networks_project", "project_id"),
)

subnets = table(
    "subnets",
    sa.Column("id", Id, primary_key=True),
    sa.Column("network_id", Id, nullable=False),
    sa.Column("project_id", Id, nullable=False),
    sa.Column("name", Name, nullable=False),
    sa.Column("ip_version", sa.Integer, nullable=False),
    sa.Column("cidr", sa.String(64), nullable=False),
    sa.Column("gateway_ip", sa.String(64)),
    sa.Column("enable_dhcp", sa.Boolean, nullable=False),
    sa.Column("allocation_pools", Json, nullable=False),  # [{"start": address, "end": address}], both included
    sa.Column("dns_nameservers", Json, nullable=False),
    sa.Column("host_routes", Json, nullable=False),
    sa.Column("ipv6_ra_mode", sa.String(32)),
    sa.Column("ipv6_address_mode", sa.String(32)),
    sa.Column("cursor", sa.BigInteger, nullable=False),  # where the search for a free address goes on
    *_described(),
    sa.Index("ix_subnets_network", "network_id"),
    sa.Index("ix_subnets_project", "project_id"),
)

ports = table(
    "ports",
    sa.Column("id", Id, primary_key=True),
    sa.Column("network_id", Id, nullable=False),
    sa.Column("project_id", Id, nullable=False),
    sa.Column("name", Name, nullable=False),
    sa.Column("mac_address", sa.String(17), nullable=False),
    sa.Column("device_id", Name, nullable=False),
    sa.Column("device_owner", Name, nullable=False),
    sa.Column("device_index", sa.Integer, nullable=False),
    sa.Column("binding", sa.String(16), nullable=False),  # "", or by Compute: "created" with, "attached" to a server
    sa.Column("host", Name, nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("admin_state_up", sa.Boolean, nullable=False),
    sa.Column("port_security_enabled", sa.Boolean, nullable=False),
    sa.Column("vnic_type", sa.String(32), nullable=False),
    sa.Column("binding_profile", Json, nullable=False),
    sa.Column("allowed_address_pairs", Json, nullable=False),
    sa.Column("extra_dhcp_opts", Json, nullable=False),
    sa.Column("dns_name", Name, nullable=False),
    *_described(),
    sa.UniqueConstraint("network_id", "mac_address"),
    sa.Index("ix_ports_device", "device_id"),
    sa.Index("ix_ports_project", "project_id"),
)

fixed_ips = table(
    "fixed_ips",
    sa.Column("subnet_id", Id, primary_key=True),
    sa.Column("ip_address", sa.String(64), primary_key=True),
    sa.Column("position", sa.BigInteger, nullable=False),  # distance from the subnet's first address
    sa.Column("port_id", Id, nullable=False),
    sa.Index("ix_fixed_ips_port", "port_id"),
    sa.Index("ix_fixed_ips_position", "subnet_id", "position"),
)

security_groups = table(
    "security_groups",
    sa.Column("id", Id, primary_key=True),
    sa.Column("project_id", Id, nullable=False),
    sa.Column("name", Name, nullable=False),
    sa.Column("stateful", sa.Boolean, nullable=False),
    *_described(),
    sa.Index("ix_security_groups_project", "project_id", "name"),
)

security_group_rules = table(
    "security_group_rules",
    sa.Column("id", Id, primary_key=True),
    sa.Column("security_group_id", Id, nullable=False),
    sa.Column("project_id", Id, nullable=False),
    sa.Column("direction", sa.String(16), nullable=False),
    sa.Column("ethertype", sa.String(8), nullable=False),
    sa.Column("protocol", sa.String(40)),
    sa.Column("port_range_min", sa.Integer),
    sa.Column("port_range_max", sa.Integer),
    sa.Column("remote_ip_prefix", sa.String(64)),
    sa.Column("remote_group_id", Id),
    *_described(),
    sa.Index("ix_security_group_rules_group", "security_group_id"),
    sa.Index("ix_security_group_rules_project", "project_id"),
)

port_security_groups = table(
    "port_security_groups",
    sa.Column("port_id", Id, primary_key=True),
    sa.Column("security_group_id", Id, primary_key=True),
    sa.Index("ix_port_security_groups_group", "security_group_id"),
)

routers = table(
    "routers",
    sa.Column("id", Id, primary_key=True),
    sa.Column("project_id", Id, nullable=False),
    sa.Column("name", Name, nullable=False),
    sa.Column("admin_state_up", sa.Boolean, nullable=False),
    sa.Column("external_network_id", Id),
    sa.Column("enable_snat", sa.Boolean, nullable=False),
    sa.Column("distributed", sa.Boolean, nullable=False),
    sa.Column("ha", sa.Boolean, nullable=False),
    sa.Column("routes", Json, nullable=False),
    *_described(),
    sa.Index("ix_routers_project", "project_id"),
)

floating_ips = table(
    "floating_ips",
    sa.Column("id", Id, primary_key=True),
    sa.Column("project_id", Id, nullable=False),
    sa.Column("floating_network_id", Id, nullable=False),
    sa.Column("floating_ip_address", sa.String(64), nullable=False),
    sa.Column("floating_port_id", Id, nullable=False),  # the port that holds the address on the external network
    sa.Column("port_id", Id),
    sa.Column("fixed_ip_address", sa.String(64)),
    sa.Column("router_id", Id),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("dns_name", Name, nullable=False),
    sa.Column("dns_domain", Name, nullable=False),
    *_described(),
    sa.UniqueConstraint("port_id", "fixed_ip_address"),
    sa.Index("ix_floating_ips_project", "project_id"),
    sa.Index("ix_floating_ips_address", "floating_ip_address"),
)

trunks = table(
    "trunks",
    sa.Column("id", Id, primary_key=True),
    sa.Column("project_id", Id, nullable=False),
    sa.Column("name", Name, nullable=False),
    sa.Column("port_id", Id, nullable=False),
    sa.Column("admin_state_up", sa.Boolean, nullable=False),
    *_described(),
    sa.UniqueConstraint("port_id"),
    sa.Index("ix_trunks_project", "project_id"),
)

trunk_subports = table(
    "trunk_subports",
    sa.Column("port_id", Id, primary_key=True),
    sa.Column("trunk_id", Id, nullable=False),
    sa.Column("segmentation_type", sa.String(16), nullable=False),
    sa.Column("segmentation_id", sa.Integer, nullable=False),
    sa.UniqueConstraint("trunk_id", "segmentation_type", "segmentation_id"),
)

network_tags = table(
    "network_tags",
    sa.Column("resource_id", Id, primary_key=True),
    sa.Column("tag", Name, primary_key=True),
)

network_projects = table(  # one row for each project that makes something: whoever counts against a quota locks it
    "network_projects",
    sa.Column("project_id", Id, primary_key=True),
)

network_quotas = table(  # what an administrator set; the rest are the defaults
    "network_quotas",
    sa.Column("project_id", Id, primary_key=True),
    sa.Column("resource", sa.String(64), primary_key=True),
    sa.Column("hard_limit", sa.BigInteger, nullable=False),
)
