"""What layers become on disk, as a container sees them: cases from other engines' bug reports."""

from __future__ import annotations

from store.conftest import Store
from tarmaker import d, f, h, opq, s, tar, wh


def contents(store: Store, *layers: object) -> dict[str, object]:
    keys, _ = store.unpack(*layers)  # type: ignore[arg-type]
    return {path.decode(): node.content if node.kind != "d" else dir for path, node in store.view(keys).items()}


def test_partner_of_an_overwritten_hard_link(store: Store) -> None:
    seen = contents(store, [f("t2", "123"), h("t1", "t2"), h("t3", "t1")], [f("t1", "456")])
    assert seen == {"t1": b"456", "t2": b"123", "t3": b"123"}
