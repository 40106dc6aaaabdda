"""The OCI document: Docker's rules for command and environment, and a sandbox that no image can widen."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optionmaker import chosen, facts
from sampan.errors import UsageError
from sampan.model import process, seccomp, spec
from sampan.model.users import User

ELEVEN = {
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
}  # fmt: skip


def build(image: dict[str, Any], *words: str, **known: Any) -> dict[str, Any]:
    return spec.build({"Cmd": ["sh"], **image}, chosen(*words), facts(**known))


def mounts(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {mount["destination"]: mount for mount in document["mounts"]}


@pytest.mark.parametrize(
    ("entrypoint", "cmd", "flag", "command", "result"),
    [
        (None, ["a", "b"], None, [], ["a", "b"]),
        (["e"], ["a"], None, [], ["e", "a"]),
        (["e"], ["a"], None, ["c"], ["e", "c"]),
        (["e"], ["a"], "x", [], ["x"]),
        (["e"], ["a"], "x", ["c"], ["x", "c"]),
        (["e"], ["a"], '["x", "y z"]', ["c"], ["x", "y z", "c"]),
        (["e"], ["a"], "", ["c"], ["c"]),
    ],
)
def test_entrypoint_and_command(
    entrypoint: list[str] | None,
    cmd: list[str],
    flag: str | None,
    command: list[str],
    result: list[str],
) -> None:
    options = chosen(*([f"--entrypoint={flag}"] if flag is not None else []))
    options["command"] = command
    assert spec.arguments({"Entrypoint": entrypoint, "Cmd": cmd}, options) == result


@pytest.mark.parametrize("image", [{}, {"Cmd": []}, {"Entrypoint": [""]}, {"Cmd": [""]}])
def test_nothing_to_run(image: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="no command to run"):
        spec.arguments(image, chosen())


def test_environment_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine's, the image's, the proxies', the user's; then what is taken out."""
    monkeypatch.setenv("http_proxy", "http://proxy")
    image = {"Env": ["PATH=/image", "A=image", "B=image", "http_proxy=image", "EMPTY="]}
    words = ("-e", "A=user", "--unsetenv", "B", "-e", "X=a=b\nc")
    env = dict(word.split("=", 1) for word in build(image, *words)["process"]["env"])
    assert env == {
        "PATH": "/image", "container": "sampan", "HOSTNAME": "host", "A": "user", "EMPTY": "",
        "http_proxy": "http://proxy", "HTTP_PROXY": "http://proxy", "X": "a=b\nc",
    }  # fmt: skip
    assert "TERM=xterm" in build({}, "-t")["process"]["env"]


def test_the_default_sandbox() -> None:
    document = build({})
    process, linux = document["process"], document["linux"]
    for name in ("bounding", "effective", "permitted"):
        assert set(process["capabilities"][name]) == ELEVEN
    assert process["capabilities"]["inheritable"] == process["capabilities"]["ambient"] == []
    kinds = {namespace["type"] for namespace in linux["namespaces"]}
    assert kinds == {"pid", "ipc", "uts", "mount", "cgroup", "network"}
    assert {"/proc/kcore", "/proc/keys", "/sys/firmware"} <= set(linux["maskedPaths"])
    assert linux["maskedPaths"].count("/sys/devices/system/cpu/cpu0/thermal_throttle") == 1
    assert linux["readonlyPaths"] == spec.READONLY
    assert linux["seccomp"]["defaultAction"] == "SCMP_ACT_ERRNO"
    assert linux["seccomp"]["defaultErrnoRet"] == 38
    limits = {limit["type"]: (limit["soft"], limit["hard"]) for limit in process["rlimits"]}
    assert limits == {"RLIMIT_NOFILE": (1024, 4096), "RLIMIT_CORE": (0, 0)}
    found = mounts(document)
    for path in ("/proc", "/sys", "/dev/shm", "/dev/mqueue", "/etc/hosts", "/etc/resolv.conf"):
        assert {"nosuid", "noexec", "nodev"} <= set(found[path]["options"]), path
    assert "ro" in found["/sys"]["options"] and "ro" in found["/sys/fs/cgroup"]["options"]


