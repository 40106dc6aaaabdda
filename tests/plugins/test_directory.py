"""The directory of the name server: who is found by whom, and under which names."""

from __future__ import annotations

import pytest

from sampan_network.directory import Connection, Directory, Entry

WEB, DB, OUT = "a1b2c3d4e5f6" + "0" * 52, "0123456789ab" + "1" * 52, "fedcba987654" + "2" * 52


def entry(id: str, *connections: tuple[str, str, str], named: bool = True) -> Entry:
    """Each is (network, names, addresses); the network's id is its name with -id behind."""
    networks = {
        f"{network}-id": Connection(network, tuple(names.split()), tuple(addresses.split()), named)
        for network, names, addresses in connections
    }
    return Entry(id, networks)


def found(directory: Directory, address: str, name: str) -> list[str] | None:
    asker = directory.asker(address)
    assert asker is not None
    return directory.addresses(asker, name)


@pytest.fixture
def directory() -> Directory:
    """web and db on front; db and out on Back."""
    directory = Directory()
    directory.set(entry(WEB, ("front", "web www", "10.1.0.2 fd00::2")))
    directory.set(entry(DB, ("front", "db all", "10.1.0.3"), ("Back", "db Store", "10.2.0.3")))
    directory.set(entry(OUT, ("Back", "out all", "10.2.0.4")))
    return directory


@pytest.mark.parametrize(
    "name",
    ["web", "www", "WEB", "web.", "web.front", "Web.Front.", "www.front", WEB, WEB[:12], WEB[:13], WEB[:12].upper(),
     f"{WEB}.front", f"{WEB[:20]}.FRONT."],
)  # fmt: skip
def test_every_name_of_a_member(directory: Directory, name: str) -> None:
    assert found(directory, "10.1.0.3", name) == ["10.1.0.2", "fd00::2"]


@pytest.mark.parametrize(
    "name",
    ["", ".", "we", "web2", "web.back", "web.front.front", "front", ".front", "web..", WEB[:11], WEB[:12] + "1",
     WEB + "0", "example.com", "out", "out.Back", OUT[:12], "store"],
)  # fmt: skip
def test_what_is_not_a_name_of_ours(directory: Directory, name: str) -> None:
    assert found(directory, "10.1.0.2", name) is None


def test_a_name_on_two_networks_is_both_and_can_be_told_apart(directory: Directory) -> None:
    assert found(directory, "10.2.0.3", "db") == ["10.1.0.3", "10.2.0.3"]
    assert found(directory, "10.2.0.3", "db.back") == ["10.2.0.3"]
    assert found(directory, "10.1.0.2", "db") == ["10.1.0.3"]
    assert found(directory, "10.2.0.4", "db") == ["10.2.0.3"]
    assert found(directory, "10.2.0.4", "STORE.BACK") == ["10.2.0.3"]


def test_an_alias_is_everybodys_who_has_it(directory: Directory) -> None:
    assert found(directory, "10.2.0.3", "all") == ["10.1.0.3", "10.2.0.4"]
    directory.set(entry("3" * 64, ("front", "c all", "10.1.0.4")))
    assert found(directory, "10.1.0.2", "all") == ["10.1.0.3", "10.1.0.4"]


def test_an_asker_finds_himself(directory: Directory) -> None:
    assert found(directory, "10.1.0.2", "web") == ["10.1.0.2", "fd00::2"]


def test_names_with_dots() -> None:
    directory = Directory()
    directory.set(entry(WEB, ("a.net", "my.web", "10.1.0.2")))
    directory.set(entry(DB, ("a.net", "my", "10.1.0.3"), ("web", "my", "10.3.0.3")))
    assert found(directory, "10.1.0.2", "my.web.a.net") == ["10.1.0.2"]
    assert found(directory, "10.1.0.2", "my.web") == ["10.1.0.2"]
    assert found(directory, "10.1.0.3", "my.web") == ["10.1.0.2", "10.3.0.3"]


def test_a_name_that_looks_like_an_id_hides_nobody(directory: Directory) -> None:
    directory.set(entry("3" * 64, ("front", WEB[:12] + " " + WEB[:14], "10.1.0.4")))
    for name in (WEB[:12], WEB[:14]):
        addresses = found(directory, "10.1.0.3", name)
        assert addresses is not None and {"10.1.0.2", "10.1.0.4"} < {*addresses}
    assert found(directory, "10.1.0.3", WEB) == ["10.1.0.2", "fd00::2"]


def test_a_network_without_names() -> None:
    directory = Directory()
    directory.set(entry(WEB, ("bridge", "web", "10.1.0.2"), named=False))
    directory.set(entry(DB, ("bridge", "db", "10.1.0.3"), named=False))
    for name in ("web", "db", "db.bridge", DB, DB[:12]):
        assert found(directory, "10.1.0.2", name) is None
    asker = directory.asker("10.1.0.2")
    assert asker is not None and directory.name_of(asker, "10.1.0.3") is None
    assert directory.owns("10.1.0.3")


def test_a_name_without_an_address_is_ours(directory: Directory) -> None:
    directory.set(entry("3" * 64, ("front", "bare", "")))
    assert found(directory, "10.1.0.2", "bare") == []


def test_names_of_addresses(directory: Directory) -> None:
    web, db = directory.asker("10.1.0.2"), directory.asker("10.2.0.3")
    assert web and db
    assert directory.name_of(web, "10.1.0.3") == "db.front"
    assert directory.name_of(web, "fd00:0::0002") == "web.front"
    assert directory.name_of(db, "10.2.0.4") == "out.Back"
    assert directory.name_of(web, "10.2.0.4") is None and directory.owns("10.2.0.4")
    assert directory.name_of(web, "10.2.0.3") is None, (
        "the asker is on another network of that member"
    )
    assert directory.name_of(web, "10.1.0.9") is None and not directory.owns("10.1.0.9")


@pytest.mark.parametrize(
    "address", ["fd00::2", "FD00:0:0::2", "fd00::2%eth0", "::ffff:10.1.0.2", "10.1.0.2"]
)
def test_spellings_of_an_address(directory: Directory, address: str) -> None:
    asker = directory.asker(address)
    assert asker is not None and asker.id == WEB and directory.owns(address)


@pytest.mark.parametrize(
    "address", ["", "10.1.0", "10.1.0.99", "web", "fd00::9", ":", "10.1.0.2\0"]
)
def test_nobodys_address(directory: Directory, address: str) -> None:
    assert directory.asker(address) is None and not directory.owns(address)


def test_a_member_that_goes_leaves_nothing(directory: Directory) -> None:
    directory.drop(WEB)
    directory.drop(WEB)
    assert directory.asker("10.1.0.2") is None and not directory.owns("fd00::2")
    assert found(directory, "10.1.0.3", "web") is None
    for id in (DB, OUT):
        directory.drop(id)
    assert not any(vars(directory).values())


def test_a_member_that_is_told_again_is_as_told_last(directory: Directory) -> None:
    directory.set(entry(WEB, ("Back", "web", "10.2.0.9")))
    assert directory.asker("10.1.0.2") is None
    assert found(directory, "10.2.0.4", "web") == ["10.2.0.9"]
    assert found(directory, "10.2.0.9", "www") is None


def test_an_address_goes_over_to_the_next(directory: Directory) -> None:
    """Whoever comes may have the address of one who is about to be dropped."""
    directory.set(entry("3" * 64, ("front", "next", "10.1.0.2")))
    asker = directory.asker("10.1.0.2")
    assert asker and asker.id == "3" * 64
    directory.drop(WEB)
    asker = directory.asker("10.1.0.2")
    assert asker and asker.id == "3" * 64
