"""Mistakes that published studies of cell images were undone by; each is impossible here, or refused.

Of preprocessing that does not fit the weights, see tests/backbones/test_golden_check.py.
"""

import csv
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

import tfcells as tc
from tfcells.images.splits import read_split, split_rows
from tfcells.stats.paired import paired_balanced_difference


def test_dropping_duplicates_does_not_shift_rows_against_their_pictures(tmp_path: Path) -> None:
    """`drop_duplicates().reset_index()` and then `X[index]` keeps the first rows, not the unique ones."""
    generator = np.random.default_rng(0)
    unique = generator.integers(0, 256, (6, 40, 40, 3), dtype=np.uint8)
    order = np.array([0, 0, 1, 1, 1, 2, 3, 0, 4, 5])
    np.savez(tmp_path / "cells.npz", images=unique[order], labels=order % 2)
    table = tc.read_images(tmp_path / "cells.npz")
    rows = [int(id.rpartition("/")[2].partition(".")[0]) for id in table.ids]
    for id, row, label in zip(table.ids, rows, table.labels.tolist(), strict=True):
        np.testing.assert_array_equal(table.source.read(id), unique[order[row]])
        assert label == order[row] % 2
    for one, group in zip(rows, table.groups, strict=True):
        alike = {rows[place] for place, other in enumerate(table.groups) if other == group}
        assert alike == {row for row in range(len(order)) if order[row] == order[one]}


def test_scaler_and_pca_never_learn_from_the_rows_they_are_tested_on(make_store) -> None:
    """Fitted before the split, they do; here one tested row may become absurd and no other answer moves."""
    space = tc.Space(probes=("svm",), scalers=("minmax",), reductions=("pca:0.8",), inner_folds=2)
    answers = []
    for absurd in (False, True):
        store = make_store(images=60, widths=(120,))
        rows = store.rows
        split = split_rows(rows.ids, rows.labels, rows.class_names, rows.groups, folds=3)
        tested = np.flatnonzero(split.folds == 0)
        if absurd:
            _change(store, tested[0], 1e6)
        sweep = tc.probe_layers(store, split, space=space)
        answers.append(sweep.best.predictions.probabilities[tested[1:]])
    np.testing.assert_allclose(answers[0], answers[1], atol=1e-9)


