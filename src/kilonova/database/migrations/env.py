"""Alembic's environment: the connection is handed in by ``database/schema.py``."""

from alembic import context

from kilonova.database.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=False,  # the caller's transaction is the one
    render_as_batch=False,
)
with context.begin_transaction():
    context.run_migrations()
