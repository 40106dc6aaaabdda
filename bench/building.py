"""building.py --image IMAGE --work DIR [-n RUNS]: builds beside podman's, interleaved, in one run.

What counts is the median of the ratios, pair by pair.  The context of 50,000 files is made in DIR once.
"""

from __future__ import annotations

import argparse
import os

from beside import call, compare

GOALS = {"ten": 0.5, "ten cached": 0.4, "stages": 0.35, "copy": 0.3, "copy cached": 0.1}
TEN = """FROM {image}
ENV A=1
WORKDIR /w
COPY f /w/f
RUN echo 1 > /w/1
RUN echo 2 > /w/2
RUN echo 3 > /w/3
RUN echo 4 > /w/4
LABEL x=y
CMD ["/bin/sh"]
"""
STAGES = (
    "".join(f"FROM {{image}} AS {name}\nRUN sleep 2; echo {name} > /{name}\n" for name in "abcd")
    + "FROM {image}\n"
    + "".join(f"COPY --from={name} /{name} /{name}\n" for name in "abcd")
)
COPY = "FROM {image}\nCOPY . /app/\nRUN true\n"


def many_files(place: str, count: int = 50_000) -> None:
    """So many files of 64 bytes to 4 KiB, a hundred a directory."""
    for number in range(count):
        directory = f"{place}/{number // 1000}/{number // 100 % 10}"
        if number % 100 == 0:
            os.makedirs(directory, exist_ok=True)
        with open(f"{directory}/{number}", "wb") as file:
            file.write(os.urandom(64) * (1 + number % 64))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("-n", type=int, default=10)
    parser.add_argument("names", nargs="*", default=list(GOALS))
    given = parser.parse_args()
    ten, files = f"{given.work}/ten", f"{given.work}/files"
    os.makedirs(ten, exist_ok=True)
    with open(f"{ten}/f", "w", encoding="ascii") as file:
        file.write("hi\n")
    if not os.path.isdir(files):
        many_files(files)
    for name, text in (("ten", TEN), ("stages", STAGES), ("copy", COPY)):
        with open(f"{given.work}/{name}.Dockerfile", "w", encoding="ascii") as file:
            file.write(text.format(image=given.image))

    def build(engine: str, name: str, context: str, *words: str) -> float:
        file = f"{given.work}/{name}.Dockerfile"
        common = ["build", "-q", "--network", "none", "-t", f"bench-{name}", "-f", file]
        return call(engine, *common, *words, context)

    for name in given.names:
        which, _, cached = name.partition(" ")
        context = files if which == "copy" else ten
        runs = given.n if which == "ten" else min(given.n, 3)
        words = [] if cached else ["--no-cache"]
        compare(name, runs, GOALS[name], lambda engine, _: build(engine, which, context, *words))  # noqa: B023


if __name__ == "__main__":
    main()
