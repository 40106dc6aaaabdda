"""What was typed after `build` becomes a BuildRequest: the context, and a table of parsed options.

The keys are the long options with `_`.  `run` has what is for every RUN, by the names of `run`'s options;
`stdin` is true where the context or the Dockerfile comes from there.
"""

from __future__ import annotations

import os

from sampan.cli import build_words, container_words, limit_options
from sampan.cli.build_options import refuse, unsupported
from sampan.cli.parse import FALSE, LIST, TRUE
from sampan.errors import NotFoundError, UsageError
from sampan.model import network_words, options, sizes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.drivers.build import BuildRequest

POLICIES = {
    "": "missing",
    "true": "always",
    "false": "missing",
    "ifmissing": "missing",
    "ifnewer": "newer",
    **{name: name for name in ("always", "missing", "newer", "never")},
}
PROXIES = "http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"
DEFAULT_NETWORK = "default"


def request(values: dict[str, Any], words: list[str]) -> BuildRequest:
    """The request; UsageError and UnsupportedError name the option that is wrong or cannot be had."""
    from sampan.drivers.build import BuildRequest
    from sampan.engine.images import full_name

    refuse(values)
    source, file = _place(values, words)
    outputs = [build_words.output(text) for text in values["output"] if text]
    tags = list(dict.fromkeys(full_name(name) for name in values["tag"]))
    if values["push"]:
        outputs.append({"type": "registry"})
    return BuildRequest(source, tags, _options(values, file, "-" in (source, file), outputs))


def _options(
    values: dict[str, Any], file: str, stdin: bool, outputs: list[dict[str, str]]
) -> dict[str, Any]:
    if values["squash"] and values["squash_all"]:
        raise UsageError("cannot specify --squash-all with --squash")
    if values["jobs"] < 0:
        raise UsageError(f"invalid --jobs {values['jobs']}", "it is negative")
    return {
        "file": file,
        "stdin": stdin,
        "ignorefile": values["ignorefile"] or "",
        "build_arg": _arguments(values),
        "build_context": build_words.pairs(values["build_context"], "--build-context"),
        "target": values["target"] or "",
        "platform": _platform(values),
        "pull": _policy(values),
        "tls_verify": None if values["tls_verify"] == "" else values["tls_verify"],
        "creds": values["creds"] or "",
        "authfile": _authfile(values["authfile"] or ""),
        "cert_dir": values["cert_dir"] or "",
        "no_cache": values["no_cache"],
        "no_cache_filter": [name for word in values["no_cache_filter"] for name in word.split(",")],
        "cache_from": _caches(values, "--cache-from"),
        "cache_to": _caches(values, "--cache-to"),
        "secret": [build_words.secret(text) for text in values["secret"]],
        "ssh": build_words.ssh(values["ssh"]),
        "label": options.labels(values["label"], []),
        "annotation": build_words.manifest_annotations(values["annotation"]),
        "squash": _squash(values),
        "output": outputs,
        "format": _form(values["format"]),
        "jobs": values["jobs"],
        "timestamp": _timestamp(values),
        "network": _network(values["network"]),
        "add_host": _hosts(values["add_host"]),
        "run": _run(values),
    }


def _place(values: dict[str, Any], words: list[str]) -> tuple[str, str]:
    """(context, Dockerfile): a Dockerfile alone has its directory as the context (podman's rule)."""
    if len(values["file"]) > 1:
        raise unsupported("--file", "several were given, and one is read")
    file = values["file"][0] if values["file"] else ""
    if not words and not file:
        raise UsageError(
            "sampan build",
            "no context directory and no Containerfile specified",
            "sampan build DIRECTORY",
        )
    if words == ["-"] and file == "-":
        raise UsageError(
            "sampan build", "standard input cannot be both the context and the Dockerfile"
        )
    if words:
        return words[0], file
    return ("-", "") if file == "-" else (os.path.dirname(file) or ".", file)


def _platform(values: dict[str, Any]) -> str:
    """The one platform; "" is this machine's."""
    from sampan.cli.pull import platform_of
    from sampan.model.platform import parse

    given = [name for word in values["platform"] for name in word.split(",") if name]
    if not given and (default := os.environ.get("DOCKER_DEFAULT_PLATFORM", "")):
        given = [default]
    if len(set(given)) > 1:
        raise unsupported(
            f"--platform {','.join(given)}",
            "one image is built at a time",
            "build them one by one and join them: sampan manifest create",
        )
    parts = {**values, "platform": given[0] if given else ""}
    found = platform_of(parts)
    return str(parse(found)) if found else ""


