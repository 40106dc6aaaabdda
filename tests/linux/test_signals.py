"""Signals that come while a process is about to wait."""

from __future__ import annotations

import os
import select
import signal

from sampan.linux import signals


def test_a_waiter_hears_of_a_signal_that_came_before_it_waits() -> None:
    heard: list[int] = []
    before = signal.getsignal(signal.SIGUSR1)
    signals.handle(signals.SIGUSR1, lambda number, _: heard.append(number))
    fd = signals.wakeup()
    try:
        os.kill(os.getpid(), signal.SIGUSR1)
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        assert poll.poll(5000) == [(fd, select.POLLIN)]
        assert os.read(fd, 512) == bytes([signal.SIGUSR1]) and heard == [signal.SIGUSR1]
    finally:
        os.close(signal.set_wakeup_fd(-1))
        os.close(fd)
        signal.signal(signal.SIGUSR1, before)
