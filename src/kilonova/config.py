"""Every option, typed, with its reason. None is required: the defaults are a working cloud on one machine.

Read from, later ones winning: the defaults here, a TOML file (``--config`` or ``KILONOVA_CONFIG``), environment
variables ``KILONOVA_<SECTION>__<OPTION>``, ``--set section.option=value``. An unknown option or a wrong value ends
the process with one line that names it.
"""

import os
import socket
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kilonova.model.errors import Misconfigured
from kilonova.model.remedies import Limits


class Section(BaseModel):
    """Unknown options are errors, and nothing changes after the start."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ApiConfig(Section):
    """nova-api and the embedded neighbours, all under one port."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8774, ge=0, le=65535, description="Port; 8774 is compute's registered port. 0: any free one.")
    public_url: str | None = Field(None, description="How clients reach us; None: from host and port.")
    reuse_port: bool = Field(False, description="SO_REUSEPORT, so that several nova-api share the port.")
    max_limit: int = Field(1000, ge=1, description="Most entries in one page of a list.")
    policy_file: Path | None = Field(
        None, description="JSON file of policy rules (name: role) that replace the defaults."
    )


class DatabaseConfig(Section):
    """Where the truth lives."""

    url: str | None = Field(None, description="sqlite, mysql or postgresql URL; None: SQLite in the state directory.")
    pool_size: int = Field(10, ge=1, description="Connections of each process (not SQLite).")
    connect_timeout: float = Field(5.0, gt=0, description="Seconds to wait for a connection.")
    statement_timeout: float = Field(15.0, gt=0, description="Seconds one transaction may take.")
    durable: bool = Field(True, description="SQLite: false is faster and bears kill -9, but no power failure.")


class MessagingConfig(Section):
    """The road between the sub-services."""

    url: str = Field("local", description="local (one process) or amqp://user:password@host:port/vhost.")
    queue_limit: int = Field(20_000, ge=1, description="Messages a queue may hold before it refuses more.")
    delivery_limit: int = Field(5, ge=1, description="Deliveries of one message before it goes to dead-letter.")
    publish_timeout: float = Field(5.0, gt=0, description="Seconds to wait for the broker's confirm.")
    call_timeout: float = Field(10.0, gt=0, description="Seconds to wait for an answer.")


class ActionsConfig(Section):
    """Bounds of durable actions; all in seconds unless said."""

    lease: float = Field(6.0, gt=0, description="A step nobody renews for this long is taken over.")
    dispatch: float = Field(5.0, gt=0, description="A step nobody began for this long is sent again (doubling).")
    queue_deadline: float = Field(600.0, gt=0, description="A step nobody began for this long fails.")
    sweep_interval: float = Field(1.0, gt=0, description="How often nova-conductor looks for late actions.")
    sweep_batch: int = Field(400, ge=1, description="Late actions one sweep takes.")
    attempts: int = Field(5, ge=1, description="Times one step may be begun before the action fails.")
    max_hosts: int = Field(3, ge=1, description="Hosts a create may try.")
    reclaim_instance_interval: float = Field(
        0.0, ge=0, description="Seconds a deleted server can be restored; 0: it is deleted at once."
    )

    @property
    def limits(self) -> Limits:
        """The bounds in the form that the engine's rules work with."""
        return Limits(
            attempts=self.attempts,
            max_hosts=self.max_hosts,
            queue_deadline=int(self.queue_deadline * 1_000_000),
        )


class MovesConfig(Section):
    """How servers move between hosts."""

    allow_resize_to_same_host: bool = Field(False, description="A resize may choose the host the server is on.")
    resize_confirm_window: int = Field(
        0, ge=0, description="Seconds after which a resize is confirmed; 0: by users only."
    )
    shelved_offload_time: int = Field(
        0, ge=-1, description="Seconds until a shelved server leaves its host; -1: never."
    )


class MembershipConfig(Section):
    """Who is up."""

    heartbeat: float = Field(2.0, gt=0, description="Seconds between heartbeats.")
    down_after: float = Field(10.0, gt=0, description="Seconds of silence after which a service is down.")


