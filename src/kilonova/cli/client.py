"""The ``kilonova`` command as an ordinary client of the cloud's APIs: a password, a token, the catalog, HTTP."""

import os
from collections.abc import AsyncIterable, Iterable, Mapping
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

from kilonova.cli.state import State
from kilonova.model.errors import KilonovaError, Misconfigured, Unavailable

MICROVERSION = "2.95"
_NOT_RUNNING = "no cloud runs here ({directory}); start one with `kilonova start`, or source an openrc file"


class Refused(KilonovaError):
    """An API answered with an error; ``status`` is its HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Credentials:
    """Who we are, and where: from ``OS_*`` variables as all OpenStack clients read them, else from the state directory."""

    def __init__(self, auth_url: str, user: str, password: str, project: str) -> None:
        self.auth_url = auth_url
        self.user = user
        self.password = password
        self.project = project

    @classmethod
    def of_state(cls, state: State) -> Self:
        """The administrator of the cloud in a state directory. Raises ``Misconfigured`` if there is none."""
        url, password = state.api_url(), state.password()
        if url is None or password is None:
            raise Misconfigured(_NOT_RUNNING.format(directory=state.directory))
        return cls(f"{url}/identity/v3", "admin", password, "admin")

    @classmethod
    def find(cls, state: State, environment: Mapping[str, str] | None = None) -> Self:
        """The environment's if it has any, else the state directory's."""
        environment = os.environ if environment is None else environment
        url, user, password = (environment.get(f"OS_{name}") for name in ("AUTH_URL", "USERNAME", "PASSWORD"))
        if url and user and password:
            return cls(url.rstrip("/"), user, password, environment.get("OS_PROJECT_NAME", user))
        return cls.of_state(state)


class Cloud:
    """A session: a token and the endpoints of the catalog."""

    def __init__(self, http: httpx.Client, token: str, endpoints: dict[str, str]) -> None:
        self._http = http
        self._token = token
        self.endpoints = endpoints

    @classmethod
    def connect(cls, credentials: Credentials) -> Self:
        """Log in. Raises ``Unavailable`` if nobody answers."""
        http = httpx.Client(timeout=30.0, trust_env=False)
        domain = {"name": "Default"}
        body = {
            "auth": {
                "identity": {
                    "methods": ["password"],
                    "password": {
                        "user": {"name": credentials.user, "domain": domain, "password": credentials.password}
                    },
                },
                "scope": {"project": {"name": credentials.project, "domain": domain}},
            }
        }
        url = credentials.auth_url if credentials.auth_url.endswith("/v3") else f"{credentials.auth_url}/v3"
        answer = _send(http, "POST", f"{url}/auth/tokens", json=body)
        endpoints = {
            service["type"]: next(
                endpoint["url"] for endpoint in service["endpoints"] if endpoint["interface"] == "public"
            )
            for service in answer.json()["token"]["catalog"]
        }
        endpoints.setdefault("kilonova", _operations(endpoints["compute"]))
        return cls(http, answer.headers["X-Subject-Token"], endpoints)

    def close(self) -> None:
        """Hang up."""
        self._http.close()

    def get(self, service: str, path: str, **query: Any) -> Any:
        """The JSON of one page."""
        return self._ask("GET", service, path, params=query).json()

    def post(self, service: str, path: str, body: Any) -> Any:
        """Create or act; the JSON of the answer, None if it has none."""
        answer = self._ask("POST", service, path, json=body)
        return answer.json() if answer.content else None

    def put(self, service: str, path: str, content: bytes | Iterable[bytes] | AsyncIterable[bytes]) -> None:
        """Upload."""
        headers = {"Content-Type": "application/octet-stream"}
        self._ask("PUT", service, path, content=content, headers=headers)

    def _ask(self, method: str, service: str, path: str, **more: Any) -> httpx.Response:
        headers = {
            "X-Auth-Token": self._token,
            "OpenStack-API-Version": f"compute {MICROVERSION}",
            **more.pop("headers", {}),
        }
        return _send(self._http, method, self.endpoints[service] + path, headers=headers, **more)


def _operations(compute: str) -> str:
    """Our own API stands beside Compute's; a catalog that OpenStack's clients read has no word for it."""
    parts = urlsplit(compute)
    return f"{parts.scheme}://{parts.netloc}{parts.path.partition('/compute')[0]}/kilonova/v1"


def _send(http: httpx.Client, method: str, url: str, **more: Any) -> httpx.Response:
    try:
        answer = http.request(method, url, **more)
    except httpx.HTTPError as error:
        raise Unavailable(f"{url} does not answer ({error}); `kilonova status` tells what runs") from None
    if answer.status_code >= 400:
        raise Refused(f"{method} {url} was refused ({answer.status_code}): {_reason(answer)}", answer.status_code)
    return answer


def _reason(answer: httpx.Response) -> str:
    try:
        body = answer.json()
    except ValueError:
        return answer.text[:200]
    inner = next(iter(body.values()), None) if isinstance(body, dict) else None
    return str(inner["message"]) if isinstance(inner, dict) and "message" in inner else answer.text[:200]
