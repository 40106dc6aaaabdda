"""The filter, compiled and loaded in a child: what each system call answers."""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Any

import pytest

from inside import in_child
from sampan.errors import SampanError
from sampan.linux import libc, seccomp
from sampan.model import seccomp as profiles
from sampan.model.spec import DEFAULT_CAPABILITIES

pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers are x86_64's")
UPROBES = {335, 336}  # the kernel's own, which no filter sees: they kill who has no probe
LAST = 470


def default_filter(*more: str, **features: Any) -> bytes:
    resolved = profiles.resolve(
        profiles.default_profile(), [*DEFAULT_CAPABILITIES, *more], features.get("features", ())
    )
    return seccomp.compile_filter(resolved)


class Bpf:
    """A classic BPF interpreter for the few instructions that seccomp filters consist of (bpf(4))."""

    def __init__(self, program: bytes) -> None:
        self.rows = [
            (int.from_bytes(program[at : at + 2], "little"), program[at + 2], program[at + 3],
             int.from_bytes(program[at + 4 : at + 8], "little"))
            for at in range(0, len(program), 8)
        ]  # fmt: skip

    def answer(self, number: int, *arguments: int, arch: int = 0xC000003E) -> int:
        words = [*arguments, *(0,) * (6 - len(arguments))]
        data = number.to_bytes(4, "little") + arch.to_bytes(4, "little") + bytes(8)
        data += b"".join((word % 2**64).to_bytes(8, "little") for word in words)
        at = accumulator = 0
        while True:
            code, yes, no, k = self.rows[at]
            at += 1
            if code == 0x20:
                accumulator = int.from_bytes(data[k : k + 4], "little")
            elif code == 0x54:
                accumulator &= k
            elif code == 0x05:
                at += k
            elif code == 0x06:
                return k
            else:
                taken = {
                    0x15: accumulator == k,
                    0x25: accumulator > k,
                    0x35: accumulator >= k,
                    0x45: bool(accumulator & k),
                }
                at += yes if taken[code] else no


ALLOW, ERRNO = 0x7FFF0000, 0x50000
EPERM, ENOSYS = ERRNO | errno.EPERM, ERRNO | errno.ENOSYS
NO_FAMILY = ERRNO | errno.EAFNOSUPPORT


@pytest.fixture(scope="module")
def default() -> Bpf:
    return Bpf(default_filter())


def test_at_most_305_calls_are_allowed(default: Bpf) -> None:
    """Of x86_64's; those that depend on an argument are counted if any of many arguments lets them through."""
    interesting = [0, 1, 2, 8, 16, 17, 36, 40, 0x10000, 0x20000, 0xFFFFFFFF, 0x10000000, 2**64 - 1]
    allowed = {
        number
        for number in range(LAST)
        for first in interesting
        if default.answer(number, first, first, 0) == ALLOW
    }
    assert 250 < len(allowed) <= 305, len(allowed)


@pytest.mark.parametrize(
    ("number", "answer"),
    [(0, ALLOW), (59, ALLOW), (56, ALLOW), (165, EPERM), (272, EPERM), (308, EPERM), (321, EPERM), (250, EPERM),
     (323, EPERM), (425, ENOSYS), (298, EPERM), (278, EPERM), (435, ENOSYS), (999, ENOSYS), (400, ENOSYS)],
)  # fmt: skip
def test_answers(default: Bpf, number: int, answer: int) -> None:
    """read execve clone | mount unshare setns bpf keyctl userfaultfd io_uring perf vmsplice | clone3, unknown ones."""
    assert default.answer(number) == answer


def test_conditions(default: Bpf) -> None:
    clone, socket, personality = 56, 41, 135
    for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        assert default.answer(clone, flag | 17) == EPERM
    assert default.answer(clone, 0x3D0F00) == ALLOW, "threads"
    for family, answer in (
        (1, ALLOW),
        (2, ALLOW),
        (10, ALLOW),
        (16, ALLOW),
        (38, NO_FAMILY),
        (40, NO_FAMILY),
    ):
        assert default.answer(socket, family, 1, 0) == answer
    assert default.answer(socket, 16, 3, 9) == ERRNO | errno.EINVAL, "audit"
    for protocol in range(23):
        assert (default.answer(socket, 16, 3, protocol) == ALLOW) == (protocol != 9)
    for family in range(46):
        assert (default.answer(socket, family, 1, 0) == ALLOW) == (family not in (38, 40))
    assert default.answer(personality, 0) == ALLOW
    assert default.answer(personality, 0x400000) != ALLOW


