"""One short code per picture, near for pictures that share content: VLAD, made short by PCA.

Jégou, Douze, Schmid & Pérez, "Aggregating local descriptors into a compact image representation", CVPR 2010; sums
normalised word by word after Arandjelović & Zisserman, "All about VLAD", CVPR 2013; after PCA made a little more
even, after Jégou & Chum, "Negative evidences and co-occurrences in image retrieval", ECCV 2012. They even all axes out,
which finds small crops more often, but fields that overlap by a sixth fall from the first ranks to the twentieth.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from sklearn.cluster import MiniBatchKMeans
from sklearn.utils.extmath import randomized_svd

from tfcells.arrays import Float32
from tfcells.images.audit.geometry import unit_descriptors
from tfcells.images.audit.keypoints import Keypoints

WORDS: Final = 64
DESCRIPTOR_AXES: Final = 64
CODE_AXES: Final = 512

SAMPLED_PICTURES: Final = 1500
"""The vocabulary is learned on no more pictures than this: their codes before PCA take 50 MB."""

_SAMPLED_DESCRIPTORS: Final = 40_000
_LEAST_PER_WORD: Final = 20  # sampled descriptors; fewer words are learned from fewer
_EVENNESS: Final = 0.25  # exponent of an axis' spread by which it is divided: 0 leaves it, 1 evens all axes out
_NOISE: Final = 0.05  # of the largest spread; axes of less are not raised further
_POWER: Final = 0.5  # exponent that keeps one repeated texture from outweighing the rest (Perronnin et al., 2010)

Codes = Float32[np.ndarray, "pictures axes"]


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Visual words and the axes on which pictures differ.

    Attributes:
        axes: float32 of shape (descriptor axes, 128): principal axes of descriptors.
        centre: float32 of shape (128,): their mean.
        words: float32 of shape (words, descriptor axes).
        code_axes: float32 of shape (code axes, words * descriptor axes), orthogonal; axes of less spread are longer.
        code_centre: float32 of shape (words * descriptor axes,).
    """

    axes: Float32[np.ndarray, "axes 128"]
    centre: Float32[np.ndarray, "128"]
    words: Float32[np.ndarray, "words axes"]
    code_axes: Float32[np.ndarray, "codes long"]
    code_centre: Float32[np.ndarray, " long"]

    def encode(self, points: Keypoints) -> Float32[np.ndarray, " codes"]:
        """The unit code of a picture; zeros for one without keypoints."""
        if not len(points):
            return np.zeros(len(self.code_axes), dtype=np.float32)
        return _unit(self.code_axes @ (_vlad(points, self.axes, self.centre, self.words) - self.code_centre))


def learn_vocabulary(sample: Sequence[Keypoints], *, seed: int) -> Vocabulary:
    """Learn words and axes; the same sample in the same order and the same seed give the same vocabulary.

    Args:
        sample: Keypoints of up to `SAMPLED_PICTURES` pictures, at least one of which has some.
        seed: Decides which descriptors are clustered, and where clusters start.
    """
    rng = np.random.default_rng(seed)
    each = max(_SAMPLED_DESCRIPTORS // max(len(sample), 1), 1)
    drawn = np.concatenate([_some(unit_descriptors(points), each, rng) for points in sample])
    centre = drawn.mean(axis=0)
    _, directions = np.linalg.eigh((drawn - centre).T @ (drawn - centre))
    axes = np.ascontiguousarray(directions[:, ::-1][:, :DESCRIPTOR_AXES].T.astype(np.float32))
    count = int(np.clip(len(drawn) // _LEAST_PER_WORD, 1, WORDS))
    clusters = MiniBatchKMeans(count, n_init=1, batch_size=4096, max_iter=30, random_state=seed)
    words = clusters.fit((drawn - centre) @ axes.T).cluster_centers_.astype(np.float32)
    long = [_vlad(side, axes, centre, words) for points in sample for side in (points, points.mirrored())]
    code_axes, code_centre = _principal_axes(np.stack(long), seed=seed)
    return Vocabulary(axes, centre, words, code_axes, code_centre)


def _some(
    descriptors: Float32[np.ndarray, "keypoints 128"], count: int, rng: np.random.Generator
) -> Float32[np.ndarray, "some 128"]:
    if len(descriptors) <= count:
        return descriptors
    return descriptors[np.sort(rng.permutation(len(descriptors))[:count])]


def _vlad(
    points: Keypoints,
    axes: Float32[np.ndarray, "axes 128"],
    centre: Float32[np.ndarray, "128"],
    words: Float32[np.ndarray, "words axes"],
) -> Float32[np.ndarray, " long"]:
    """Sums of what parts descriptors from their word, word by word: float32 of shape (words * axes,), unit length."""
    if not len(points):
        return np.zeros(words.size, dtype=np.float32)
    short = (unit_descriptors(points) - centre) @ axes.T
    nearest = ((words**2).sum(axis=1) - 2 * short @ words.T).argmin(axis=1)
    chosen = np.zeros((len(words), len(short)), dtype=np.float32)
    chosen[nearest, np.arange(len(short))] = 1
    sums = chosen @ short - chosen.sum(axis=1, keepdims=True) * words
    sums = np.sign(sums) * np.abs(sums) ** _POWER
    return _unit((sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)).reshape(-1))


def _principal_axes(
    long: Float32[np.ndarray, "pictures long"], *, seed: int
) -> tuple[Float32[np.ndarray, "codes long"], Float32[np.ndarray, " long"]]:
    """The axes of largest spread, made a little more even, and the centre."""
    centre = long.mean(axis=0)
    count = min(CODE_AXES, *long.shape)
    _, spread, axes = randomized_svd(long - centre, n_components=count, n_iter=2, random_state=seed)
    share = np.maximum(spread / max(float(spread[0]), 1e-12), _NOISE)
    return (axes / share[:, None] ** _EVENNESS).astype(np.float32), centre


def _unit(vector: Float32[np.ndarray, " axes"]) -> Float32[np.ndarray, " axes"]:
    return (vector / max(float(np.linalg.norm(vector)), 1e-12)).astype(np.float32)
