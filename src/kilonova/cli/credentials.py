"""How clients get in: an ``openrc`` to source, and a ``clouds.yaml``. Both hold the administrator's password: 0600."""

import shlex
from pathlib import Path

from kilonova.cli.checkout import clients_directory
from kilonova.cli.state import State, write_private
from kilonova.config import Config

# DevStack's names beside our own, so that what was written for it finds its cloud here.
_CLOUDS = {  # user, and the project its token is for; None: for the deployment itself
    "kilonova": ("admin", "admin"),
    "devstack": ("demo", "demo"),
    "devstack-admin": ("admin", "admin"),
    "devstack-admin-demo": ("admin", "demo"),
    "devstack-alt": ("alt_demo", "alt_demo"),
    "devstack-system-admin": ("admin", None),
}


def openrc(url: str, password: str, region: str) -> str:
    """Shell lines that make ``openstack`` and ``nova`` talk to this cloud as its administrator."""
    values = {
        "OS_AUTH_URL": f"{url}/identity/v3",
        "OS_IDENTITY_API_VERSION": "3",
        "OS_AUTH_TYPE": "password",
        "OS_USERNAME": "admin",
        "OS_PASSWORD": password,
        "OS_PROJECT_NAME": "admin",
        "OS_USER_DOMAIN_ID": "default",
        "OS_PROJECT_DOMAIN_ID": "default",
        "OS_REGION_NAME": region,
    }
    lines = ["# The administrator of this Kilonova cloud. Use it with: source openrc"]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in values.items()]
    lines.append("unset OS_CLOUD OS_TOKEN OS_TRUST_ID OS_SYSTEM_SCOPE OS_DOMAIN_ID OS_DOMAIN_NAME OS_PROJECT_ID")
    clients = clients_directory()
    if clients is not None:
        place = shlex.quote(str(clients))
        lines.append(f'command -v openstack >/dev/null 2>&1 || {{ [ -d {place} ] && PATH="$PATH":{place}; }}')
    return "\n".join(lines) + "\n"


def clouds_yaml(url: str, password: str, region: str) -> str:
    """Entries for openstacksdk and everything built on it."""
    lines = ["clouds:"]
    for name, (user, project) in _CLOUDS.items():
        lines += [
            f"  {name}:",
            f"    region_name: {region}",
            "    identity_api_version: 3",
            "    auth:",
            f"      auth_url: {url}/identity/v3",
            f"      username: {user}",
            f'      password: "{password}"',
            "      user_domain_id: default",
        ]
        if project is None:
            lines.append("      system_scope: all")
        else:
            lines += [f"      project_name: {project}", "      project_domain_id: default"]
    return "\n".join(lines) + "\n"


def write_credentials(state: State, config: Config, url: str) -> None:
    """Both files, anew: the port may have changed."""
    password = state.password() or ""
    write_private(state.openrc, openrc(url, password, config.identity.region))
    write_private(state.clouds, clouds_yaml(url, password, config.identity.region))


def link(state: State, directory: Path) -> None:
    """Links to both files in ``directory``; a file of somebody else's is left alone."""
    for target in (state.openrc, state.clouds):
        place = directory / target.name
        if place.is_symlink():
            place.unlink()
        if not place.exists():
            place.symlink_to(target)


def unlink(state: State, directory: Path) -> None:
    """Remove those links."""
    for target in (state.openrc, state.clouds):
        place = directory / target.name
        if place.is_symlink() and place.readlink() == target:
            place.unlink()
