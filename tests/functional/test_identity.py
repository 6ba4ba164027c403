"""Identity over HTTP: tokens and what ends them, the directory, grants, application credentials, bad input."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from kilonova.identity import bootstrap_identity, directory
from kilonova.model.errors import Unauthenticated
from tests.functional.neighbours import PASSWORD, Neighbours, by_password


@pytest.fixture
async def admin(cloud: Neighbours) -> AsyncIterator[httpx.AsyncClient]:
    async with cloud.client(await cloud.token()) as client:
        yield client


@pytest.fixture
async def demo(cloud: Neighbours) -> AsyncIterator[httpx.AsyncClient]:
    async with cloud.client(await cloud.token("demo", "demo")) as client:
        yield client


async def user_id(client: httpx.AsyncClient, name: str) -> str:
    found = (await client.get("/identity/v3/users", params={"name": name})).json()["users"]
    return found[0]["id"]


async def test_version_documents_need_no_token(cloud: Neighbours) -> None:
    async with cloud.client() as client:
        choices = await client.get("/identity/")
        one = await client.get("/identity/v3")
    assert choices.status_code == 300
    assert choices.json()["versions"]["values"][0]["links"][0]["href"] == "http://cloud.test:8774/identity/v3/"
    assert one.json()["version"]["id"].startswith("v3.")


async def test_token_has_roles_with_implied_ones_and_a_catalog_that_follows_the_host(cloud: Neighbours) -> None:
    auth = {"identity": by_password("admin"), "scope": {"project": {"name": "admin", "domain": {"name": "Default"}}}}
    async with cloud.client() as client:
        answer = await client.post("/identity/v3/auth/tokens", json={"auth": auth}, headers={"host": "other.test:99"})
    token = answer.json()["token"]
    assert answer.status_code == 201
    assert [role["name"] for role in token["roles"]] == ["admin", "manager", "member", "reader"]
    urls = {entry["type"]: entry["endpoints"][0]["url"] for entry in token["catalog"]}
    assert urls == {
        "identity": "http://other.test:99/identity",
        "compute": "http://other.test:99/compute/v2.1",
        "image": "http://other.test:99/image",
        "network": "http://other.test:99/network",
        "placement": "http://other.test:99/placement",
    }
    assert token["project"]["domain"] == {"id": "default", "name": "Default"}
    assert token["issued_at"].endswith("Z") and token["expires_at"] > token["issued_at"]


@pytest.mark.parametrize(
    ("scope", "key"),
    [({"system": {"all": True}}, "system"), ("unscoped", None), ({"project": {"id": "nope"}}, "401")],
)
async def test_scopes(cloud: Neighbours, scope: Any, key: str | None) -> None:
    async with cloud.client() as client:
        answer = await client.post(
            "/identity/v3/auth/tokens", json={"auth": {"identity": by_password("admin"), "scope": scope}}
        )
    if key == "401":
        assert answer.status_code == 401
        return
    token = answer.json()["token"]
    assert ("system" in token) == (key == "system")
    assert ("roles" in token) == (key is not None)


async def test_without_a_scope_the_default_project_counts(cloud: Neighbours) -> None:
    async with cloud.client() as client:
        answer = await client.post("/identity/v3/auth/tokens", json={"auth": {"identity": by_password("demo")}})
    assert answer.json()["token"]["project"]["name"] == "demo"


@pytest.mark.parametrize(("name", "password"), [("admin", "wrong"), ("nobody", PASSWORD), ("admin", "")])
async def test_wrong_names_and_passwords_look_the_same(cloud: Neighbours, name: str, password: str) -> None:
    async with cloud.client() as client:
        answer = await client.post(
            "/identity/v3/auth/tokens", json={"auth": {"identity": by_password(name, password)}}
        )
    assert answer.status_code == 401
    assert answer.json()["error"]["message"] == "The request you have made requires authentication."


@pytest.mark.parametrize(
    "body",
    [
        "{",
        "[]",
        "null",
        '{"auth": 5}',
        '{"auth": {"identity": {"methods": []}}}',
        '{"auth": {"identity": {"methods": ["password"]}}}',
        '{"auth": {"identity": {"methods": ["password"], "password": {"user": {"name": 5, "password": "x"}}}}}',
        '{"auth": {"identity": {"methods": ["totp"]}}}',
    ],
)
async def test_malformed_log_ins_are_400(cloud: Neighbours, body: str) -> None:
    async with cloud.client() as client:
        answer = await client.post(
            "/identity/v3/auth/tokens", content=body, headers={"content-type": "application/json"}
        )
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == 400


async def test_an_oversized_log_in_is_413(cloud: Neighbours) -> None:
    async with cloud.client() as client:
        answer = await client.post("/identity/v3/auth/tokens", json={"auth": "x" * 200_000})
    assert answer.status_code == 413


async def test_expired_and_forged_tokens_are_401(cloud: Neighbours) -> None:
    token = await cloud.token()
    forged = token[:-4] + ("AAAA" if not token.endswith("AAAA") else "BBBB")
    for bad in (forged, "x", "é" * 20, "a" * 5000):
        with pytest.raises(Unauthenticated):
            await cloud.identity.validate(bad)
    await cloud.identity.validate(token)
    cloud.clock.advance(86_400)
    with pytest.raises(Unauthenticated):
        await cloud.identity.validate(token)
    async with cloud.client(token) as client:
        assert (await client.get("/identity/v3/users")).status_code == 401


async def test_rescoping_keeps_the_end_and_both_audit_ids(cloud: Neighbours) -> None:
    first = await cloud.token("admin", None)
    cloud.clock.advance(60)
    auth = {
        "identity": {"methods": ["token"], "token": {"id": first}},
        "scope": {"project": {"name": "demo", "domain": {"id": "default"}}},
    }
    async with cloud.client(first) as client:
        before = (await client.get("/identity/v3/auth/tokens", headers={"x-subject-token": first})).json()["token"]
        after = (await client.post("/identity/v3/auth/tokens", json={"auth": auth})).json()["token"]
    assert after["expires_at"] == before["expires_at"]
    assert after["audit_ids"][1] == before["audit_ids"][0]
    assert after["methods"] == ["token", "password"]
    assert after["project"]["name"] == "demo"


async def test_revoked_token_is_dead_at_once(cloud: Neighbours, admin: httpx.AsyncClient) -> None:
    token = await cloud.token("demo", "demo")
    await cloud.identity.validate(token)
    headers = {"x-subject-token": token}
    assert (await admin.head("/identity/v3/auth/tokens", headers=headers)).status_code == 200
    assert (await admin.delete("/identity/v3/auth/tokens", headers=headers)).status_code == 204
    with pytest.raises(Unauthenticated):
        await cloud.identity.validate(token)
    assert (await admin.get("/identity/v3/auth/tokens", headers=headers)).status_code == 404


async def test_another_process_sees_a_revocation_within_the_cache_time(cloud: Neighbours) -> None:
    from kilonova.identity import IdentitySettings, open_identity, standard_catalog

    other = await open_identity(
        cloud.database,
        clock=cloud.clock,
        ids=cloud.ids,
        rng=cloud.rng,
        settings=IdentitySettings(hash_log_n=4),
        catalog=standard_catalog(),
    )
    token = await cloud.token()
    await other.validate(token)  # the key is shared, so the other process reads our token
    await cloud.identity.revoke(token)
    await other.validate(token)
    cloud.clock.advance(5)
    with pytest.raises(Unauthenticated):
        await other.validate(token)


async def test_what_ends_tokens(cloud: Neighbours, admin: httpx.AsyncClient) -> None:
    demo = await user_id(admin, "demo")
    project = cloud.bootstrapped.demo_project_id
    for path, off, on in (
        (f"/identity/v3/users/{demo}", {"user": {"enabled": False}}, {"user": {"enabled": True}}),
        (f"/identity/v3/projects/{project}", {"project": {"enabled": False}}, {"project": {"enabled": True}}),
    ):
        token = await cloud.token("demo", "demo")
        await cloud.identity.validate(token)
        cloud.clock.advance(0.001)
        assert (await admin.patch(path, json=off)).status_code == 200
        with pytest.raises(Unauthenticated):
            await cloud.identity.validate(token)
        assert (await admin.patch(path, json=on)).status_code == 200


async def test_password_change(cloud: Neighbours, admin: httpx.AsyncClient, demo: httpx.AsyncClient) -> None:
    demo_id = await user_id(admin, "demo")
    url = f"/identity/v3/users/{demo_id}/password"
    body = {"user": {"original_password": "wrong", "password": "new"}}
    assert (await demo.post(url, json=body)).status_code == 403
    assert (await admin.post(url, json=body)).status_code == 403
    cloud.clock.advance(1)
    body["user"]["original_password"] = PASSWORD
    assert (await demo.post(url, json=body)).status_code == 204
    assert (await demo.get("/identity/v3/auth/projects")).status_code == 401
    await cloud.token("demo", "demo", "new")


async def test_who_resets_a_password_is_not_overtaken_by_who_had_proven_the_old_one(
    cloud: Neighbours, admin: httpx.AsyncClient, demo: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The administrator resets it because somebody else knows it; that one is just changing it."""
    path = f"/identity/v3/users/{await user_id(admin, 'demo')}"
    matches = cloud.identity.passwords.matches

    async def slowly(password: str, digest: str | None) -> bool:
        proven = await matches(password, digest)
        monkeypatch.setattr(cloud.identity.passwords, "matches", matches)
        assert (await admin.patch(path, json={"user": {"password": "battery staple"}})).status_code == 200
        return proven

    monkeypatch.setattr(cloud.identity.passwords, "matches", slowly)
    body = {"user": {"password": "stolen", "original_password": PASSWORD}}
    assert (await demo.post(f"{path}/password", json=body)).status_code == 403
    await cloud.token("demo", "demo", "battery staple")


