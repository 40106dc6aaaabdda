"""Work in a child: as root of a user namespace of one's own, or with what cannot be taken back."""

from __future__ import annotations

import os
import pickle
import traceback
from collections.abc import Callable
from typing import Any

from sampan.linux import libc, userns
from sampan.linux.userns import IdMap


def in_child(action: Callable[[], Any]) -> Any:
    """The value of `action`, which a forked child computed."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read_end)
            with open(write_end, "wb") as writer:
                writer.write(pickle.dumps(action()))
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    os.close(write_end)
    with open(read_end, "rb") as reader:
        data = reader.read()
    _, status = os.waitpid(pid, 0)
    assert status == 0, f"the child failed with {status}: its traceback is above"
    return pickle.loads(data)


def as_root(action: Callable[[], Any]) -> Any:
    """`action` as root of a new user namespace of one id, with mounts of its own."""

    def run() -> Any:
        userns.enter(IdMap(((0, os.getuid(), 1),), ((0, os.getgid(), 1),)))
        libc.unshare(libc.CLONE_NEWNS)
        return action()

    return in_child(run)
