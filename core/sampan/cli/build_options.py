"""The options of `build`: Docker's and podman's.

None is ignored in silence: an option has its meaning, asks for what is so anyway, or is refused by name.
"""

from __future__ import annotations

from sampan.cli import access_options, limit_options
from sampan.cli.parse import FLAG, INTEGER, LIST, OPTIONAL, Option
from sampan.errors import UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LIMITS = (
    "cpu_period",
    "cpu_quota",
    "cpu_shares",
    "cpuset_cpus",
    "cpuset_mems",
    "memory",
    "memory_swap",
)
OPTIONS = [
    Option("--add-host", LIST, "Add a line to /etc/hosts of RUN", "NAME:IP"),
    Option("--allow", LIST, "(for compatibility: network.host is allowed always, nothing else is)", "network.host"),
    Option("--annotation", LIST, "Add an annotation to the manifest", "KEY=VALUE"),
    Option("--arch", help="Architecture of the image", metavar="ARCH"),
    Option("--build-arg", LIST, "Set an ARG; a name alone takes the environment's value", "NAME[=VALUE]"),
    Option("--build-context", LIST, "A further context that FROM and --from may name", "NAME=SOURCE"),
    Option("--builder", help="The builder", default="dockerfile", metavar="NAME"),
    Option("--cache-from", LIST, "Look for results there, too", "NAME|type=registry|local,..."),
    Option("--cap-add", LIST, "Add a capability to those of RUN", "NAME"),
    Option("--cap-drop", LIST, "Take a capability from RUN", "NAME"),
    Option("--cache-to", LIST, "Write the results there", "NAME|type=registry|local|inline,..."),
    Option("--call", help="check, or build", default="build", metavar="METHOD"),
    Option("--check", FLAG, "Build nothing: tell what the Dockerfile says and hardly means"),
    Option("--device", LIST, "Give RUN a device of the host", "HOST[:CONTAINER][:rwm]"),
    Option("--dns", LIST, "Name server of RUN", "IP"),
    Option("--dns-option", LIST, "Option for /etc/resolv.conf of RUN"),
    Option("--dns-search", LIST, "Search domain of RUN", "DOMAIN"),
    Option("--file -f", LIST, "The Dockerfile; - is standard input", "PATH"),
    Option("--format", help="Form of the manifest: oci or docker", metavar="FORM"),
    Option("--http-proxy", FLAG, "Pass the proxy variables of the host to RUN", default=True),
    Option("--ignorefile", help="Instead of .dockerignore", metavar="PATH"),
    Option("--iidfile", help="Write the image's id to a file", metavar="PATH"),
    Option("--isolation", help="oci: what a container has", metavar="KIND"),
    Option("--jobs", INTEGER, "Stages at the same time; 0: no limit", default=0),
    Option("--label", LIST, "Add a label to the image", "KEY=VALUE"),
    Option("--layers", OPTIONAL, "Keep a layer for each step; false is --squash"),
    Option("--load", FLAG, "(for compatibility: the image is in the store always)"),
    Option("--logfile", help="Write the progress to a file", metavar="PATH"),
    Option("--metadata-file", help="Write what was made to a JSON file", metavar="PATH"),
    Option("--network", help="Network of RUN: default, none, host, or a network", metavar="NAME"),
    Option("--no-cache", FLAG, "Use no result of an earlier build"),
    Option("--no-cache-filter", LIST, "Use none for these stages", "STAGE,..."),
    Option("--no-hosts", FLAG, "Leave the image's /etc/hosts as it is in RUN"),
    Option("--os", help="Operating system of the image", metavar="OS"),
    Option("--output -o", LIST, "Where the result goes besides", "DIR|-|type=local|tar|oci|docker|image|registry,..."),
    Option("--platform", LIST, "Platform of the image", "OS/ARCH[/VARIANT]"),
    Option("--progress", help="auto, plain, tty, rawjson or quiet", metavar="KIND"),
    Option("--provenance", help="(no attestations yet)", metavar="false"),
    Option("--pull", OPTIONAL, "Pull base images: always (without a value), missing, newer or never"),
    Option("--pull-always", FLAG, "Pull base images that are there, too"),
    Option("--pull-never", FLAG, "Pull no image"),
    Option("--push", FLAG, "Push the image's names"),
    Option("--quiet -q", FLAG, "Print the image's id alone"),
    Option("--rewrite-timestamp", FLAG, "(for compatibility: no time in a layer is later than --source-date-epoch)"),
    Option("--sbom", help="(no attestations yet)", metavar="false"),
    Option("--secret", LIST, "A secret for RUN --mount=type=secret", "id=NAME[,src=FILE|env=VARIABLE]"),
    Option("--security-opt", LIST, "Security of RUN, as for sampan run (seccomp=, mask=, ...)", "OPTION"),
    Option("--shm-size", help="Size of /dev/shm of RUN", metavar="BYTES"),
    Option("--skip-unused-stages", FLAG, "Build no stage that the target does not need", default=True),
    Option("--source-date-epoch", help="As --timestamp", metavar="SECONDS"),
    Option("--squash", FLAG, "Make one layer of all that is new"),
    Option("--squash-all", FLAG, "Make one layer of all"),
    Option("--ssh", LIST, "An agent or a key for RUN --mount=type=ssh", "default|ID[=PATH]"),
    Option("--tag -t", LIST, "Name of the image", "NAME[:TAG]"),
    Option("--target", help="The stage to build, instead of the last one", metavar="STAGE"),
    Option("--timestamp", help="The time of the image; nothing in its layers is later", metavar="SECONDS"),
    Option("--ulimit", LIST, "Resource limit of RUN", "NAME=SOFT[:HARD]"),
    Option("--variant", help="Variant of the architecture", metavar="VARIANT"),
    *(one for one in limit_options.OPTIONS if one.key in LIMITS),
    *(one for one in limit_options.PLACES if one.key == "cgroup_parent"),
    *access_options.OPTIONS,
]  # fmt: skip
ACCEPTED = [  # they ask for what is so, or for what no builder without a daemon has
    Option("--compress", FLAG, "(for compatibility: layers are compressed always)"),
    Option("--created-annotation", FLAG, "(for compatibility)"),
    Option("--disable-compression -D", FLAG, "(for compatibility: layers are compressed always)", default=True),
    Option("--disable-content-trust", FLAG, "(for compatibility)"),
    Option("--force-rm", FLAG, "(for compatibility: no container is left)"),
    Option("--identity-label", FLAG, "(for compatibility: no label is added)"),
    Option("--rm", FLAG, "(for compatibility: no container is left)"),
    Option("--signature-policy", help="(for compatibility)", metavar="PATH"),
]  # fmt: skip
TOPICS = {  # what is refused, and why
    "attestations": "attest",
    "namespaces of RUN by flag": "userns userns-uid-map userns-gid-map userns-uid-map-user userns-gid-map-group "
    "cgroupns ipc pid uts",
    "mounts of RUN by flag (RUN --mount has them)": "volume mount",
    "changes of the image by flag (a Dockerfile has them)": "env unsetenv unsetlabel unsetannotation from cpp-flag "
    "layer-label os-feature os-version",
    "lists of images by build (sampan manifest add has them)": "manifest",
    "signatures": "sign-by decryption-key",
    "hooks of the runtime": "hooks-dir",
    "further log files": "rusage-logfile",
    "age limit of the cache (sampan builder prune --filter until= has it)": "cache-ttl",
    "tries by flag": "retry retry-delay",
    "policies": "policy source-policy-file",
    "confidential images": "cw",
    "choice of compression (sampan push --compression-format has it)": "compression-format "
    "compression-level",
}  # fmt: skip
SWITCHES = {
    "all-platforms": "images for several platforms",
    "omit-history": "images without a history",
    "stdin": "standard input of RUN",
    "logsplit": "further log files",
    "log-rusage": "further log files",
    "force-compression": "choice of compression",
}


