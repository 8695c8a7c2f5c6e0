"""Copies of one picture that are filed under several classes."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from tfcells.images.audit.findings import LabelConflict, Pair
from tfcells.images.table import ImageTable


def label_conflicts(table: ImageTable, groups: Mapping[str, str], pairs: Iterable[Pair]) -> tuple[LabelConflict, ...]:
    """Name the groups that hold more than one class, sorted; unlabelled pictures contradict nobody.

    Args:
        table: The pictures that could be read.
        groups: Group by id.
        pairs: What joined them.
    """
    label = {
        id: table.class_names[number]
        for id, number in zip(table.ids, table.labels.tolist(), strict=True)
        if number >= 0
    }
    members: dict[str, dict[str, str]] = defaultdict(dict)
    for id in sorted(label):
        members[groups[id]][id] = label[id]
    exact = _contradicting_pixels(label, pairs)
    return tuple(
        LabelConflict(group, found, exact=not exact.isdisjoint(found))
        for group, found in sorted(members.items())
        if len(set(found.values())) > 1
    )


def _contradicting_pixels(label: Mapping[str, str], pairs: Iterable[Pair]) -> set[str]:
    """Ids of pictures of which another one with the same pixels, as they are or turned, has another class."""
    same = [pair for pair in pairs if pair.kind in ("exact", "exact-oriented")]
    # Each set of the same pixels is listed with its smallest id, and that once more with the smallest of the turned.
    turned = {pair.id_b: pair.id_a for pair in same if pair.kind == "exact-oriented"}
    classes: dict[str, dict[str, str]] = defaultdict(dict)
    for pair in same:
        first = turned.get(pair.id_a, pair.id_a)
        classes[first] |= {id: label[id] for id in (first, *pair[:2]) if id in label}
    return {id for found in classes.values() if len(set(found.values())) > 1 for id in found}
