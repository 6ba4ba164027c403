"""Policy rules of servers beside those that stand in the route table: what some option of a call needs."""

UNLOCK_OVERRIDE = "os_compute_api:os-lock-server:unlock:unlock_override"
MIGRATE_HOST = "os_compute_api:os-migrate-server:migrate:host"
MIGRATE_LIVE_HOST = "os_compute_api:os-migrate-server:migrate_live:host"
UNSHELVE_TO_HOST = "os_compute_api:os-shelve:unshelve_to_host"
HOST_TOPOLOGY = "compute:server:topology:host:index"

RULES: dict[str, str] = {
    "os_compute_api:servers:index:get_all_tenants": "admin",
    "os_compute_api:servers:detail:get_all_tenants": "admin",
    "os_compute_api:servers:create:forced_host": "admin",
    "os_compute_api:servers:create:requested_destination": "admin",
    "os_compute_api:servers:show:host_status": "admin",
    "os_compute_api:os-extended-server-attributes": "admin",
    "os_compute_api:servers:allow_all_filters": "admin",
    UNLOCK_OVERRIDE: "admin",
    MIGRATE_HOST: "admin",
    MIGRATE_LIVE_HOST: "admin",
    UNSHELVE_TO_HOST: "admin",
    HOST_TOPOLOGY: "admin",
}
