"""What the image service does for images made of servers: a record first, bytes from a compute host by its ticket."""

import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import msgspec
import pytest

from kilonova.compute.uploader import HttpUploader
from kilonova.hypervisor.fake.disk import empty_qcow2
from kilonova.image.protocol import NewImage
from kilonova.model.errors import HostFault, NotFound, Unavailable
from tests.functional.neighbours import Neighbours

OCTETS = {"content-type": "application/octet-stream"}
DISK = empty_qcow2(1 << 30)


@pytest.fixture
async def host(cloud: Neighbours) -> AsyncIterator[httpx.AsyncClient]:
    """A compute host: it has no token."""
    async with cloud.client() as client:
        yield client


async def reserved(cloud: Neighbours, number: int = 1, **more: str) -> str:
    image = NewImage(
        id=f"00000000-0000-4000-8000-{number:012d}",
        name="snap",
        owner=cloud.bootstrapped.demo_project_id,
        visibility="private",
        min_disk_gb=1,
        min_memory_mb=0,
        properties={"image_type": "snapshot", **more},
    )
    for _ in range(2):
        await cloud.images.reserve(image)
    return image.id


async def place(cloud: Neighbours, image_id: str) -> str:
    """Where the ticket lets it be uploaded to."""
    ticket = await cloud.images.upload_ticket(image_id)
    assert ticket is not None and ticket.disk_format == "qcow2"
    return str(httpx.URL(ticket.url).raw_path.decode())


async def test_a_host_uploads_by_its_ticket(cloud: Neighbours, host: httpx.AsyncClient) -> None:
    image_id = await reserved(cloud)
    assert not await cloud.images.uploaded(image_id)
    url = await place(cloud, image_id)
    assert (await host.put(url, content=DISK, headers=OCTETS)).status_code == 204
    assert await cloud.images.uploaded(image_id)
    assert await cloud.images.upload_ticket(image_id) is None
    assert (await host.put(url, content=DISK, headers=OCTETS)).status_code == 409
    async with cloud.client(await cloud.token("demo", "demo")) as demo:
        shown = (await demo.get(f"/image/v2/images/{image_id}")).json()
    assert (shown["status"], shown["virtual_size"], shown["min_disk"]) == ("active", 1 << 30, 1)
    assert shown["image_type"] == "snapshot"


async def test_no_other_ticket_opens_it(cloud: Neighbours, host: httpx.AsyncClient) -> None:
    image_id, other = await reserved(cloud), await reserved(cloud, 2)
    url = await place(cloud, other)
    wrong = url.replace(other, image_id)
    assert (await host.put(wrong, content=DISK, headers=OCTETS)).status_code == 401
    assert (await host.put(url.partition("?")[0], content=DISK, headers=OCTETS)).status_code == 401
    assert (await host.get(url)).status_code == 401, "the right to upload is none to fetch"
    assert (await host.put(url, content=DISK, headers=OCTETS)).status_code == 204
    fetch = await cloud.images.ticket(other)
    third = await reserved(cloud, 3)
    path = httpx.URL(fetch.url).raw_path.decode().replace(other, third)
    assert (await host.put(path, content=DISK, headers=OCTETS)).status_code == 401


async def test_readers_do_not_upload(cloud: Neighbours, host: httpx.AsyncClient) -> None:
    image_id = await reserved(cloud)
    headers = {**OCTETS, "x-auth-token": "made up"}
    assert (await host.put(f"/image/v2/images/{image_id}/file", content=DISK, headers=headers)).status_code == 401


async def test_a_new_try_takes_over_from_one_that_went_silent(cloud: Neighbours, host: httpx.AsyncClient) -> None:
    image_id = await reserved(cloud)
    url = await place(cloud, image_id)

    async def half() -> AsyncIterator[bytes]:
        yield DISK[:1000]
        cloud.clock.advance(1.0)
        assert (await host.put(url, content=DISK, headers=OCTETS)).status_code == 204
        yield DISK[1000:]

    answer = await host.put(url, content=half(), headers=OCTETS)
    assert answer.status_code in (404, 409, 410)
    assert await cloud.images.uploaded(image_id)


async def test_what_was_discarded_does_not_come_back(cloud: Neighbours, host: httpx.AsyncClient) -> None:
    image_id = await reserved(cloud)
    url = await place(cloud, image_id)
    for _ in range(2):
        await cloud.images.discard(image_id)
    await reserved(cloud)
    assert not await cloud.images.uploaded(image_id)
    with pytest.raises(NotFound):
        await cloud.images.upload_ticket(image_id)
    assert (await host.put(url, content=DISK, headers=OCTETS)).status_code == 404
    assert list((cloud.state_dir / "images").iterdir()) == []


async def test_backups_are_told_the_newest_first(cloud: Neighbours, host: httpx.AsyncClient) -> None:
    backup = {"image_type": "backup", "instance_uuid": "s", "backup_type": "daily"}
    made = []
    for number, more in enumerate(
        (backup, {**backup, "backup_type": "weekly"}, {**backup, "instance_uuid": "t"}, backup, backup), 1
    ):
        image_id = await reserved(cloud, number, **more)
        cloud.clock.advance(1.0)
        if number != 5:
            assert (await host.put(await place(cloud, image_id), content=DISK, headers=OCTETS)).status_code == 204
        made.append(image_id)
    assert await cloud.images.backups("s", "daily") == [made[3], made[0]], "one has no bytes yet"
    await cloud.images.discard(made[3])
    assert await cloud.images.backups("s", "daily") == [made[0]]


async def pieces() -> AsyncIterator[bytes]:
    yield DISK


async def test_what_the_uploader_says_of_answers(cloud: Neighbours, monkeypatch: pytest.MonkeyPatch) -> None:
    image_id = await reserved(cloud)
    ticket = await cloud.images.upload_ticket(image_id)
    assert ticket is not None
    uploader = HttpUploader()
    uploader._client = cloud.client()
    with pytest.raises(HostFault, match="401"):
        await uploader.upload(msgspec.structs.replace(ticket, url=ticket.url + "x"), len(DISK), pieces())
    await uploader.upload(ticket, len(DISK), pieces())
    await cloud.images.discard(image_id)
    with pytest.raises(NotFound):
        await uploader.upload(ticket, len(DISK), pieces())
    await uploader.close()
    nobody = HttpUploader(timeout=1.0)
    with pytest.raises(Unavailable):
        await nobody.upload(msgspec.structs.replace(ticket, url="http://127.0.0.1:9/x"), len(DISK), pieces())
    await nobody.close()


def test_the_disk_of_a_fake_guest_is_a_qcow2(tmp_path: Path) -> None:
    file = tmp_path / "disk.qcow2"
    for gigabytes in (1, 80):
        file.write_bytes(empty_qcow2(gigabytes << 30))
        said = subprocess.run(["qemu-img", "info", "--output=json", file], capture_output=True, check=True).stdout
        assert msgspec.json.decode(said)["virtual-size"] == gigabytes << 30
        subprocess.run(["qemu-img", "check", "-q", file], check=True)