def test_only_root_keeps_capabilities() -> None:
    document = build({}, "--cap-add", "NET_RAW")
    user = process.finish(document, User(1000, 7, [8], "/home/u", "u"), explicit_home=False)[
        "process"
    ]
    assert user["capabilities"]["effective"] == user["capabilities"]["permitted"] == []
    assert set(user["capabilities"]["bounding"]) == ELEVEN | {"CAP_NET_RAW"}
    assert user["user"] == {"uid": 1000, "gid": 7, "umask": 0o022, "additionalGids": [8]}
    assert "HOME=/home/u" in user["env"]
    root = process.finish(document, User(0, 0, [], "/root", "root"), explicit_home=True)["process"]
    assert set(root["capabilities"]["effective"]) == ELEVEN | {"CAP_NET_RAW"}
    assert not any(word.startswith("HOME=") for word in root["env"])
    assert document["process"]["user"]["uid"] == 0, "the document itself is not changed"


@pytest.mark.parametrize(
    ("add", "drop", "expected"),
    [
        ([], ["ALL"], set[str]()),
        (["net_raw,CAP_SYS_TIME"], ["all"], {"CAP_NET_RAW", "CAP_SYS_TIME"}),
        ([], ["KILL", "cap_chown"], ELEVEN - {"CAP_KILL", "CAP_CHOWN"}),
    ],
)
def test_capabilities(add: list[str], drop: list[str], expected: set[str]) -> None:
    assert set(spec.capability_set(add, drop, False)) == expected


def test_all_capabilities_but_one() -> None:
    found = spec.capability_set(["ALL"], ["SYS_ADMIN"], False)
    assert len(found) == 40 and "CAP_SYS_ADMIN" not in found
    with pytest.raises(UsageError, match="unknown capability 'NONSENSE'"):
        spec.capability_set(["NONSENSE"], [], False)
    with pytest.raises(UsageError, match="both added and dropped"):
        spec.capability_set(["KILL"], ["CAP_KILL"], False)


def test_the_users_mounts() -> None:
    """They come last, parents before children, and replace an engine's mount of the same target."""
    document = build({}, "-v", "/:/a/b/c", "-v", "/usr:/a", "--tmpfs", "/dev/shm:size=1m")
    targets = [mount["destination"] for mount in document["mounts"]]
    assert targets[-3:] == ["/a", "/dev/shm", "/a/b/c"] and targets.count("/dev/shm") == 1
    read_only = mounts(build({}, "--read-only"))
    assert "/tmp" in read_only and "/var/tmp" in read_only
    assert "/tmp" not in mounts(build({}, "--read-only", "--read-only-tmpfs=false"))
    assert "/etc/hosts" not in mounts(build({}, "--no-hosts"))


def test_the_hosts_network_has_the_hosts_sys() -> None:
    document = build({}, "--network", "host", private=False)
    assert "network" not in {row["type"] for row in document["linux"]["namespaces"]}
    assert document["linux"]["sysctl"] == {}
    assert (
        mounts(document)["/sys"]["type"] == "bind" and "ro" in mounts(document)["/sys"]["options"]
    )


def test_no_host_path_is_recorded() -> None:
    """What the monitor makes is relative to the bundle, so the store may be moved."""
    sources = {m["source"] for m in build({})["mounts"] if m["type"] == "bind"}
    assert sources == {"etc/hosts", "etc/resolv.conf", "etc/hostname", "etc/containerenv"}


WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
KEYS = st.sampled_from(["Privileged", "CapAdd", "SecurityOpt", "Sysctls", "Mounts", "Devices", "Ulimits", "Init",
                        "ReadonlyRootfs", "UsernsMode", "MaskedPaths", "Annotations"])  # fmt: skip
