"""An audit that lies in a folder is kept only if it is whole, and that of these pictures."""

import json

import pytest

from tfcells.errors import RequestError
from tfcells.images.table import ImageTable
from tfcells.steps import audit as step
from tfcells.steps.audit import audit_images


@pytest.fixture
def count(monkeypatch):
    """How often something was audited."""
    calls, plain = [], step.audit

    def audit(table, **options):
        calls.append(len(table))
        return plain(table, **options)

    monkeypatch.setattr(step, "audit", audit)
    return calls


def few(cells: ImageTable, rows: int) -> ImageTable:
    return cells.take(range(rows))


def test_the_same_pictures_are_audited_once(cells, tmp_path, count):
    first = audit_images(few(cells, 4), out=tmp_path / "a", workers=1)
    assert audit_images(few(cells, 4), out=tmp_path / "a", workers=1) == first
    assert count == [4]


@pytest.mark.parametrize("name", ["audit.json", "groups.csv", "pairs.csv"])
@pytest.mark.parametrize("harm", ["gone", "other"])
def test_an_audit_that_is_not_whole_is_made_again(cells, tmp_path, count, name, harm):
    out = tmp_path / "a"
    first = audit_images(few(cells, 4), out=out, workers=1)
    before = (out / name).read_bytes()
    if harm == "gone":
        (out / name).unlink()
    else:
        (out / name).write_text("garbage")
    assert audit_images(few(cells, 4), out=out, workers=1) == first
    assert (out / name).read_bytes() == before
    assert count == [4, 4]


def test_an_audit_that_was_stopped_half_written_does_not_pass_for_the_one_before(cells, tmp_path, monkeypatch):
    out = tmp_path / "a"
    audit_images(few(cells, 4), out=out, workers=1)
    plain = step.write_audit

    def stopped(found, folder):
        plain(found, folder)
        raise KeyboardInterrupt

    monkeypatch.setattr(step, "write_audit", stopped)
    with pytest.raises(KeyboardInterrupt):
        audit_images(few(cells, 6), out=out, workers=1)
    monkeypatch.setattr(step, "write_audit", plain)
    assert audit_images(few(cells, 4), out=out, workers=1)["images"] == 4
    assert json.loads((out / "audit.json").read_text())["images"] == 4


def test_a_folder_that_cannot_be_made_is_refused_before_anything_is_compared(cells, tmp_path, count):
    (tmp_path / "file").write_text("")
    with pytest.raises(RequestError, match="cannot be written"):
        audit_images(few(cells, 4), out=tmp_path / "file", workers=1)
    assert count == []
