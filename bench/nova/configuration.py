"""The configuration files of real Nova, Placement and Keystone, on loopback and in one directory."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from bench.nova.memcached import Memcached
from kilonova.backing.mariadb import MariaDB
from kilonova.backing.rabbitmq import RabbitMQ


@dataclass(frozen=True)
class Site:
    """Where everything of one deployment is: directory, environment, ports, backing servers, the one password."""

    directory: Path
    environment: Path
    ports: dict[str, int]
    password: str
    database: MariaDB
    broker: RabbitMQ
    memcached: Memcached

    @property
    def keystone(self) -> str:
        return f"http://127.0.0.1:{self.ports['keystone']}/v3"

    @property
    def placement(self) -> str:
        return f"http://127.0.0.1:{self.ports['placement']}"

    @property
    def nova(self) -> str:
        return f"http://127.0.0.1:{self.ports['nova-api']}/v2.1"

    @property
    def stand_ins(self) -> str:
        return f"http://127.0.0.1:{self.ports['stand-ins']}"

    @property
    def logs(self) -> Path:
        return self.directory / "log"

    def conf(self, service: str) -> Path:
        return self.directory / "etc" / service / f"{service}.conf"

    def program(self, name: str) -> str:
        return str(self.environment / "bin" / name)

    def database_url(self, name: str) -> str:
        """For SQLAlchemy in Nova, which has a driver other than ours."""
        return self.database.database_url(name).replace("+asyncmy", "+pymysql")

    @property
    def broker_url(self) -> str:
        return self.broker.url.replace("amqp://", "rabbit://")


def write(site: Site) -> None:
    """All files but those of the computes, and the directories they name."""
    for service, text in (("keystone", _keystone(site)), ("placement", _placement(site)), ("nova", _nova(site))):
        path = site.conf(service)
        path.parent.mkdir(parents=True)
        path.write_text(text)
    for name in ("log", "nova", "fernet", "credential"):
        (site.directory / name).mkdir()
    shutil.copy(site.environment / "etc" / "nova" / "api-paste.ini", site.conf("nova").parent)


def write_compute(site: Site, number: int) -> Path:
    """The file that a nova-compute reads after Nova's own: a name and a directory for itself."""
    state = site.directory / f"compute{number}"
    state.mkdir()
    path = site.conf("nova").with_name(f"compute{number}.conf")
    path.write_text(
        f"[DEFAULT]\nhost = fake{number}\nstate_path = {state}\nlog_file = {site.logs}/nova-compute{number}.log\n"
        f"[oslo_concurrency]\nlock_path = {state}/lock\n"
    )
    return path


def _login(site: Site, user: str) -> str:
    return f"""auth_type = password
auth_url = {site.keystone}
project_domain_id = default
user_domain_id = default
project_name = service
username = {user}
password = {site.password}
region_name = RegionOne
"""


def _token_check(site: Site, user: str) -> str:
    return f"""[keystone_authtoken]
www_authenticate_uri = {site.keystone}
service_token_roles_required = true
memcached_servers = {site.memcached.url}
{_login(site, user)}"""


def _cache(site: Site) -> str:
    return f"""[cache]
enabled = true
backend = dogpile.cache.pymemcache
memcache_servers = {site.memcached.url}
"""


def _nova(site: Site) -> str:
    """As the installation guide has it. A choice among ten hosts spares builds that race for one a second try."""
    return f"""[DEFAULT]
transport_url = {site.broker_url}
log_dir = {site.logs}
state_path = {site.directory}/nova
my_ip = 127.0.0.1
host = control
compute_driver = fake.FakeDriverWithoutFakeNodes
[api_database]
connection = {site.database_url("nova_api")}
[database]
connection = {site.database_url("nova")}
{_token_check(site, "nova")}
[service_user]
send_service_user_token = true
{_login(site, "nova")}
[placement]
{_login(site, "nova")}
[glance]
region_name = RegionOne
[neutron]
{_login(site, "nova")}
[cinder]
os_region_name = RegionOne
{_cache(site)}
[oslo_concurrency]
lock_path = {site.directory}/nova/lock
[quota]
instances = 1000000
cores = 1000000
ram = 1000000000
[vnc]
enabled = false
[filter_scheduler]
host_subset_size = 10
"""


def _placement(site: Site) -> str:
    return f"""[DEFAULT]
log_file = {site.logs}/placement.log
[placement_database]
connection = {site.database_url("placement")}
[api]
auth_strategy = keystone
{_token_check(site, "placement")}"""


def _keystone(site: Site) -> str:
    return f"""[DEFAULT]
log_file = {site.logs}/keystone.log
[database]
connection = {site.database_url("keystone")}
[token]
provider = fernet
[fernet_tokens]
key_repository = {site.directory}/fernet
[fernet_receipts]
key_repository = {site.directory}/fernet
[credential]
key_repository = {site.directory}/credential
{_cache(site)}"""
