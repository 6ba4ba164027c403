"""The log of usage audits, host by host. Usage is kept in the ledger and reported by ``os-simple-tenant-usage``: no host has an
audit to run, so the log knows of none, as that of a Nova whose API has no compute hosts in its own database."""

from datetime import UTC, datetime, timedelta
from typing import Any

from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.inputs import queries
from kilonova.model.errors import Invalid
from kilonova.web.call import Call, Reply
from kilonova.web.moments import as_datetime
from kilonova.web.routes import Route

_FORM = "%Y-%m-%d %H:%M:%S"


async def index(cloud: Deployment, call: Call) -> Reply:
    """Of the last whole month."""
    return Reply(200, {"instance_usage_audit_logs": _log(as_datetime(call.started_at))})


async def show(cloud: Deployment, call: Call) -> Reply:
    """Of the last whole month before a moment."""
    text = call.params["id"]
    form = f"{_FORM}.%f" if "." in text else _FORM
    try:
        before = datetime.strptime(text, form).replace(tzinfo=UTC)
        return Reply(200, {"instance_usage_audit_log": _log(before)})
    except (ValueError, OverflowError):  # the latter: before the first month there is
        raise Invalid(f"Invalid timestamp for date {text[:64]}") from None


def _log(before: datetime) -> dict[str, Any]:
    end = datetime(before.year, before.month, 1, tzinfo=UTC)
    begin = (end - timedelta(days=1)).replace(day=1)
    return {
        "period_beginning": begin.strftime(_FORM),
        "period_ending": end.strftime(_FORM),
        "num_hosts": 0,
        "num_hosts_done": 0,
        "num_hosts_running": 0,
        "num_hosts_not_run": 0,
        "hosts_not_run": [],
        "total_instances": 0,
        "total_errors": 0,
        "overall_status": "ALL hosts done. 0 errors.",
        "log": {},
    }


_RULE = "os_compute_api:os-instance-usage-audit-log"
_PATH = "/os-instance_usage_audit_log"
ROUTES = [
    Route(
        method="GET",
        path=_PATH,
        handler=index,
        rule=f"{_RULE}:list",
        role="admin",
        query=queries(102),
        summary="Show the last usage audit",
    ),
    Route(
        method="GET",
        path=f"{_PATH}/{{id}}",
        handler=show,
        rule=f"{_RULE}:show",
        role="admin",
        query=queries(102),
        summary="Show the usage audit before a moment",
    ),
]
