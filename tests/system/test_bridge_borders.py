"""What a member with every capability may try at other networks, at what holds them and at this machine.

Each test has a control: what is allowed arrives.
"""

from __future__ import annotations

import http.server
import json
import socket
import struct
import threading
import time

from frames import (
    ABLE,
    IP,
    IP6,
    NAME_SERVER,
    Lan,
    checksum,
    echo,
    four,
    icmp6,
    packed6,
    six,
    udp,
)
from networks import Echo, needs, own_address, serving
from system_tools import DEBIAN, until

# perl -e ASKER NAME TYPE [SECONDS]: the code of the name server's answer and the number of answers, or nothing if there
# is none (RFC 1035); with SECONDS it asks without end and reads nothing.
ASKER = r"""
use Socket;
my ($name, $type, $count) = @ARGV;
socket(my $s, AF_INET, SOCK_DGRAM, 0) or die;
connect($s, pack_sockaddr_in(53, inet_aton("169.254.53.53"))) or die;
setsockopt($s, SOL_SOCKET, SO_RCVTIMEO, pack("l!l!", 3, 0));
my $question = join("", map { pack("C/a", $_) } split(/\./, $name)) . pack("Cnn", 0, $type, 1);
my $end = time + ($count || 0);
do { send($s, pack("nnnnnn", int(rand(65536)), 0x0100, 1, 0, 0, 0) . $question, 0) } while (time < $end);
exit if $count;
recv($s, my $answer, 4096, 0);
exit unless length $answer;
print unpack("x3C", $answer) & 15, " ", unpack("x6n", $answer), "\n";
"""
# perl -e ROUTE GATEWAY: a default route through it (rtnetlink(7)).
ROUTE = r"""
use Socket;
socket(my $s, 16, 3, 0) or die;
my $way = pack("SSa4", 8, 5, inet_aton($ARGV[0]));
my $route = pack("CCCCCCCCL", 2, 0, 0, 0, 254, 3, 0, 1, 0) . $way;
send($s, pack("LSSLL", 16 + length $route, 24, 0x405, 1, 0) . $route, 0, pack("SSLL", 16, 0, 0, 0)) or die;
sysread($s, my $answer, 4096);
my $code = unpack("x16l", $answer);
die "route: $code" if $code;
"""

pytestmark = needs("slirp4netns")


def ask(lan: Lan, name: str, wanted: str, kind: int = 1) -> tuple[int, ...]:
    """(code, number of answers) of the name server."""
    said = lan.sampan.text("exec", name, "perl", "-e", ASKER, wanted, str(kind))
    return tuple(int(word) for word in said.split())


def test_names_of_another_network_are_not_told(lan: Lan) -> None:
    peer = lan.ip("peer")
    assert ask(lan, "bad", "peer") == (0, 1) and ask(lan, "far", "far") == (0, 1)
    identity = lan.sampan.text("inspect", "-f", "{{.Id}}", "far")
    for name in ("far", "far.away", "FAR", "far.near", identity[:12], identity):
        assert ask(lan, "bad", name)[1:] in ((), (0,)), name
    for address, found in ((peer, (0, 1)), (lan.ip("far"), (3, 0))):
        reverse = ".".join(address.split(".")[::-1]) + ".in-addr.arpa"
        assert ask(lan, "bad", reverse, 12) == found


def test_who_asks_without_end_starves_itself(lan: Lan) -> None:
    """Four processes ask as fast as they can, for what is known here and for what is asked elsewhere."""
    wanted = ("peer", "x.example.com", "y.example.com", "victim")
    script = " & ".join(f"perl -e '{ASKER}' {name} 1 6" for name in wanted)
    lan.sampan.text("exec", "-d", "bad", "sh", "-c", f"{script} & wait")
    time.sleep(1)
    for _ in range(10):
        begun = time.monotonic()
        assert ask(lan, "peer", "victim") == (0, 1)
        assert time.monotonic() - begun < 2


def test_connections_to_the_name_server_that_say_nothing(lan: Lan) -> None:
    script = (
        f"for i in $(seq 200); do exec {{fd}}<>/dev/tcp/{NAME_SERVER}/53 || break; done; sleep 3"
    )
    lan.sampan.text("exec", "-d", "bad", "bash", "-c", script)
    time.sleep(0.5)
    for _ in range(5):
        assert ask(lan, "peer", "victim") == (0, 1)
        assert lan.answers("peer", NAME_SERVER, 53)


def test_ways_to_another_network(lan: Lan) -> None:
    """Through the gateway: by a route, with the way in the packet (RFC 791, RFC 8200), and to its gateway."""
    far, bad = lan.ip("far"), lan.ip("bad")
    frames: list[bytes] = []
    for first in (far, lan.ip("gateway"), lan.ip("peer"), NAME_SERVER):
        for kind in (131, 137):  # loose, strict
            for pointer in (4, 8):
                options = struct.pack("!BBB", kind, 7, pointer) + socket.inet_aton(far) + b"\0"
                content = four(bad, first, 17, udp(lan.word("routed")), options)
                frames.append(lan.frame("gateway", content))
    frames.append(lan.frame("gateway", four(bad, far, 17, udp(lan.word("plain")))))
    frames.append(lan.frame("gateway", four(bad, far, 1, echo(lan.word("ping")))))
    inside = four(bad, far, 17, udp(lan.word("in-a-packet")))
    frames.append(lan.frame("gateway", four(bad, lan.ip("gateway"), 4, inside)))  # IPIP
    gre = struct.pack("!HH", 0, IP) + inside
    frames.append(lan.frame("gateway", four(bad, lan.ip("gateway"), 47, gre)))
    subnet = far.rpartition(".")[0]
    frames.append(lan.frame("gateway", four(bad, f"{subnet}.255", 17, udp(lan.word("all")))))
    six_far = icmp6(lan.ip6("bad"), lan.ip6("far"), 128, bytes(4), lan.word("six"))
    frames.append(lan.frame("gateway", six(lan.ip6("bad"), lan.ip6("far"), 58, six_far), IP6))
    way = struct.pack("!BBBBI", 58, 2, 0, 1, 0) + packed6(lan.ip6("far")) + six_far
    frames.append(lan.frame("gateway", six(lan.ip6("bad"), lan.ip6("gateway"), 43, way), IP6))
    before = lan.heard("far")
    word = lan.word("control")  # the gateway sends it back into its own network
    lan.send(*frames, lan.frame("gateway", four(bad, lan.ip("peer"), 17, udp(word))))
    assert until(lambda: word in lan.heard("peer"))
    assert lan.heard("far") == before
    assert not lan.answers("bad", far)
    assert lan.answers("bad", lan.ip("peer"))