def test_augmented_siblings_never_lie_on_both_sides(cell_folder: Path, tmp_path: Path) -> None:
    """Copies under names of their own, turned and mirrored, are found and kept together."""
    folder = tmp_path / "cells"
    for path in sorted(path for path in cell_folder.rglob("*") if path.is_file())[::3]:
        with Image.open(path) as picture:
            for number, copy in enumerate(
                (picture, picture.rotate(90), picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
            ):
                made = folder / path.parent.name / f"{number}{path.stem[::-1]}.png"
                made.parent.mkdir(parents=True, exist_ok=True)
                copy.save(made)
    table = tc.read_images(folder)
    tc.audit_images(table, out=tmp_path / "audit", workers=1)
    split = tc.split_table(tc.read_images(folder, groups=tmp_path / "audit" / "groups.csv"), folds=2, seed=0)
    fold_of: dict[tuple[str, str], set[int]] = {}
    for id, fold in zip(split.ids, split.folds.tolist(), strict=True):
        kind, _, name = id.rpartition("/")
        fold_of.setdefault((kind, name[1:]), set()).add(fold)
    assert len(fold_of) == 12
    assert all(len(folds) == 1 for folds in fold_of.values())


def test_a_split_that_parts_a_group_is_refused(tmp_path: Path) -> None:
    rows = [("a", "train", 0, "one"), ("b", "train", 1, "one"), ("c", "train", 1, "two")]
    with (tmp_path / "split.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("id", "split", "fold", "group"), *rows])
    with pytest.raises(tc.RequestError, match="one"):
        read_split(tmp_path / "split.csv")


def test_a_split_that_parts_what_the_store_knows_to_be_copies_is_refused(make_store, tmp_path: Path) -> None:
    """A split file without groups knows nothing of copies; the store does."""
    store = make_store(groups=[f"original {row // 2}" for row in range(120)])
    with (tmp_path / "split.csv").open("w", newline="") as file:
        rows = [(id, "train", row % 4) for row, id in enumerate(store.rows.ids)]
        csv.writer(file).writerows([("id", "split", "fold"), *rows])
    with pytest.raises(tc.RequestError, match="parts the group"):
        tc.probe_store(store, out=tmp_path / "probed", split_file=tmp_path / "split.csv")
    assert not (tmp_path / "probed").exists()


def test_a_layer_too_wide_for_memory_is_reduced_exactly_and_every_row_stays_itself(tmp_path: Path) -> None:
    """For want of memory a layer was reduced in halves, and one of them stacked twice."""
    generator = np.random.default_rng(0)
    features = np.lib.format.open_memmap(tmp_path / "layer.npy", "w+", np.float32, (80, 20_000))
    features[:] = generator.normal(size=(80, 12)) @ generator.normal(size=(12, 20_000))
    features[:] += generator.normal(size=features.shape)
    memory = 3 * 2**20
    assert features.nbytes > 2 * memory
    ours = make_pipeline(MinMaxScaler(), tc.GramPCA(0.8, memory=memory)).fit(features[:60])
    theirs = make_pipeline(MinMaxScaler(), PCA(0.8, svd_solver="full")).fit(features[:60].astype(np.float64))
    found, expected = ours.transform(features), theirs.transform(features.astype(np.float64))
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())


def test_two_layers_that_differ_by_luck_are_called_a_tie() -> None:
    """80.2 and 78.0 % of a quarter of 1,163 pictures are no difference."""
    generator = np.random.default_rng(0)
    labels, groups = np.arange(291) % 4, np.arange(291)
    for _ in range(20):
        order = generator.permutation(291)
        one, other = np.ones(291, dtype=bool), np.ones(291, dtype=bool)
        one[order[:58]] = False  # 80.1 %
        other[order[29:93]] = False  # 78.0 %, half of the misses in common
        test = paired_balanced_difference(one, other, labels, groups)
        assert test.p_value > 0.05
        assert test.difference.low < 0 < test.difference.high


def test_features_of_hundreds_of_thousands_of_columns_are_mapped_without_being_held(make_store, tmp_path: Path) -> None:
    """802,816 raw dimensions went into t-SNE; here neighbours are sought among principal components, all exact."""
    store = make_store(images=24, widths=(802_816,), shard_rows=6)
    tracemalloc.start()
    drawn = tc.draw_map(store, taps=store.taps, method="tsne", out=tmp_path / "map", source=None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    held = 24 * 802_816 * 8
    assert peak < held / 2
    assert 0 <= drawn.facts["trustworthiness"] <= 1


def test_a_map_carries_numbers_and_every_column_of_its_rows(make_store, tmp_path: Path) -> None:
    """Pictures were used as evidence; a map comes with its quality, and with metadata beside its coordinates."""
    store = make_store(images=45)
    said = {"prediction": ["x"] * 45, "confidence": [0.5] * 45}
    drawn = tc.draw_map(store, taps=["late"], method="pca", out=tmp_path / "map", source=None, columns=said)
    assert all(0 <= drawn.facts[name] <= 1 for name in ("trustworthiness", "kept_neighbors", "same_class"))
    with (tmp_path / "map" / "map.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {"id", "x", "y", "label", "prediction", "confidence", "site"} <= set(rows[0])
    assert [row["id"] for row in rows] == list(store.rows.ids)


def _change(store: tc.FeatureStore, row: int, value: float) -> None:
    """Write a number into every column of a row."""
    for path, record in store._shards:
        if record.start <= row < record.stop:
            for file in path.glob("*__mean.npy"):
                features = np.load(file)
                features[row - record.start] = value
                np.save(file, features)
