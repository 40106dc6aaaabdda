"""A network of the tests' own: hosts that are namespaces, joined by cables, on one of which sampan runs for a user."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

import dnslib  # type: ignore[import-untyped]

from networks import SERVER, holder
from sampan.linux import libc
from system_tools import DEBIAN, Sampan, until

T = TypeVar("T")
dns: Any = dnslib
MACHINE6, PEER6, FAR6 = "2001:db8:1::10", "2001:db8:1::20", "2001:db8:2::30"
# /etc and /run show this machine's, and what is changed there is the host's own.
SETUP = """
mount -t tmpfs -o mode=755 tmpfs /mnt
for place in etc run; do
  mkdir /mnt/$place /mnt/$place.work
  mount -t overlay -o lowerdir=/$place,upperdir=/mnt/$place,workdir=/mnt/$place.work overlay /$place
done
ip link set lo up
echo ready
exec cat
"""


class Host:
    """A network namespace and a mount namespace: they are gone when this process has ended, or has closed it."""

    def __init__(self) -> None:
        words = ["unshare", "--mount", "--net", "--propagation", "private", "sh", "-ec", SETUP]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout and self._process.stdout.readline() == b"ready\n"
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=10)

    def sh(self, script: str) -> str:
        """What root's commands on this host print."""
        words = ["nsenter", "-t", str(self.pid), "-m", "-n", "sh", "-ec", script]
        return subprocess.run(words, stdout=subprocess.PIPE, check=True, text=True).stdout

    def do(self, action: Callable[[], T]) -> T:
        """The value of an action in the host's network; a socket that it makes stays there."""

        def run() -> T:
            namespace = os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            libc.setns(namespace, libc.CLONE_NEWNET)
            os.close(namespace)
            return action()

        with ThreadPoolExecutor(1) as thread:  # the network namespace is a thread's
            return thread.submit(run).result()

    def resolver(self, text: str) -> None:
        """Write /etc/resolv.conf, as another file than before."""
        self.sh(f"printf '{text}' > /etc/new.conf; mv /etc/new.conf /etc/resolv.conf")

    def give(self, interface: str, *addresses: str) -> None:
        for address in addresses:
            more = "nodad" if ":" in address else ""
            self.sh(f"ip address add {address} dev {interface} {more}")


def cable(one: Host, other: Host, interface: str, end: str) -> None:
    """Join two hosts: `interface` of the one with `end` of the other."""
    words = f"link add {interface} netns {one.pid} type veth peer name {end} netns {other.pid}"
    subprocess.run(["ip", *words.split()], check=True)
    one.sh(f"ip link set {interface} up")
    other.sh(f"ip link set {end} up")


class Store:
    """A store of the user's with the images, and the places that belong to it."""

    def __init__(self, base: Path, program: str, registry: str) -> None:
        self.base, self.program = base, program
        self.user = pwd.getpwnam(os.environ.get("SAMPAN_TEST_USER", "sampan-test"))
        base.chmod(0o755)
        self.conf = base / "registries.conf"
        self.conf.write_text(
            'unqualified-search-registries = ["docker.io"]\n'
            f'[[registry]]\nprefix = "docker.io"\nlocation = "{registry}"\ninsecure = true\n'
        )
        self.pasta = base / "pasta"  # of settings, with pasta as the way out of bridge networks
        (self.pasta / "sampan").mkdir(parents=True)
        (self.pasta / "sampan/sampan.toml").write_text('[network.bridge]\nuplink = "pasta"\n')
        (base / "root").mkdir(mode=0o700)
        (base / "run").mkdir(mode=0o700)
        for path in (base / "root", base / "run"):
            os.chown(path, self.user.pw_uid, self.user.pw_gid)

    def sampan(self, *enter: str) -> Sampan:
        """The program as the user. enter: the words of a command that runs another one elsewhere."""
        script = self.base / "sampan"
        script.unlink(missing_ok=True)
        ids = f"setpriv --reuid {self.user.pw_uid} --regid {self.user.pw_gid} --clear-groups"
        script.write_text(f'#!/bin/sh\nexec {" ".join(enter)} {ids} {self.program} "$@"\n')
        script.chmod(0o755)
        sampan = Sampan(str(script), self.base / "root", self.base / "run", str(self.conf))
        sampan.environment |= {"HOME": self.user.pw_dir, "USER": self.user.pw_name}
        return sampan


@contextmanager
def machine(store: Store) -> Generator[tuple[Host, Sampan]]:
    """A host on which sampan runs, without containers before and after."""
    with Host() as host:
        sampan = store.sampan("nsenter", "-t", str(host.pid), "-m", "-n")
        try:
            yield host, sampan
        finally:
            sampan("rm", "-af", "-t", "0")
            sampan("network", "prune", "-f")
            assert until(lambda: holder(sampan) == 0, 5)