async def test_two_who_write_beside_a_user_at_once_are_both_kept(
    admin: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/identity/v3/users/{await user_id(admin, 'demo')}"
    require = directory.require

    async def overtaken(*asked: Any) -> Any:
        found = await require(*asked)
        monkeypatch.setattr(directory, "require", require)
        assert (await admin.patch(path, json={"user": {"floor": "2"}})).status_code == 200
        return found

    monkeypatch.setattr(directory, "require", overtaken)
    assert (await admin.patch(path, json={"user": {"room": "7"}})).status_code == 200
    user = (await admin.get(path)).json()["user"]
    assert (user["room"], user["floor"]) == ("7", "2")


async def test_project_life(admin: httpx.AsyncClient) -> None:
    made = await admin.post("/identity/v3/projects", json={"project": {"name": "p", "description": None, "x": [1]}})
    assert made.status_code == 201
    project = made.json()["project"]
    assert project["x"] == [1] and project["domain_id"] == "default" and project["description"] == ""
    assert (await admin.post("/identity/v3/projects", json={"project": {"name": "p"}})).status_code == 409
    url = f"/identity/v3/projects/{project['id']}"
    assert (await admin.patch(url, json={"project": {"name": "q"}})).json()["project"]["x"] == [1]
    listed = (await admin.get("/identity/v3/projects", params={"name": "q", "domain_id": "default"})).json()
    assert [entry["id"] for entry in listed["projects"]] == [project["id"]]
    assert (await admin.delete(url)).status_code == 204
    assert (await admin.get(url)).status_code == 404
    assert (await admin.delete(url)).status_code == 404


async def test_lists_are_paged(admin: httpx.AsyncClient) -> None:
    first = (await admin.get("/identity/v3/roles", params={"limit": 3})).json()
    second = (await admin.get(first["links"]["next"])).json()
    assert len(first["roles"]) == 3 and len(second["roles"]) == 2 and second["links"]["next"] is None
    assert (await admin.get("/identity/v3/roles", params={"limit": "x"})).status_code == 400


async def test_domain_must_be_disabled_before_it_goes_with_everything_in_it(
    cloud: Neighbours, admin: httpx.AsyncClient
) -> None:
    domain = (await admin.post("/identity/v3/domains", json={"domain": {"name": "d"}})).json()["domain"]["id"]
    body = {"user": {"name": "u", "password": "pw", "domain_id": domain}}
    made = await admin.post("/identity/v3/users", json=body)
    assert made.status_code == 201 and "pw" not in made.text and "scrypt" not in made.text
    user = made.json()["user"]["id"]
    url = f"/identity/v3/domains/{domain}"
    assert (await admin.delete(url)).status_code == 403
    await admin.patch(url, json={"domain": {"enabled": False}})
    assert (await admin.delete(url)).status_code == 204
    assert (await admin.get(f"/identity/v3/users/{user}")).status_code == 404


async def test_grants(cloud: Neighbours, admin: httpx.AsyncClient) -> None:
    demo = await user_id(admin, "demo")
    role = (await admin.get("/identity/v3/roles", params={"name": "reader"})).json()["roles"][0]["id"]
    for target in (f"projects/{cloud.bootstrapped.admin_project_id}", "domains/default", "system"):
        url = f"/identity/v3/{target}/users/{demo}/roles/{role}"
        assert (await admin.head(url)).status_code == 404
        assert (await admin.put(url)).status_code == 204
        assert (await admin.put(url)).status_code == 204
        assert (await admin.head(url)).status_code == 204
        listed = (await admin.get(f"/identity/v3/{target}/users/{demo}/roles")).json()["roles"]
        assert [entry["name"] for entry in listed] == ["reader"]
        assert (await admin.delete(url)).status_code == 204
        assert (await admin.delete(url)).status_code == 404
    assert (await admin.put(f"/identity/v3/system/users/nobody/roles/{role}")).status_code == 404


async def test_role_assignments(cloud: Neighbours, admin: httpx.AsyncClient, demo: httpx.AsyncClient) -> None:
    me = await user_id(admin, "demo")
    url = "/identity/v3/role_assignments"
    plain = (await admin.get(url, params={"user.id": me})).json()["role_assignments"]
    assert [entry["scope"] for entry in plain] == [{"project": {"id": cloud.bootstrapped.demo_project_id}}]
    named = (await admin.get(url, params={"user.id": me, "include_names": "true", "effective": ""})).json()
    assert sorted(entry["role"]["name"] for entry in named["role_assignments"]) == ["member", "reader"]
    assert named["role_assignments"][0]["scope"]["project"]["domain"]["name"] == "Default"
    assert (await demo.get(url)).status_code == 403
    assert (await demo.get(url, params={"user.id": me})).status_code == 200


async def test_members_manage_nothing_but_see_themselves(
    cloud: Neighbours, admin: httpx.AsyncClient, demo: httpx.AsyncClient
) -> None:
    me = await user_id(admin, "demo")
    assert (await demo.get(f"/identity/v3/users/{me}")).json()["user"]["name"] == "demo"
    assert (await demo.get(f"/identity/v3/projects/{cloud.bootstrapped.demo_project_id}")).status_code == 200
    assert len((await demo.get("/identity/v3/auth/projects")).json()["projects"]) == 1
    for path in ("users", "projects", "roles", "domains", "services", f"users/{cloud.bootstrapped.admin_user_id}"):
        assert (await demo.get(f"/identity/v3/{path}")).status_code == 403
    assert (await demo.post("/identity/v3/users", json={"user": {"name": "x"}})).status_code == 403


async def test_application_credentials(cloud: Neighbours, admin: httpx.AsyncClient, demo: httpx.AsyncClient) -> None:
    me = await user_id(admin, "demo")
    url = f"/identity/v3/users/{me}/application_credentials"
    made = await demo.post(url, json={"application_credential": {"name": "ci", "roles": [{"name": "reader"}]}})
    credential = made.json()["application_credential"]
    assert made.status_code == 201 and len(credential["secret"]) >= 32
    proof = {"id": credential["id"], "secret": credential["secret"]}
    auth = {"identity": {"methods": ["application_credential"], "application_credential": proof}}
    async with cloud.client() as client:
        got = await client.post("/identity/v3/auth/tokens", json={"auth": auth})
        proof["secret"] = "wrong-secret"
        assert (await client.post("/identity/v3/auth/tokens", json={"auth": auth})).status_code == 401
    assert [role["name"] for role in got.json()["token"]["roles"]] == ["reader"]
    token = got.headers["x-subject-token"]
    async with cloud.client(token) as client:
        body = {"application_credential": {"name": "more"}}
        assert (await client.post(url, json=body)).status_code == 403
        assert (await client.delete(f"{url}/{credential['id']}")).status_code == 403
        exchange = {"auth": {"identity": {"methods": ["token"], "token": {"id": token}}}}
        assert (await client.post("/identity/v3/auth/tokens", json=exchange)).status_code == 403
    assert "secret" not in (await demo.get(f"{url}/{credential['id']}")).text.replace("links", "")
    assert (await demo.delete(f"{url}/{credential['id']}")).status_code == 204
    with pytest.raises(Unauthenticated):
        await cloud.identity.validate(token)


async def test_credentials_give_no_more_than_one_has_and_are_ones_own(
    cloud: Neighbours, admin: httpx.AsyncClient, demo: httpx.AsyncClient
) -> None:
    me = await user_id(admin, "demo")
    url = f"/identity/v3/users/{me}/application_credentials"
    body = {"application_credential": {"name": "x", "roles": [{"name": "admin"}]}}
    assert (await demo.post(url, json=body)).status_code == 400
    assert (await admin.post(url, json={"application_credential": {"name": "x"}})).status_code == 403
    other = f"/identity/v3/users/{cloud.bootstrapped.admin_user_id}/application_credentials"
    made = (await admin.post(other, json={"application_credential": {"name": "x"}})).json()
    assert (await demo.get(other)).status_code == 403
    crossed = f"{url}/{made['application_credential']['id']}"
    assert (await demo.get(crossed)).status_code == 404
    assert (await demo.delete(crossed)).status_code == 404


async def test_expired_credential(cloud: Neighbours, admin: httpx.AsyncClient) -> None:
    url = f"/identity/v3/users/{cloud.bootstrapped.admin_user_id}/application_credentials"
    body = {"application_credential": {"name": "x", "expires_at": "2020-01-01T00:00:00Z"}}
    assert (await admin.post(url, json=body)).status_code == 400
    body["application_credential"]["expires_at"] = "2026-09-21T15:00:00Z"
    made = (await admin.post(url, json=body)).json()["application_credential"]
    proof = {"id": made["id"], "secret": made["secret"]}
    auth = {"auth": {"identity": {"methods": ["application_credential"], "application_credential": proof}}}
    got = await admin.post("/identity/v3/auth/tokens", json=auth)
    assert got.json()["token"]["expires_at"] == "2026-09-21T15:00:00.000000Z"
    cloud.clock.advance(7200)
    assert (await admin.post("/identity/v3/auth/tokens", json=auth)).status_code == 401


async def test_read_only_catalog_resources(cloud: Neighbours, admin: httpx.AsyncClient) -> None:
    services = (await admin.get("/identity/v3/services", params={"type": "compute"})).json()["services"]
    assert [entry["name"] for entry in services] == ["nova"]
    endpoints = await admin.get("/identity/v3/endpoints", params={"service_id": services[0]["id"]})
    assert len(endpoints.json()["endpoints"]) == 3
    assert (await admin.get("/identity/v3/regions")).json()["regions"][0]["id"] == "RegionOne"
    assert (await admin.get("/identity/v3/regions/Nowhere")).status_code == 404


async def test_bootstrap_twice_changes_nothing(cloud: Neighbours) -> None:
    again = await bootstrap_identity(cloud.identity, "another")
    assert again.admin_user_id == cloud.bootstrapped.admin_user_id and again.password is None
    await cloud.token()
    with pytest.raises(AssertionError):
        await cloud.token(password="another")


@pytest.mark.parametrize("path", ["users?name=%00", "users/%00", "projects?domain_id=a%00b"])
async def test_nul_characters_are_400(admin: httpx.AsyncClient, path: str) -> None:
    assert (await admin.get(f"/identity/v3/{path}")).status_code == 400
