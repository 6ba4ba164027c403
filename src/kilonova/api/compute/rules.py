"""Policy rules that no route carries: what a handler asks about beside the right to call it.

Names are Nova's where Nova has one. The application adds these to the rules of its routes.
"""

ALL_FLAVORS = "os_compute_api:flavors:all"
FLAVOR_EXTRA_SPECS = "os_compute_api:os-flavor-extra-specs:index"
OTHER_KEYPAIRS = "os_compute_api:os-keypairs:other_user"
OTHER_LIMITS = "os_compute_api:limits:other_project"
OTHER_QUOTAS = "os_compute_api:os-quota-sets:other_project"
OTHER_USAGE = "os_compute_api:os-simple-tenant-usage:other_project"
ALL_MIGRATIONS = "os_compute_api:os-migrations:index:all_projects"
MIGRATION_HOSTS = "os_compute_api:os-migrations:index:host"
SERVER_MIGRATION_HOSTS = "os_compute_api:servers:migrations:index:host"
ALL_SERVER_GROUPS = "os_compute_api:os-server-groups:index:all_projects"
ALL_ACTIONS = "os_compute_api:os-instance-actions:all_projects"
ACTION_EVENTS = "os_compute_api:os-instance-actions:events"
ACTION_DETAILS = "os_compute_api:os-instance-actions:events:details"

RULES: dict[str, str] = {
    ALL_FLAVORS: "admin",
    FLAVOR_EXTRA_SPECS: "reader",
    OTHER_KEYPAIRS: "admin",
    OTHER_LIMITS: "admin",
    OTHER_QUOTAS: "admin",
    OTHER_USAGE: "admin",
    ALL_MIGRATIONS: "admin",
    MIGRATION_HOSTS: "admin",
    SERVER_MIGRATION_HOSTS: "admin",
    ALL_SERVER_GROUPS: "admin",
    ALL_ACTIONS: "admin",
    ACTION_EVENTS: "admin",
    ACTION_DETAILS: "admin",
}
