import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from audited_pictures import table_of
from jsonschema import validate

from tfcells.images.audit import audit, write_audit
from tfcells.images.audit.quality import Measures, measure, odd_pictures
from tfcells.images.readers import read_groups

ODD_NAMES = ("a,b.png", 'quo"te.png', "new\nline.png", "return\r.png", " space .png", "größe.png", "=1+1.png", "'.png")
SCHEMA = {
    "type": "object",
    "required": ["format", "images", "groups", "pairs", "quarantined", "odd", "label_conflicts", "self_check"],
    "properties": {
        "format": {"const": "tfcells.audit/1"},
        "images": {"type": "integer"},
        "pairs": {"type": "object", "additionalProperties": {"type": "integer"}},
        "possible": {"type": "array", "items": {"required": ["id_a", "id_b", "kind", "score"]}},
        "quarantined": {"type": "array", "items": {"required": ["id", "reason"]}},
        "odd": {"type": "array", "items": {"required": ["id", "kind", "value", "usual", "reason"]}},
        "label_conflicts": {"type": "array", "items": {"required": ["group", "labels", "exact"]}},
        "self_check": {"required": ["positives", "before", "negatives", "allowed", "raised", "note"]},
        "thresholds": {"additionalProperties": {"type": "number"}},
    },
}


def test_the_files_hold_every_picture_and_every_pair(audited, tmp_path):
    write_audit(audited, tmp_path / "new" / "folder")
    document = json.loads((tmp_path / "new/folder/audit.json").read_text(encoding="utf-8"))
    validate(document, SCHEMA)
    assert document["images"] == len(audited.ids) == 44
    assert document["groups"] == 32
    assert document["pairs"]["near"] == len(audited.confirmed)
    assert document["self_check"]["positives"]["recall"] > 0.9
    assert read_groups(tmp_path / "new/folder/groups.csv") == audited.groups
    with (tmp_path / "new/folder/pairs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["id_a"], row["id_b"], row["kind"]) for row in rows] == [pair[:3] for pair in audited.pairs]


def test_odd_names_come_back_as_they_were(tmp_path):
    even = np.full((4, 4, 3), 7, dtype=np.uint8)
    found = audit(table_of(dict.fromkeys(ODD_NAMES, even)))
    write_audit(found, tmp_path)
    assert read_groups(tmp_path / "groups.csv") == dict.fromkeys(ODD_NAMES, min(ODD_NAMES))
    with (tmp_path / "pairs.csv").open(newline="", encoding="utf-8") as file:
        assert {row["id_b"] for row in csv.DictReader(file)} == set(ODD_NAMES) - {min(ODD_NAMES)}


def test_an_audit_of_nothing_can_be_written(audited, tmp_path):
    empty = audit(table_of({"a": np.zeros((4, 4, 3), np.uint8)}).take([]))
    write_audit(empty, tmp_path)
    document = json.loads((tmp_path / "audit.json").read_text())
    assert (document["images"], document["groups"], document["imbalance"]) == (0, 0, None)
    assert read_groups(tmp_path / "groups.csv") == {}


def test_the_same_audit_writes_the_same_bytes(audited, tmp_path):
    for folder in ("one", "two"):
        write_audit(replace(audited), tmp_path / folder)
    for name in ("audit.json", "groups.csv", "pairs.csv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


# Odd pictures.


def usual(number: int, **other) -> Measures:
    values = {"width": 360, "height": 363, "brightness": 180.0, "contrast": 30.0, "colour": 40.0, "sharpness": 0.1}
    jitter = 1 + 0.01 * np.sin(number)
    return Measures(
        **{name: value * (jitter if isinstance(value, float) else 1) for name, value in values.items()}
    )._replace(**other)


@pytest.mark.parametrize(
    ("kind", "other"),
    [
        ("small", {"width": 90, "height": 90}),
        ("large", {"width": 1800, "height": 1815}),
        ("aspect", {"width": 720, "height": 180}),
        ("grey", {"colour": 0.4}),
        ("dark", {"brightness": 40.0}),
        ("bright", {"brightness": 250.0}),
        ("blurred", {"sharpness": 0.01}),
    ],
)
def test_one_picture_unlike_the_rest_is_named(kind, other):
    measures = {f"{number:02d}": usual(number) for number in range(30)} | {"odd": usual(0, **other)}
    found = odd_pictures(measures)
    assert [(odd.id, odd.kind) for odd in found] == [("odd", kind)]
    assert odd_pictures({f"{number:02d}": usual(number) for number in range(30)}) == ()


def test_a_few_sizes_of_one_camera_are_not_odd():
    sizes = [(360, 363)] * 40 + [(366, 369)] * 3 + [(360, 359)] * 3
    assert not odd_pictures({f"{k}": usual(k, width=w, height=h) for k, (w, h) in enumerate(sizes)})


def test_sharpness_is_comparable_between_sizes_and_falls_with_blur():
    import cv2
    from audited_pictures import cell

    picture = cell(0)
    sharp = measure(picture).sharpness
    assert measure(cv2.resize(picture, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)).sharpness == pytest.approx(
        sharp, rel=0.35
    )
    assert measure(cv2.GaussianBlur(picture, (0, 0), 4)).sharpness < 0.4 * sharp
