"""Moves of servers to another host or flavor, as Nova's word for them goes: migrations."""

from enum import StrEnum

import msgspec


class MigrationType(StrEnum):
    """Why and how a server moves."""

    MIGRATION = "migration"  # cold
    RESIZE = "resize"
    LIVE = "live-migration"
    EVACUATION = "evacuation"


class MigrationStatus(StrEnum):
    """Where a move stands; which of them a move passes depends on its type."""

    ACCEPTED = "accepted"
    QUEUED = "queued"
    PREPARING = "preparing"
    PRE_MIGRATING = "pre-migrating"
    MIGRATING = "migrating"
    RUNNING = "running"
    POST_MIGRATING = "post-migrating"
    FINISHED = "finished"  # moved, to be confirmed or reverted
    CONFIRMING = "confirming"
    CONFIRMED = "confirmed"
    REVERTING = "reverting"
    REVERTED = "reverted"
    COMPLETED = "completed"
    DONE = "done"  # evacuated
    CANCELLED = "cancelled"
    FAILED = "failed"
    ERROR = "error"


LIVE_IN_PROGRESS = (
    MigrationStatus.QUEUED,
    MigrationStatus.PREPARING,
    MigrationStatus.RUNNING,
    MigrationStatus.POST_MIGRATING,
)
"""The states of a live migration that can still be looked at below its server."""


ENDS = (
    MigrationStatus.CONFIRMED,
    MigrationStatus.REVERTED,
    MigrationStatus.COMPLETED,
    MigrationStatus.DONE,
    MigrationStatus.CANCELLED,
    MigrationStatus.FAILED,
    MigrationStatus.ERROR,
)
"""The states in which a move is over."""


class Wish(StrEnum):
    """What an operator asks of a live migration under way; its performer reads it from the row."""

    ABORT = "abort"
    FORCE_COMPLETE = "force_complete"


class Migration(msgspec.Struct, frozen=True, kw_only=True):
    """One row of ``server_migrations``. Moments in microseconds, sizes in bytes; flavors by their number."""

    id: int
    uuid: str
    server_id: str
    action_id: str | None
    migration_type: str
    status: str
    wish: str | None
    source_compute: str | None
    source_node: str | None
    dest_compute: str | None
    dest_node: str | None
    dest_host: str | None
    old_flavor_id: int | None
    new_flavor_id: int | None
    user_id: str | None
    project_id: str | None
    memory_total: int | None
    memory_processed: int | None
    memory_remaining: int | None
    disk_total: int | None
    disk_processed: int | None
    disk_remaining: int | None
    created_at: int
    updated_at: int

    @property
    def live_in_progress(self) -> bool:
        """A live migration that has not ended."""
        return self.migration_type == MigrationType.LIVE and self.status in LIVE_IN_PROGRESS
