"""A pseudo-terminal of the container's own devpts, opened by descriptor and never by a path of the container."""

from __future__ import annotations

import fcntl
import os
import struct
import termios

from sampan.linux import mounts, paths, sockets

TIOCGPTPEER = 0x5441
TIOCSPTLCK = 0x40045431  # unlock: the peer may be opened (ioctl_tty(2))


def open_console(
    root_fd: int, socket_fd: int, size: dict[str, int] | None, *, bind: bool = True
) -> int:
    """Open a pty; send its master over the socket and return the other end, bound on /dev/console."""
    pts = paths.open_in_root(root_fd, "/dev/pts", os.O_RDONLY | os.O_DIRECTORY)
    master = paths.openat2(pts, "ptmx", os.O_RDWR | os.O_NOCTTY, paths.RESOLVE_BENEATH)
    os.close(pts)
    fcntl.ioctl(master, TIOCSPTLCK, b"\0\0\0\0")
    peer = fcntl.ioctl(master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    if size:
        window = struct.pack("4H", size["height"], size["width"], 0, 0)
        fcntl.ioctl(master, termios.TIOCSWINSZ, window)
    if bind:
        _bind_console(root_fd, peer)
    sock = sockets.of(os.dup(socket_fd))
    sockets.send(sock, b"console", [master])
    sock.close()
    os.close(master)
    return peer


def _bind_console(root_fd: int, peer: int) -> None:
    target = paths.make_mount_point(root_fd, "/dev/console", directory=False)
    tree = mounts.clone_tree(peer, recursive=False)
    mounts.move(tree, target)
    os.close(tree)
    os.close(target)


def take(peer: int) -> None:
    """Make the terminal this process's standard streams and controlling terminal."""
    os.setsid()
    fcntl.ioctl(peer, termios.TIOCSCTTY, 0)
    for fd in range(3):
        os.dup2(peer, fd)
    if peer > 2:
        os.close(peer)