def uplink(lan: Lan, number: int) -> str:
    """An address in the network of the way out, which far has its published port's packets from."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"x", (own_address(), lan.port))
    return f"198.18.207.{number}"


def test_errors_about_others_connections_do_not_cross(lan: Lan) -> None:
    """ICMP errors belong to a connection by what they repeat of it, whoever sends them (RFC 792); and so they would
    be translated and let through, as the connection is.
    """
    host, way_out = own_address(), uplink(lan, 100)
    script = "use Socket; socket(my $s, AF_INET, SOCK_DGRAM, 0) or die;"
    script += "bind($s, pack_sockaddr_in($ARGV[0], INADDR_ANY)) or die;"
    script += f"send($s, 'x', 0, pack_sockaddr_in(9999, inet_aton('{host}'))) or die"
    words: dict[str, str] = {}
    for name, source in (("peer", 4001), ("far", 4002)):
        lan.sampan.text("exec", name, "perl", "-e", script, str(source))
        words[name] = lan.word("error")
        for outer in (lan.ip(name), way_out):
            told = four(outer, host, 17, udp(words[name], 9999, source))
            rest = struct.pack("!I", 600) + told
            error = struct.pack("!BBH", 3, 4, checksum(struct.pack("!BBH", 3, 4, 0) + rest)) + rest
            lan.send(lan.frame("gateway", four(lan.ip("bad"), outer, 1, error)))
    assert until(lambda: words["peer"] in lan.heard("peer"))
    time.sleep(0.1)
    assert words["far"] not in lan.heard("far")


def test_a_port_is_published_to_this_machine_alone(lan: Lan) -> None:
    """Where the way out delivers, and at every address that the gateway has, nobody but it is heard."""
    bad, places = lan.ip("bad"), ["127.0.0.1", "127.1.2.3", NAME_SERVER, lan.ip("gateway")]
    places += [uplink(lan, 100), f"{lan.ip('far').rpartition('.')[0]}.1", "0.0.0.0"]
    frames = [
        lan.frame("gateway", four(source, place, 17, udp(lan.word("delivered"), port)))
        for place in places
        for source in (bad, "127.0.0.1")
        for port in (lan.port, 20000, 9999)
    ]
    before = lan.heard("far")
    lan.send(*frames)
    word = lan.word("control")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(f"({word})".encode(), (own_address(), lan.port))
    assert until(lambda: word in lan.heard("far"))
    assert lan.heard("far") == before | {word}


def test_nothing_of_this_machine_is_reached_but_its_own_address(lan: Lan) -> None:
    """Not its loopback interface, by whatever name; not what listens where the networks are held."""
    with serving("127.0.0.1") as loopback, serving(own_address()) as outside:
        assert lan.touch("bad", own_address(), outside) == "status 0"
        places = [uplink(lan, last) for last in (2, 3, 77, 255)]
        for place in (*places, NAME_SERVER, lan.ip("gateway")):
            for port in (loopback, lan.port):
                assert lan.touch("bad", place, port) != "status 0", (place, port)
        for port in (22, 80, lan.port, 20000):
            assert not lan.answers("bad", NAME_SERVER, port)
        assert lan.touch("bad", NAME_SERVER, 53) == "status 0"


def test_this_machines_loopback_interface_by_ipv6(lan: Lan) -> None:
    class Server(http.server.ThreadingHTTPServer):
        address_family = socket.AF_INET6

    with Server(("::1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with socket.create_connection(("::1", server.server_port), 2):
            pass
        for place in ("fd00::2", "fd00::3", "fd00::1"):
            assert lan.touch("bad", place, server.server_port) != "status 0", place
        server.shutdown()


def test_an_internal_network_has_no_way_out_for_who_makes_one(lan: Lan) -> None:
    sampan = lan.sampan
    sampan.text("network", "create", "--internal", "inner")
    sampan.text("run", "-d", "--name", "kept", *ABLE, "--network", "inner", DEBIAN, "sleep", "1000")
    end = json.loads(sampan.text("inspect", "kept"))[0]["NetworkSettings"]["Networks"]["inner"]
    gateway = end["Gateway"] or end["IPAddress"].rpartition(".")[0] + ".1"
    sampan.text("exec", "kept", "perl", "-e", ROUTE, gateway)
    assert "00000000" in [
        row.split()[1] for row in sampan.text("exec", "kept", "cat", "/proc/net/route").splitlines()
    ]
    with serving(own_address()) as outside:
        assert lan.touch("bad", own_address(), outside) == "status 0"
        assert lan.touch("kept", own_address(), outside) != "status 0"
        assert not lan.answers("kept", lan.ip("peer"))
    sampan.text("rm", "-f", "-t", "0", "kept")
