"""The one metadata object, and the way a table is declared in it."""

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def declare(name: str, *columns: sa.schema.SchemaItem) -> sa.Table:
    """A table as all of ours are: in MariaDB and MySQL InnoDB, Unicode, names compared exactly as Nova's clients expect."""
    return sa.Table(
        name,
        metadata,
        *columns,
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
    )
