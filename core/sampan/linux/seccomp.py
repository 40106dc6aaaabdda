"""Seccomp filters: compiled by libseccomp, loaded by prctl (seccomp(2), seccomp_init(3)).

Compiling takes fifty times longer than loading, so the caller keeps the compiled program.
"""

from __future__ import annotations

import ctypes
import os

from sampan.errors import SampanError, UnsupportedError
from sampan.linux import libc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_OPERATORS = {
    "SCMP_CMP_NE": 1,
    "SCMP_CMP_LT": 2,
    "SCMP_CMP_LE": 3,
    "SCMP_CMP_EQ": 4,
    "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}
_ACTIONS = {
    "SCMP_ACT_ALLOW": 0x7FFF0000,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_NOTIFY": 0x7FC00000,
    "SCMP_ACT_KILL": 0,
    "SCMP_ACT_KILL_THREAD": 0,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
}
_ATTRIBUTE_BADARCH = 2


class _Comparison(ctypes.Structure):
    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("a", ctypes.c_uint64),
        ("b", ctypes.c_uint64),
    )


def _action(name: str, errno: int) -> int:
    if name == "SCMP_ACT_ERRNO":
        return 0x00050000 | (errno & 0xFFFF)
    try:
        return _ACTIONS[name]
    except KeyError:
        raise SampanError(
            "cannot compile the seccomp profile", f"action {name} is not supported"
        ) from None


def _operator(name: str) -> int:
    try:
        return _OPERATORS[name]
    except KeyError:
        raise SampanError(
            "cannot compile the seccomp profile", f"operator {name} is not known"
        ) from None


def _library() -> Any:
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        raise UnsupportedError(
            "cannot confine system calls",
            "libseccomp.so.2 is not installed",
            "install the package libseccomp2, or give --security-opt seccomp=unconfined",
        ) from None
    library.seccomp_init.restype = ctypes.c_void_p
    return library


def compile_filter(profile: dict[str, Any]) -> bytes:
    """The BPF program of an OCI `linux.seccomp` object, for this machine's architecture alone."""
    library = _library()
    default = _action(profile["defaultAction"], profile.get("defaultErrnoRet", 1))
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(default)))
    if not context:
        raise SampanError("cannot compile the seccomp profile", "seccomp_init failed")
    try:
        # What another architecture's entry asks is unknown: answer as for an unknown call.
        library.seccomp_attr_set(
            context, _ATTRIBUTE_BADARCH, ctypes.c_uint32(_action("SCMP_ACT_ERRNO", 38))
        )
        for row in profile["syscalls"]:
            _add(library, context, row, default)
        return _export(library, context)
    finally:
        library.seccomp_release(context)


def _add(library: Any, context: Any, row: dict[str, Any], default: int) -> None:
    action = _action(row["action"], row.get("errnoRet", 1))
    if action == default:
        return
    comparisons = [
        _Comparison(a["index"], _operator(a["op"]), a["value"], a.get("valueTwo", 0))
        for a in row.get("args") or ()
    ]
    array = (_Comparison * max(1, len(comparisons)))(*comparisons)
    for name in row["names"]:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number < 0:  # not a call of this architecture, or newer than the library
            continue
        result = library.seccomp_rule_add_array(
            context,
            ctypes.c_uint32(action),
            ctypes.c_int(number),
            ctypes.c_uint(len(comparisons)),
            array,
        )
        if result not in (0, -17):  # EEXIST: said twice
            raise SampanError(
                "cannot compile the seccomp profile", f"{name}: {os.strerror(-result)}"
            )


def _export(library: Any, context: Any) -> bytes:
    fd = os.memfd_create("seccomp")
    try:
        if library.seccomp_export_bpf(context, fd) != 0:
            raise SampanError("cannot compile the seccomp profile", "seccomp_export_bpf failed")
        size = os.fstat(fd).st_size
        return os.pread(fd, size, 0)
    finally:
        os.close(fd)


def load_filter(program: bytes, *, listen: bool = False) -> int:
    """Confine this process and what it executes.

    listen: returns the descriptor on which somebody answers the calls that the filter asks about; else -1.
    """
    buffer = ctypes.create_string_buffer(program, len(program))
    header = (ctypes.c_uint64 * 2)(len(program) // 8, ctypes.addressof(buffer))
    if listen:
        return libc.call("seccomp", 1, 1 << 3, ctypes.byref(header))
    libc.prctl(libc.PR_SET_SECCOMP, 2, ctypes.addressof(header))
    return -1
