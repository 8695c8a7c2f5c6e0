"""The audit from front to back: read, find what is the same, find what is a copy, name what is odd."""

from collections.abc import Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from tfcells.arrays import Float32, Ids
from tfcells.errors import RequestError
from tfcells.images.audit.candidates import NEAREST, nearest_outside
from tfcells.images.audit.closure import components_of
from tfcells.images.audit.conflicts import label_conflicts
from tfcells.images.audit.evidence import verdict
from tfcells.images.audit.exact import gathered, same_when_turned
from tfcells.images.audit.findings import Audit, Embeddings, Kind, Pair
from tfcells.images.audit.keypoints import one_opencv_thread
from tfcells.images.audit.near import NearCopies, find_near_copies
from tfcells.images.audit.quality import odd_pictures, sizes
from tfcells.images.audit.shelf import Shelf
from tfcells.images.table import ImageTable, Quarantined, joined_groups
from tfcells.progress import Progress, silent


def audit(
    table: ImageTable,
    *,
    embeddings: Embeddings | None = None,
    workers: int = 2,
    seed: int = 0,
    progress: Progress = silent,
) -> Audit:
    """Look for what is wrong with a collection: copies, classes that contradict one another, odd pictures.

    Pictures with the same pixels are found by their digests, turned ones by their histograms. Other copies are found
    by SIFT keypoints (Lowe 2004) and VLAD codes (Jégou et al. 2010), and confirmed only if one affine map brings both
    pictures so well together that half of the blocks of the overlap correlate by 0.6 or more; see the modules of this
    package. Pictures whose shorter side is below 200 pixels are confirmed only on strong evidence: correlation of half
    the blocks 0.8 and of three quarters 0.6, 12 keypoints in place, half of the smaller picture in the overlap;
    otherwise they are reported as possible, and not joined.

    The same pictures and the same seed give the same audit, whatever the order of rows and the number of workers.

    Args:
        table: The pictures. Its groups are not looked at; join the result to them with `ImageTable.with_groups`.
        embeddings: Features whose nearest neighbours are compared too.
        workers: Threads; most of the time is spent in OpenCV and NumPy, which let others run.
        seed: Decides which pictures the vocabulary is learned on, and which copies and pairs the self-check tries.
        progress: Told how far it is.

    Raises:
        RequestError: If `workers` or `seed` is out of range, or the embeddings are those of other pictures.
    """
    if workers < 1:
        raise RequestError(f"workers = {workers} given. Expected 1 or more.")
    if not 0 <= seed < 2**32:
        raise RequestError(f"seed = {seed} given. Expected 0 to 4,294,967,295.")
    table = table.take(sorted(range(len(table)), key=lambda row: table.ids[row]))
    vectors = _vectors(embeddings, table)
    # OpenCV and the linear algebra below NumPy would start threads of their own for each of ours.
    with one_opencv_thread(), threadpool_limits(1), ThreadPoolExecutor(workers) as pool:
        shelf = Shelf(table.ids, table.source, pool=pool, progress=progress)
        copies = _find_copies(table, shelf, vectors, pool=pool, seed=seed, progress=progress)
    sources = ("local features",) if embeddings is None else ("local features", "embeddings")
    return _reported(table, shelf, copies, sources=sources, seed=seed)


@dataclass(frozen=True, eq=False)
class _Copies:
    """What was found, in row numbers of the sorted table.

    Attributes:
        same: Rows with the same pixels, the smallest first; alone ones too.
        turned: The first rows of these, with those that turning makes the same.
        near: Copies among the first rows of these, by place.
    """

    same: list[list[int]]
    turned: list[list[int]]
    near: NearCopies


def _find_copies(
    table: ImageTable,
    shelf: Shelf,
    vectors: Float32[np.ndarray, "images features"],
    *,
    pool: Executor,
    seed: int,
    progress: Progress,
) -> _Copies:
    shelf.read_all()
    same = gathered(sorted(shelf.measures), dict(enumerate(table.digests)))
    turned = same_when_turned([members[0] for members in same], shelf.signatures, shelf.pixels)
    rows = [members[0] for members in turned]
    shelf.find_marks(rows, seed=seed)
    shelf.find_keypoints(rows)
    unlike = vectors[rows]
    neighbours = nearest_outside(unlike, unlike, np.arange(len(rows)), count=NEAREST, pool=pool)
    near = find_near_copies(
        shelf, rows, labels=table.labels[rows], neighbours=neighbours, pool=pool, seed=seed, progress=progress
    )
    return _Copies(same, turned, near)