def _refused(name: str, kind: str, topic: str) -> Option:
    short = " -v" if name == "volume" else ""
    return Option(f"--{name}{short}", kind, f"(no {topic.partition(' (')[0]} yet)")


REFUSED = [
    *(_refused(name, LIST, topic) for topic, names in TOPICS.items() for name in names.split()),
    *(_refused(name, FLAG, topic) for name, topic in SWITCHES.items()),
]


def all_options() -> list[Option]:
    return sorted([*OPTIONS, *ACCEPTED, *REFUSED], key=lambda option: option.names[0])


def refuse(values: dict[str, Any]) -> None:
    """Say which option cannot be had, instead of ignoring it."""
    for topic, names in TOPICS.items():
        for name in names.split():
            if values[name.replace("-", "_")]:
                raise unsupported(f"--{name}", f"sampan has no {topic} yet")
    for name, topic in SWITCHES.items():
        if values[name.replace("-", "_")]:
            raise unsupported(f"--{name}", f"sampan has no {topic} yet")
    for name in ("provenance", "sbom"):
        if (values[name] or "false").lower() not in ("false", "0"):
            raise unsupported(f"--{name}", "sampan has no attestations yet")
    if values["isolation"] not in (None, "", "default", "oci", "process"):
        raise unsupported(
            f"--isolation {values['isolation']}", "RUN has what a container has", "leave it out"
        )
    if not values["skip_unused_stages"]:
        raise unsupported("--skip-unused-stages=false", "a stage that nothing needs is not built")
    for word in values["allow"]:
        if word != "network.host":
            raise unsupported(f"--allow {word}", "no build has such a privilege")
    if values["call"] not in ("build", "check", "lint"):
        raise unsupported(f"--call {values['call']}", "build and check are known")


def unsupported(option: str, why: str, hint: str = "") -> UnsupportedError:
    return UnsupportedError(f"option {option} is not supported", why, hint)
