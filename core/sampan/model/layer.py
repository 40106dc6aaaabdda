"""Layers by name: the chain id that says "this layer on top of those", and its short key.

A diff_id is the digest of a layer's uncompressed tar.  What is on disk also depends on everything
below, so directories are named after the chain id (image-spec, config.md, "Layer ChainID").
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# 125 layers by text stay in one page of mount options: kernels before 6.8 take no more
KEY_DIGITS = 24


def _digest(data: bytes) -> str:
    """sha256 by the interpreter's own module where there is one: hashlib loads OpenSSL, 3 ms."""
    try:
        return str(__import__("_sha256").sha256(data).hexdigest())
    except ImportError:
        from hashlib import sha256

        return sha256(data).hexdigest()


def chain_ids(diff_ids: Sequence[str]) -> list[str]:
    """The chain id ("sha256:hex") of every layer, bottom first.

    ChainID(L0) = DiffID(L0); ChainID(L0|...|Ln) = Digest(ChainID(L0|...|Ln-1) + " " + DiffID(Ln)).
    """
    if not diff_ids:
        return []
    chain = [diff_ids[0]]
    for diff_id in diff_ids[1:]:
        chain.append("sha256:" + _digest(f"{chain[-1]} {diff_id}".encode()))
    return chain


def layer_key(chain_id: str) -> str:
    """The name of a layer's directory and record: 96 bits of its chain id."""
    return chain_id.partition(":")[2][:KEY_DIGITS]


def layer_keys(diff_ids: Sequence[str]) -> list[str]:
    """The keys of a chain, bottom first."""
    return [layer_key(chain_id) for chain_id in chain_ids(diff_ids)]