def _reported(table: ImageTable, shelf: Shelf, copies: _Copies, *, sources: tuple[str, ...], seed: int) -> Audit:
    """Give the rows their ids again, and close pairs to groups."""
    seen = table.take(sorted(shelf.measures))
    pairs = _pairs(table.ids, copies)
    groups = _groups(seen.ids, pairs)
    measures = {id: shelf.measures[table.row_of[id]] for id in seen.ids}
    unreadable = (Quarantined(table.ids[row], reason) for row, reason in shelf.unreadable.items())
    return Audit(
        ids=seen.ids,
        pairs=pairs,
        groups=groups,
        quarantined=tuple(sorted({*table.quarantine, *unreadable})),
        odd=odd_pictures(measures),
        label_conflicts=label_conflicts(seen, groups, pairs),
        class_counts=seen.class_counts(),
        unlabelled=int((seen.labels < 0).sum()),
        sizes=sizes(measures),
        measures=measures,
        marked=sum(shelf.is_marked(row) for row in shelf.measures),
        thresholds=copies.near.thresholds,
        self_check=copies.near.self_check,
        compared=len({pair[:2] for pair in copies.near.evidence}),
        sources=sources,
        seed=seed,
    )


def _pairs(ids: Sequence[str], copies: _Copies) -> tuple[Pair, ...]:
    """Every pair that was found, by id; of the two sides of a picture the better."""
    kinds: tuple[tuple[Kind, list[list[int]]], ...] = (("exact", copies.same), ("exact-oriented", copies.turned))
    pairs = [
        Pair(ids[members[0]], ids[other], kind, 1.0)
        for kind, found in kinds
        for members in found
        for other in members[1:]
    ]
    rows = [members[0] for members in copies.turned]
    near: dict[tuple[str, str], Pair] = {}
    for candidate, evidence in copies.near.evidence.items():
        judged = verdict(evidence, copies.near.thresholds)
        if judged == "apart" or evidence is None:
            continue
        pair = Pair(ids[rows[candidate.first]], ids[rows[candidate.second]], judged, evidence.agreement.median)
        near[pair[:2]] = min(near.get(pair[:2], pair), pair, key=lambda each: (each.kind, -each.score))
    return tuple(sorted([*pairs, *near.values()]))


def _groups(ids: Ids, pairs: Iterable[Pair]) -> dict[str, str]:
    """Close the confirmed pairs to groups: chains of pairs, each group named by its smallest id."""
    row_of = {id: row for row, id in enumerate(ids)}
    confirmed = [(row_of[pair.id_a], row_of[pair.id_b]) for pair in pairs if pair.kind != "possible"]
    connected = [str(component) for component in components_of(len(ids), confirmed).tolist()]
    return dict(zip(ids, joined_groups(ids, [connected]), strict=True))


def _vectors(embeddings: Embeddings | None, table: ImageTable) -> Float32[np.ndarray, "images features"]:
    """Unit embeddings in the order of the table; zeros, which ask for nothing, where there is none."""
    if embeddings is None or not len(table):
        return np.zeros((len(table), 1), dtype=np.float32)
    row_of = {id: row for row, id in enumerate(embeddings.ids)}
    known = [row for row, id in enumerate(table.ids) if id in row_of]
    if not known:
        raise RequestError(
            f"None of the {len(table):,} pictures has an embedding; the first picture is {table.ids[0]}, the first "
            f"embedding that of {next(iter(embeddings.ids), '(none)')}. Expected features of the same pictures."
        )
    vectors = np.zeros((len(table), embeddings.vectors.shape[1]), dtype=np.float32)
    vectors[known] = embeddings.vectors[[row_of[table.ids[row]] for row in known]]
    if not np.isfinite(vectors).all():
        raise RequestError("The embeddings hold numbers that are not finite. Expected finite ones; extract them again.")
    unit: np.ndarray = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return unit