def _policy(values: dict[str, Any]) -> str:
    text = (values["pull"] or "").lower()
    if text not in POLICIES:
        raise UsageError(f"invalid --pull {text!r}", "", "always, missing, newer or never")
    chosen = {POLICIES[text]} if values["pull"] is not None else set[str]()
    chosen |= {name for name in ("always", "never") if values[f"pull_{name}"]}
    if len(chosen) > 1:
        raise UsageError("can only set one of 'pull' or 'pull-always' or 'pull-never'")
    return chosen.pop() if chosen else "missing"


def _caches(values: dict[str, Any], option: str) -> list[dict[str, str]]:
    words: list[str] = values[option.strip("-").replace("-", "_")]
    return [found for text in words if text for found in build_words.cache(text, option)]


def _form(text: str | None) -> str:
    from sampan.cli.push import form_of

    return form_of(text or os.environ.get("BUILDAH_FORMAT")) or "oci"


def _arguments(values: dict[str, Any]) -> dict[str, str]:
    """--build-arg, and the host's proxies, which RUN has without ARG."""
    found = build_words.arguments(values["build_arg"], os.environ)
    if values["http_proxy"]:
        proxies = {name for one in PROXIES for name in (one, one.upper()) if name in os.environ}
        found = {**{name: os.environ[name] for name in sorted(proxies)}, **found}
    return found


def _authfile(path: str) -> str:
    """The file of --authfile, which must be there: without it a build would go wrong late, or differently."""
    if path and not os.path.exists(path):
        raise NotFoundError("checking authfile", f"stat {path}: no such file or directory")
    return path


def _squash(values: dict[str, Any]) -> str:
    """Which layers become one: new, all, or none ("")."""
    if values["squash_all"]:
        return "all"
    layers = values["layers"] or os.environ.get("BUILDAH_LAYERS") or "true"
    if layers.lower() not in TRUE + FALSE:
        raise UsageError(f"invalid --layers {layers!r}", "", "true or false")
    return "new" if values["squash"] or layers.lower() in FALSE else ""


def _timestamp(values: dict[str, Any]) -> int | None:
    """The time of all that is made: of the options, or SOURCE_DATE_EPOCH (reproducible-builds.org)."""
    for option in ("--timestamp", "--source-date-epoch"):
        text = values[option.strip("-").replace("-", "_")]
        if text:
            return _seconds(text, option)
    return _seconds(os.environ.get("SOURCE_DATE_EPOCH", ""), "SOURCE_DATE_EPOCH")


def _seconds(text: str, what: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 12):
        raise UsageError(f"invalid {what} {text!r}", "seconds since 1970 are wanted")
    return int(text)


def _network(text: str | None) -> str:
    """default, none, host, another mode, or a network."""
    name = text or ""
    if name.startswith(network_words.JOINED):
        raise unsupported(f"--network {name}", "a build joins no other network namespace")
    return DEFAULT_NETWORK if name in network_words.DEFAULT else name


def _hosts(words: list[str]) -> list[tuple[str, str]]:
    """(name, address) of NAME:ADDRESS or NAME=ADDRESS."""
    plain = [word.replace("=", ":", 1) if "=" in word else word for word in words]
    return [(name, address) for address, name in options.extra_hosts(plain)]


def _run(values: dict[str, Any]) -> dict[str, Any]:
    """What RUN gets of the options of `run`, by the names of RunOptions; only what was given."""
    unlimited: dict[str, Any] = {
        one.key: one.default if one.kind != LIST else [] for one in limit_options.OPTIONS
    }
    found = {
        "cap_add": values["cap_add"],
        "cap_drop": values["cap_drop"],
        "devices": [container_words.device(word) for word in values["device"]],
        **container_words.security(values["security_opt"]),
        "shm_size": sizes.size(values["shm_size"], "--shm-size") if values["shm_size"] else None,
        "ulimits": options.ulimits(values["ulimit"]),
        "dns": values["dns"],
        "dns_search": values["dns_search"],
        "dns_options": values["dns_option"],
        "no_hosts": values["no_hosts"],
        "cgroup_parent": values["cgroup_parent"],
        "resources": limit_options.resources(
            {**unlimited, **{key: values[key] for key in unlimited if key in values}}
        ),
    }
    return {key: value for key, value in found.items() if value}