IMAGES = st.fixed_dictionaries(
    {"Cmd": st.lists(WORDS, min_size=1, max_size=3).map(lambda words: ["sh", *words])},
    optional={
        "Env": st.lists(WORDS, max_size=4),
        "WorkingDir": WORDS,
        "User": WORDS,
        "Labels": st.dictionaries(WORDS, WORDS, max_size=3),
        "Volumes": st.dictionaries(WORDS, st.just({}), max_size=2),
        "StopSignal": WORDS,
    },
).flatmap(
    lambda image: st.dictionaries(
        KEYS, st.one_of(st.booleans(), st.lists(WORDS, max_size=2)), max_size=3
    ).map(lambda more: {**more, **image})
)
HARMLESS = st.lists(
    st.sampled_from([
        ("-t",), ("-i",), ("--rm",), ("--read-only",), ("--user", "5"), ("--workdir", "/x"), ("-e", "A=b"),
        ("--label", "a=b"), ("--tmpfs", "/t"), ("--hostname", "h"), ("--umask", "077"), ("-v", "/usr:/u:ro"),
        ("--annotation", "run.oci.keep_original_groups=1"), ("--cap-drop", "KILL"), ("--cap-drop", "ALL"),
        ("--security-opt", "no-new-privileges"), ("--security-opt", "mask=/opt"), ("--security-opt", "label=disable"),
        ("--sysctl", "net.core.somaxconn=9"), ("--ulimit", "nproc=5"), ("--group-add", "7"), ("--shm-size", "1m"),
    ]),
    max_size=6,
).map(lambda rows: [word for row in dict.fromkeys(rows) for word in row])  # fmt: skip


@given(IMAGES, HARMLESS)
def test_nothing_but_a_named_flag_widens_the_sandbox(
    image: dict[str, Any], words: list[str]
) -> None:
    document = spec.build(image, chosen(*words), facts())
    default = spec.build({"Cmd": ["sh"]}, chosen(), facts())
    for name, allowed in default["process"]["capabilities"].items():
        assert set(document["process"]["capabilities"][name]) <= set(allowed)
    linux, ordinary = document["linux"], default["linux"]
    assert linux["namespaces"] == ordinary["namespaces"]
    assert set(linux["maskedPaths"]) >= set(ordinary["maskedPaths"])
    assert linux["readonlyPaths"] == ordinary["readonlyPaths"]
    assert allowed_calls(linux["seccomp"]) <= allowed_calls(ordinary["seccomp"])
    assert linux["seccomp"]["defaultAction"] == ordinary["seccomp"]["defaultAction"]
    found, plain = mounts(document), mounts(default)
    asked = {"/t", "/u"} | ({"/run", "/tmp", "/var/tmp"} if "--read-only" in words else set[str]())
    assert set(found) - set(plain) <= asked
    for path in plain.keys() - {"/dev/shm"}:
        assert found[path] == plain[path]


def allowed_calls(profile: dict[str, Any]) -> set[tuple[str, str]]:
    """(call, its conditions) of what a filter lets through."""
    return {
        (name, repr(row.get("args")))
        for row in profile["syscalls"]
        if row["action"] == seccomp.ALLOW
        for name in row["names"]
    }


@pytest.mark.parametrize(
    ("words", "widened"),
    [
        (("--privileged",), {"capabilities", "maskedPaths", "readonlyPaths", "seccomp", "mounts"}),
        (("--cap-add", "NET_ADMIN"), {"capabilities"}),
        (("--cap-add", "SYS_ADMIN"), {"capabilities", "seccomp"}),
        (("--security-opt", "seccomp=unconfined"), {"seccomp"}),
        (("--security-opt", "nest"), {"seccomp"}),
        (("--security-opt", "unmask=ALL"), {"maskedPaths", "readonlyPaths"}),
        (("--security-opt", "unmask=/proc/kcore:/proc/sys"), {"maskedPaths", "readonlyPaths"}),
        (("--device", "/dev/null:/dev/other"), {"mounts"}),
    ],
)
def test_a_flag_widens_what_it_names_and_no_more(words: tuple[str, ...], widened: set[str]) -> None:
    document, default = build({}, *words), build({})

    def parts(whole: dict[str, Any]) -> dict[str, Any]:
        linux = whole["linux"]
        return {
            "capabilities": whole["process"]["capabilities"],
            "mounts": whole["mounts"],
            **{key: linux.get(key) for key in ("maskedPaths", "readonlyPaths", "seccomp")},
            "namespaces": linux["namespaces"],
        }

    ours, ordinary = parts(document), parts(default)
    assert {key for key in ours if ours[key] != ordinary[key]} == widened
