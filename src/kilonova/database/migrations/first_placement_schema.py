"""The first schema's tables of Placement (``database/placement_tables.py``); part of revision 0001."""

import sqlalchemy as sa
from alembic import op


def create_placement_tables() -> None:
    """All of them, with their indexes."""
    _table(
        "host_inventories",
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("resource_class", sa.String(length=255), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("reserved", sa.Integer(), nullable=False),
        sa.Column("min_unit", sa.Integer(), nullable=False),
        sa.Column("max_unit", sa.Integer(), nullable=False),
        sa.Column("step_size", sa.Integer(), nullable=False),
        sa.Column("allocation_ratio", sa.Double(), nullable=False),
        sa.Column("capacity", sa.Integer(), nullable=False),
        sa.Column("used", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("host", "resource_class", name=op.f("pk_host_inventories")),
    )
    op.create_index("ix_host_inventories_class", "host_inventories", ["resource_class"], unique=False)
    _table(
        "host_traits",
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("trait", sa.String(length=255), nullable=False),
        sa.PrimaryKeyConstraint("host", "trait", name=op.f("pk_host_traits")),
    )
    op.create_index("ix_host_traits_trait", "host_traits", ["trait"], unique=False)
    for name in ("resource_classes", "traits"):
        _table(
            name,
            sa.Column("name", sa.String(length=255), nullable=False),
            sa.Column("created_at", sa.BigInteger(), nullable=False),
            sa.PrimaryKeyConstraint("name", name=op.f(f"pk_{name}")),
        )


def _table(name: str, *columns: sa.schema.SchemaItem) -> None:
    op.create_table(name, *columns, mysql_charset="utf8mb4", mysql_collate="utf8mb4_bin", mysql_engine="InnoDB")