class SchedulerConfig(Section):
    """How hosts are chosen; what each rule asks stands in docs/scheduling.md."""

    filters: list[str] = Field(
        [
            "ComputeFilter",
            "AvailabilityZoneFilter",
            "RequestedHostFilter",
            "TenantAggregatesFilter",
            "AggregateMultiTenancyIsolation",
            "IsolatedAggregatesFilter",
            "AggregateTypeAffinityFilter",
            "IsolatedHostsFilter",
            "TraitsFilter",
            "ComputeCapabilitiesFilter",
            "ImagePropertiesFilter",
            "ServerGroupAntiAffinityFilter",
            "ServerGroupAffinityFilter",
            "SameHostFilter",
            "DifferentHostFilter",
            "SimpleCIDRAffinityFilter",
            "CapacityFilter",
        ],
        description="Filters in force, in order.",
    )
    weighers: dict[str, float] = Field(
        {
            "RAMWeigher": 1.0,
            "CPUWeigher": 1.0,
            "DiskWeigher": 1.0,
            "NumInstancesWeigher": -0.5,
            "HypervisorVersionWeigher": 1.0,
            # A user's wish outweighs the spreading of load, which together would else undo it.
            "ServerGroupSoftAffinityWeigher": 10.0,
            "ServerGroupSoftAntiAffinityWeigher": 10.0,
            "BuildFailureWeigher": 1_000_000.0,  # such a host is the last choice
        },
        description="Weighers and their multipliers; aggregates may say otherwise.",
    )
    default_schedule_zone: str | None = Field(
        None,
        max_length=255,
        description="The zone of servers whose owner asks for none; None: any, and it may change.",
    )
    max_instances_per_host: int = Field(50, ge=1, description="NumInstancesFilter: most servers of a host.")
    max_io_ops_per_host: int = Field(8, ge=0, description="IoOpsFilter: most servers with disks being worked on.")
    isolated_hosts: list[str] = Field([], description="IsolatedHostsFilter: hosts kept for isolated_images.")
    isolated_images: list[str] = Field([], description="IsolatedHostsFilter: images that go to isolated_hosts only.")
    restrict_isolated_hosts_to_isolated_images: bool = Field(
        True, description="IsolatedHostsFilter: other images may not go to isolated_hosts."
    )
    image_properties_default_architecture: str | None = Field(
        None, description="ImagePropertiesFilter: the architecture of images that name none; None: any."
    )
    aggregate_image_properties_isolation_namespace: str | None = Field(
        None, description="AggregateImagePropertiesIsolation: only keys that begin so are compared; None: all."
    )
    aggregate_image_properties_isolation_separator: str = Field(
        ".", description="AggregateImagePropertiesIsolation: what stands behind the namespace."
    )
    metrics_weight_setting: dict[str, float] = Field(
        {}, description="MetricsWeigher, MetricsFilter: metrics of hosts and what each counts."
    )
    metrics_weight_of_unavailable: float = Field(
        -10_000.0, description="MetricsWeigher: the weight of a host that lacks one of the metrics."
    )
    image_props_weight_setting: dict[str, float] = Field(
        {}, description="ImagePropertiesWeigher: properties and what each counts; none: all count alike."
    )
    placement_aggregate_required_for_tenants: bool = Field(
        False, description="TenantAggregatesFilter: projects without an aggregate of their own get no host."
    )
    host_subset_size: int = Field(1, ge=1, description="Choose at random among this many best hosts.")
    refresh: float = Field(1.0, gt=0, description="Seconds after which the view of the hosts is read again.")
    concurrency: int = Field(32, ge=1, description="Requests decided at once.")
    keep_decisions: int = Field(100_000, ge=1, description="Decisions kept with their reasons, the newest.")
    keep_decisions_days: float = Field(30.0, gt=0, description="Days after which a decision is forgotten.")


class ComputeConfig(Section):
    """nova-compute and its machine."""

    host: str = Field(default_factory=socket.gethostname, description="The host's name; must be unique and stay.")
    availability_zone: str = Field("nova", description="The zone the host is in.")
    address: str = Field("127.0.0.1", description="The host's address, shown to administrators.")
    driver: Literal["auto", "qemu", "fake"] = Field("auto", description="auto: qemu where it can run, else fake.")
    concurrency: int = Field(32, ge=1, description="Steps at work at once; real builds are bounded by builds.")
    builds: int = Field(4, ge=1, description="Real guests being prepared at once.")
    reconcile_interval: float = Field(60.0, gt=0, description="Seconds between comparisons with the database.")
    cpu_ratio: float = Field(4.0, gt=0, description="Virtual cores per real one.")
    memory_ratio: float = Field(1.0, gt=0, description="Virtual memory per real memory.")
    disk_ratio: float = Field(1.0, gt=0, description="Virtual disk per real disk.")
    reserved_memory_mb: int = Field(512, ge=0, description="Memory kept for the host itself.")
    monitors: list[Literal["cpu.virt_driver"]] = Field(
        [], description="What is measured for MetricsFilter and MetricsWeigher and sent with each heartbeat."
    )
    shutdown_grace: float = Field(15.0, ge=0, description="Seconds a guest gets to shut down by itself.")
    resume_guests: bool = Field(True, description="At start, run the guests again that `kilonova stop` shut down.")
    accelerator: Literal["auto", "kvm", "tcg"] = Field("auto", description="auto: KVM where a probe guest boots.")
    fake_hosts: int = Field(1, ge=1, description="With driver fake: this many hosts in one process.")
    fake_delay: float = Field(0.0, ge=0, description="With driver fake: mean seconds a verb takes.")