def test_what_the_kernel_cuts_off_hides_nothing(default: Bpf) -> None:
    """It takes the family and the protocol as 32 bits; a filter sees the whole register."""
    high = 1 << 32
    for family in range(46):
        for protocol in (0, 9):
            plain = default.answer(41, family, 1, protocol)
            for words in ((family | high, 1, protocol), (family, 1, protocol | high)):
                assert default.answer(41, *words) == plain, words
    for value in (0x400000, 0x20000000):
        assert default.answer(135, value | high) != ALLOW
    assert default.answer(56, 0x10000000 | high) == EPERM


def test_other_architectures_have_no_calls_at_all(default: Bpf) -> None:
    for number in (0, 1, 11, 102, 0x40000000, 0x40000000 | 59):
        for arch in (0x40000003, 0xC00000B7):
            assert default.answer(number, arch=arch) != ALLOW
    assert all(default.answer(0x40000000 | number) != ALLOW for number in range(LAST)), "x32"


def test_a_capability_opens_its_calls() -> None:
    assert Bpf(default_filter("CAP_SYS_ADMIN")).answer(165) == ALLOW
    assert Bpf(default_filter(features=("nest",))).answer(272, 0x10000000) == ALLOW


def loaded(program: bytes, tries: dict[str, tuple[int, ...]]) -> dict[str, int]:
    """errno of each call in a child under the filter (0: it worked)."""
    raw = ctypes.CDLL(None, use_errno=True).syscall
    raw.restype = ctypes.c_long

    def run() -> dict[str, int]:
        libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
        seccomp.load_filter(program)
        found: dict[str, int] = {}
        for name, words in tries.items():
            ctypes.set_errno(0)
            result = raw(*(ctypes.c_long(word) for word in words))
            found[name] = ctypes.get_errno() if result == -1 else 0
        return found

    result: dict[str, int] = in_child(run)
    return result


def test_the_kernel_does_as_the_filter_says() -> None:
    found = loaded(
        default_filter(),
        {
            "getpid": (39,), "unshare": (272, 0x10000000), "clone": (56, 0x10000000 | 17), "clone3": (435, 0, 0),
            "socket": (41, 1, 1, 0), "af_alg": (41, 38, 5, 0), "vsock": (41, 40, 1, 0), "keyctl": (250, 0, -3, 0),
            "bpf": (321, 0, 0, 0), "high vsock": (41, 40 | 1 << 32, 1, 0), "unknown": (999,), "x32": (0x40000000 | 39,),
        },
    )  # fmt: skip
    assert found == {
        "getpid": 0, "unshare": errno.EPERM, "clone": errno.EPERM, "clone3": errno.ENOSYS, "socket": 0,
        "af_alg": errno.EAFNOSUPPORT, "vsock": errno.EAFNOSUPPORT, "keyctl": errno.EPERM, "bpf": errno.EPERM,
        "high vsock": errno.EAFNOSUPPORT,
        "unknown": errno.ENOSYS, "x32": errno.ENOSYS,
    }  # fmt: skip


def test_every_call_answers_as_computed(default: Bpf) -> None:
    """Each number in turn with arguments of -1, in a child: EPERM and ENOSYS where the filter says so."""
    numbers = [
        n for n in range(LAST) if n not in UPROBES and default.answer(n, *(-1,) * 6) != ALLOW
    ]
    found = loaded(default_filter(), {str(n): (n, *(-1,) * 6) for n in numbers})
    expected = {str(n): default.answer(n, *(-1,) * 6) & 0xFFFF for n in numbers}
    assert len(numbers) > 100 and found == expected


def test_a_simple_profile() -> None:
    rows: list[dict[str, Any]] = [
        {"names": ["getpid", "no_such_call"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5},
        {"names": ["getppid"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["dup"], "action": "SCMP_ACT_ERRNO", "errnoRet": 7,
         "args": [{"index": 0, "op": "SCMP_CMP_GE", "value": 1 << 30}]},
    ]  # fmt: skip
    program = seccomp.compile_filter({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rows})
    found = loaded(program, {"a": (39,), "b": (110,), "c": (32, 1 << 30), "d": (32, (1 << 30) - 1)})
    assert found == {"a": 5, "b": 0, "c": 7, "d": errno.EBADF}


@pytest.mark.parametrize(
    "profile",
    [{"defaultAction": "SCMP_ACT_TRACE", "syscalls": []}, {"defaultAction": "", "syscalls": []},
     {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_X"}]}],
)  # fmt: skip
def test_unknown_actions(profile: dict[str, Any]) -> None:
    with pytest.raises(SampanError, match="cannot compile the seccomp profile"):
        seccomp.compile_filter(profile)
