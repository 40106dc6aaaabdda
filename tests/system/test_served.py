"""Servers as people run them, out of Debian's packages: nginx under load, and a web server with a redis of its own."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator

import pytest

from networks import ask, free_port, needs
from system_tools import Sampan, has_subordinate_ids, until

pytestmark = [
    needs("slirp4netns"),
    needs("pasta"),
    pytest.mark.skipif(not has_subordinate_ids(), reason="nginx and redis become other users"),
]
MIRROR = "deb.debian.org"
SECONDS = os.environ.get("SAMPAN_TEST_LOAD", "3")
# Each request makes one of redis, which is found by its name: perl -e WEB HOST.
WEB = r"""
use Socket qw(:all :addrinfo);
socket(my $s, AF_INET, SOCK_STREAM, 0) or die;
setsockopt($s, SOL_SOCKET, SO_REUSEADDR, 1);
bind($s, pack_sockaddr_in(80, INADDR_ANY)) or die;
listen($s, 99);
sub visits {
    my ($error, @found) = getaddrinfo($ARGV[0], "6379", { socktype => SOCK_STREAM });
    return "no name" if $error;
    socket(my $db, AF_INET, SOCK_STREAM, 0) or return "no socket";
    connect($db, $found[0]{addr}) or return "no redis";
    syswrite($db, "INCR visits\r\n");
    sysread($db, my $answer, 99);
    return $answer =~ /:(\d+)/ ? $1 : "no answer";
}
while (accept(my $c, $s)) {
    sysread($c, $_, 999) and syswrite($c, "HTTP/1.0 200 OK\r\n\r\n" . visits());
    close($c);
}
"""
REDIS = (
    "redis-server",
    "--protected-mode",
    "no",
    "--appendonly",
    "yes",
    "--appendfsync",
    "always",
    "--dir",
    "/data",
)


@pytest.fixture(scope="module")
def packages(shared: Sampan, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An image with both servers."""
    try:
        socket.create_connection((MIRROR, 80), 5).close()
    except OSError as error:
        pytest.skip(f"packages cannot be had: this machine does not reach {MIRROR}: {error}")
    context = tmp_path_factory.mktemp("served")
    (context / "Dockerfile").write_text(
        "FROM debian:bookworm\nRUN apt-get update && "
        "apt-get install -y --no-install-recommends nginx-light redis-server && mkdir -p /data\n"
    )
    built = shared("build", "-t", "served", str(context), timeout=200)
    assert built.returncode == 0, built.stderr.decode()[-2000:]
    yield "served"
    shared("rm", "-af", "-t", "0")
    shared("rmi", "served")


@pytest.fixture(params=["slirp4netns", "pasta", "net"])
def mode(request: pytest.FixtureRequest, sampan: Sampan) -> str:
    if request.param == "net":
        sampan.text("network", "create", "net")
    return str(request.param)


@pytest.mark.skipif(not shutil.which("wrk"), reason="wrk is not installed")
def test_nginx_under_load(sampan: Sampan, packages: str, mode: str) -> None:
    """20 connections at a time: none fails."""
    port = free_port()
    words = ("--network", mode, "-p", f"{port}:80", packages, "nginx", "-g", "daemon off;")
    sampan.text("run", "-d", "--name", "c", *words)
    url = f"http://127.0.0.1:{port}/"
    assert until(lambda: b"Welcome to nginx" in curl(url))
    done = subprocess.run(
        ["wrk", "-t2", "-c20", f"-d{SECONDS}s", "--latency", url],
        capture_output=True, check=True, timeout=60, text=True,
    )  # fmt: skip
    assert "Socket errors" not in done.stdout and "Non-2xx" not in done.stdout, done.stdout
    count = re.search(r"(\d+) requests in", done.stdout)
    assert count and int(count[1]) > 500
    assert b"Welcome to nginx" in curl(url)


def curl(url: str) -> bytes:
    return subprocess.run(["curl", "-fsS", "-m", "5", url], capture_output=True, check=False).stdout


@pytest.fixture
def shop(sampan: Sampan, packages: str) -> int:
    """The port of a web server that has its data in another container."""
    sampan.text("network", "create", "shop")
    port = free_port()
    sampan.text("run", "-d", "--name", "db", "--network", "shop", packages, *REDIS)
    words = ("--network", "shop", "-p", f"{port}:80", packages, "perl", "-e", WEB, "db")
    sampan.text("run", "-d", "--name", "web", *words)
    assert until(lambda: visits(port) > 0)
    return port


def visits(port: int) -> int:
    """Which visit of the shop this is; 0 if it cannot tell."""
    said = ask("127.0.0.1", port)
    return int(said) if said.isdigit() else 0


def test_two_containers(sampan: Sampan, shop: int) -> None:
    """What one of them has outlives a restart of the other, and its own end: it is found again by its name."""
    first = visits(shop)
    assert first and visits(shop) == first + 1
    sampan.text("restart", "-t", "0", "web")
    assert until(lambda: visits(shop) > 0)
    before = visits(shop)
    assert before > first + 2
    sampan.text("kill", "db")
    assert until(lambda: ask("127.0.0.1", shop).startswith("no "))
    sampan.text("start", "db")
    assert until(lambda: visits(shop) > 0)
    assert visits(shop) > before


def test_a_new_database_of_the_same_name(sampan: Sampan, packages: str, shop: int) -> None:
    """It has another address, and the web server need not be told."""
    sampan.text("rm", "-f", "-t", "0", "db")
    assert until(lambda: ask("127.0.0.1", shop) == "no name")
    sampan.text("run", "-d", "--name", "db", "--network", "shop", packages, *REDIS)
    assert until(lambda: 0 < visits(shop) < 4)
