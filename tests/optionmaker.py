"""What a command line asks for, as the values that `run` works with."""

from __future__ import annotations

from sampan.cli import container_options
from sampan.cli.parse import parse
from sampan.cli.run import VERB
from sampan.model.container import RunOptions
from sampan.model.spec import Facts
from sampan.settings import KEYS, Settings


def settings() -> Settings:
    return Settings({key: default for key, (default, _) in KEYS.items()}, {}, {})


def chosen(*words: str) -> RunOptions:
    """The options of `sampan run WORDS image`."""
    values, arguments = parse(VERB, [*words, "image"])
    return container_options.build(values, arguments[1:], settings(), detach=values["detach"])


def facts(*, private: bool = True, gids: int = 65536, nofile: int = 4096) -> Facts:
    return Facts(
        "c" * 64,
        "host",
        gids=((0, 1000, gids),),
        private_network=private,
        nofile=nofile,
        masks=["/sys/devices/system/cpu/cpu0/thermal_throttle"],
    )
