"""Chain ids by the image specification's own formula, and keys that are safe as names."""

from __future__ import annotations

import hashlib

from sampan.model.layer import chain_ids, layer_key


def test_chain_ids() -> None:
    diff_ids = ["sha256:" + letter * 64 for letter in "abc"]
    chain = chain_ids(diff_ids)
    assert chain[0] == diff_ids[0]
    second = hashlib.sha256(f"{diff_ids[0]} {diff_ids[1]}".encode()).hexdigest()
    assert chain[1] == f"sha256:{second}"
    third = hashlib.sha256(f"{chain[1]} {diff_ids[2]}".encode()).hexdigest()
    assert chain[2] == f"sha256:{third}"
    assert chain_ids([]) == [] and chain_ids(diff_ids[:2]) == chain[:2]


def test_one_layer_at_two_places_has_two_keys() -> None:
    diff_id = "sha256:" + "d" * 64
    keys = [layer_key(chain_id) for chain_id in chain_ids([diff_id] * 3)]
    assert len(set(keys)) == 3 and all(len(key) == 24 for key in keys)
    assert all(set(key) <= set("0123456789abcdef") for key in keys)