class Lan:
    """A machine at NET.10, a peer at NET.20 which is its router, and, where there is IPv6, one more host beyond it."""

    def __init__(
        self, machine: Host, sampan: Sampan, peer: Host, far: Host | None, net: str, pasta: Path
    ) -> None:
        self.machine, self.sampan, self.peer, self.far, self.pasta = (
            machine,
            sampan,
            peer,
            far,
            pasta,
        )
        self.own, self.other = f"{net}.10", f"{net}.20"

    def lay(self) -> None:
        cable(self.machine, self.peer, "eth0", "eth0")
        self.machine.give("eth0", f"{self.own}/24")
        self.peer.give("eth0", f"{self.other}/24")
        self.machine.sh(f"ip route add default via {self.other}")
        self.peer.sh(f"ip route add default via {self.own}")
        if self.far:
            self._lay6(self.far)
        else:
            self.machine.sh("echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6")

    def _lay6(self, far: Host) -> None:
        cable(self.peer, far, "eth1", "eth0")
        self.machine.give("eth0", f"{MACHINE6}/64")
        self.peer.give("eth0", f"{PEER6}/64")
        self.peer.give("eth1", "2001:db8:2::20/64")
        far.give("eth0", f"{FAR6}/64")
        self.peer.sh("echo 1 > /proc/sys/net/ipv6/conf/all/forwarding")
        self.machine.sh(f"ip route add default via {PEER6}")
        far.sh("ip route add default via 2001:db8:2::20")


@contextmanager
def laid(store: Store, *, six: bool = True, net: str = "192.0.2") -> Generator[Lan]:
    with ExitStack() as stack:
        host, sampan = stack.enter_context(machine(store))
        peer = stack.enter_context(Host())
        far = stack.enter_context(Host()) if six else None
        found = Lan(host, sampan, peer, far, net, store.pasta)
        found.lay()
        yield found


@contextmanager
def answering(host: Host, address: str, port: int) -> Generator[None]:
    """A server on the host that tells over TCP who asks."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = host.do(lambda: socket.create_server((address, port), family=family))

    def serve() -> None:
        while True:
            try:
                connection, sender = listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as lines:
                while lines.readline().strip():
                    pass  # what is left unread would reset the connection
                connection.sendall(f"HTTP/1.0 200 OK\r\n\r\n{sender[0]}\n".encode())

    with threaded(serve, listener):
        yield


@contextmanager
def threaded(serve: Callable[[], None], sock: socket.socket) -> Generator[None]:
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        shut(sock)
        thread.join(5)


def shut(sock: socket.socket) -> None:
    """Whoever waits for it is told."""
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # a datagram socket says so, and wakes its reader all the same
    sock.close()


class Names:
    """A name server: each name with a dot has one IPv4 address, and no other is there.  asked: the names."""

    def __init__(self, sock: socket.socket, answer: str) -> None:
        self._sock, self._answer = sock, answer
        self.asked: list[str] = []

    def serve(self) -> None:
        while True:
            try:
                packet, sender = self._sock.recvfrom(4096)
            except OSError:
                return
            if packet:
                self._sock.sendto(self._reply(packet), sender)

    def _reply(self, packet: bytes) -> bytes:
        question = dns.DNSRecord.parse(packet)
        self.asked.append(str(question.q.qname).rstrip("."))
        reply = question.reply()
        if "." not in self.asked[-1]:
            reply.header.rcode = dns.RCODE.NXDOMAIN
        elif question.q.qtype == dns.QTYPE.A:
            reply.add_answer(dns.RR(question.q.qname, 1, rdata=dns.A(self._answer)))
        return bytes(reply.pack())


@contextmanager
def naming(host: Host, address: str, answer: str) -> Generator[Names]:
    """A name server at port 53 of an address of the host."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET

    def bound() -> socket.socket:
        sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.bind((address, 53))
        return sock

    sock = host.do(bound)
    names = Names(sock, answer)
    with threaded(names.serve, sock):
        yield names


def serve(sampan: Sampan, *words: str, port: int = 80) -> None:
    """Start the container `c` that tells who asks it, over TCP and UDP, and wait until it does."""
    both = f'perl -e "$1" udp {port} & exec perl -e "$1" tcp {port}'
    run = ("run", "-d", "--pull", "never", "--name", "c", *words, DEBIAN)
    sampan.text(*run, "sh", "-c", both, "sh", SERVER)
    tables = Path(f"/proc/{sampan.state('c')['Pid']}/net")
    listening = f":{port:04X} "
    assert until(lambda: listening in (tables / "tcp6").read_text())
    assert until(lambda: listening in (tables / "udp6").read_text())
    if "pasta" in words:  # without its link-local address it tells nobody where it is
        assert until(lambda: not tentative(tables / "if_inet6"), 5)


def tentative(table: Path) -> bool:
    """Whether the kernel still asks whether others have one of the addresses (if_inet6: IFA_F_TENTATIVE)."""
    return any(int(row.split()[4], 16) & 0x40 for row in table.read_text().splitlines())


def reach(sampan: Sampan, name: str, address: str, port: int) -> str:
    """What a server says to the container of that name, in its last line; "" where nobody answers."""
    request = r"printf 'GET / HTTP/1.0\r\n\r\n' >&3; tail -n 1 <&3"
    script = f"exec 3<>/dev/tcp/{address}/{port} && {request}"
    done = sampan("exec", name, "timeout", "5", "bash", "-c", script)
    return done.stdout.decode().strip()


def store_at(base: Path) -> Store | None:
    """The store with the images that the tests run; None without sampan or its registry."""
    program, registry = shutil.which("sampan"), os.environ.get("SAMPAN_TEST_REGISTRY")
    if not program or not registry:
        return None
    store = Store(base, program, registry)
    for image in (DEBIAN, "busybox"):
        store.sampan().text("pull", "-q", image)
    return store