class NetworkConfig(Section):
    """The one shared network of the embedded network service."""

    cidr: str = Field("10.200.0.0/16", description="Addresses of the shared network; unused on these machines.")
    bridge: str = Field("knbr0", max_length=15, description="The bridge's name on each host.")
    dns: list[str] = Field([], description="Name servers told to guests.")
    mtu: int = Field(1500, ge=576, description="Largest packet.")


class IdentityConfig(Section):
    """The embedded identity service."""

    admin_password: str | None = Field(None, description="Password of the user admin; None: made at the first start.")
    token_hours: float = Field(24.0, gt=0, description="How long a token lives.")
    region: str = Field("RegionOne", description="The region's name in the catalog.")


class ConsoleConfig(Section):
    """Remote consoles: where clients find the proxies, and those the hosts."""

    novnc_url: str = Field("http://127.0.0.1:6080/vnc_auto.html", description="Page of the VNC proxy.")
    serial_url: str = Field("ws://127.0.0.1:6083/", description="Address of the serial console proxy.")
    spice_url: str = Field("http://127.0.0.1:6082/spice_auto.html", description="Page of the SPICE proxy.")
    mks_url: str = Field("http://127.0.0.1:6090/", description="Address of the MKS proxy.")
    host_port: int = Field(6100, ge=1, le=65535, description="Where hosts let the proxies in.")
    token_seconds: float = Field(600.0, gt=0, description="How long a token opens a console.")

    @property
    def urls(self) -> dict[str, str]:
        """By the type of console."""
        return {
            "novnc": self.novnc_url,
            "serial": self.serial_url,
            "spice-html5": self.spice_url,
            "spice-direct": self.spice_url,
            "webmks": self.mks_url,
        }


class QuotaConfig(Section):
    """Default limits of a project, Nova's own defaults; -1 is no limit."""

    instances: int = 10
    cores: int = 20
    ram: int = 51_200
    key_pairs: int = 100
    metadata_items: int = 128
    server_groups: int = 10
    server_group_members: int = 10


class LogConfig(Section):
    """What is written about our own doings."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    json_lines: bool = Field(False, description="One JSON object per line instead of text.")


class Config(Section):
    """All of it."""

    state_dir: Path = Field(Path(".state"), description="Everything that must survive a restart lives below it.")
    api: ApiConfig = ApiConfig()
    database: DatabaseConfig = DatabaseConfig()
    messaging: MessagingConfig = MessagingConfig()
    actions: ActionsConfig = ActionsConfig()
    moves: MovesConfig = MovesConfig()
    membership: MembershipConfig = MembershipConfig()
    scheduler: SchedulerConfig = SchedulerConfig()
    compute: ComputeConfig = Field(default_factory=ComputeConfig)
    network: NetworkConfig = NetworkConfig()
    identity: IdentityConfig = IdentityConfig()
    quota: QuotaConfig = QuotaConfig()
    console: ConsoleConfig = ConsoleConfig()
    log: LogConfig = LogConfig()

    @property
    def database_url(self) -> str:
        """The database's URL, the default filled in."""
        return self.database.url or f"sqlite:///{self.state_dir.absolute() / 'kilonova.db'}"

    @property
    def embedded(self) -> bool:
        """Whether the services share one process and its bus."""
        return self.messaging.url == "local"


def load_config(
    file: Path | None = None, overrides: list[str] | None = None, environment: dict[str, str] | None = None
) -> Config:
    """Read all sources. Raises ``Misconfigured`` with one line that names the option."""
    environment = dict(os.environ) if environment is None else environment
    file = file or (Path(environment["KILONOVA_CONFIG"]) if environment.get("KILONOVA_CONFIG") else None)
    values = _read_file(file) if file else {}
    for name, value in environment.items():
        if name.startswith("KILONOVA_") and name != "KILONOVA_CONFIG":
            _put(values, name.removeprefix("KILONOVA_").lower().split("__"), value, name)
    for override in overrides or []:
        key, equals, value = override.partition("=")
        if not equals:
            raise Misconfigured(f"--set {override}: write it as section.option=value")
        _put(values, key.split("."), value, f"--set {key}")
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise Misconfigured(_one_line(error)) from None


def _read_file(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text())
    except OSError as error:
        raise Misconfigured(f"cannot read the configuration file {file}: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise Misconfigured(f"{file} is not TOML: {error}") from None


def _put(values: dict[str, Any], path: list[str], value: str, source: str) -> None:
    for part in path[:-1]:
        inner = values.setdefault(part, {})
        if not isinstance(inner, dict):
            raise Misconfigured(f"{source}: {part!r} is not a section")
        values = inner
    values[path[-1]] = _parse(value)


def _parse(value: str) -> Any:
    """Lists and tables may be written as TOML values; anything else stays text and is converted by its type."""
    if value[:1] in "[{":
        try:
            return tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            return value
    return value


def _one_line(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"unknown option {where}; `kilonova options` lists all of them"
    return f"option {where}: {first['msg']}"
