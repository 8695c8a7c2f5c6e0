"""All eigenvalues of a symmetric matrix, and eigenvectors of as many leading ones as are then found to be needed.

How many components a share of the variance takes is known only when all eigenvalues are; most are then not
needed. LAPACK's steps are therefore called one by one: tridiagonal form (`dsytrd`), all eigenvalues without
vectors (`dsterf`), then the vectors wanted by multiple relatively robust representations (`dstemr`; Dhillon &
Parlett 2004) and back (`dormqr`). They are the steps of `scipy.linalg.eigh(driver="evr")`, which must be told
beforehand how many vectors to find. For 117 of 2,880 they take about half of the time of all.
"""

from collections.abc import Callable

import numpy as np
from scipy.linalg import eigh, lapack
from threadpoolctl import threadpool_limits

from tfcells.arrays import Float64

_Values = Float64[np.ndarray, " values"]
_SMALL = 3  # LAPACK's steps want a subdiagonal


def leading_eigenpairs(
    matrix: Float64[np.ndarray, "rows rows"], choose: Callable[[_Values], int]
) -> tuple[Float64[np.ndarray, " rows"], Float64[np.ndarray, "rows chosen"]]:
    """Eigenvalues, largest first, and the eigenvectors of the first of them.

    Args:
        matrix: Symmetric; overwritten where it is contiguous.
        choose: Called with all eigenvalues, largest first; returns how many vectors are wanted, 1 or more.

    Returns:
        All eigenvalues, float64 of shape (rows,), and orthonormal vectors as columns, of shape (rows, chosen).
        They agree with `scipy.linalg.eigh` within rounding, up to the sign of each vector.
    """
    # Tridiagonal form takes thousands of short steps. Threads that wait for one another at each are twice as fast on
    # idle cores, and five to twenty times slower on cores that others use as well.
    with threadpool_limits(1, user_api="blas"):
        return _by_eigh(matrix, choose) if len(matrix) < _SMALL else _by_steps(matrix, choose)


def _by_steps(
    matrix: Float64[np.ndarray, "rows rows"], choose: Callable[[_Values], int]
) -> tuple[Float64[np.ndarray, " rows"], Float64[np.ndarray, "rows chosen"]]:
    lower = matrix if matrix.flags.f_contiguous else matrix.T  # symmetric: either order is the same matrix
    size = int(lapack.dsytrd_lwork(len(matrix), lower=1)[0])
    reflectors, diagonal, beside, factors, _ = lapack.dsytrd(lower, lower=1, lwork=size, overwrite_a=1)
    values, failed = lapack.dsterf(diagonal, beside)
    if failed:  # 30 sweeps per value were not enough
        return _by_eigh(_restored(reflectors, diagonal, beside, factors), choose)
    values = values[::-1].copy()
    chosen = choose(values)
    vectors = _tridiagonal_vectors(diagonal, beside, chosen)
    if vectors is None:
        return _by_eigh(_restored(reflectors, diagonal, beside, factors), lambda _: chosen)
    return values, _turned_back(reflectors, factors, vectors)


def _by_eigh(
    matrix: Float64[np.ndarray, "rows rows"], choose: Callable[[_Values], int]
) -> tuple[Float64[np.ndarray, " rows"], Float64[np.ndarray, "rows chosen"]]:
    values, vectors = eigh(matrix, driver="evd", check_finite=False)
    values = values[::-1].copy()
    return values, vectors[:, ::-1][:, : choose(values)]


def _tridiagonal_vectors(
    diagonal: _Values, beside: Float64[np.ndarray, " between"], chosen: int
) -> Float64[np.ndarray, "values chosen"] | None:
    """Eigenvectors of the `chosen` largest eigenvalues, largest first; None where the algorithm gave up."""
    count = len(diagonal)
    padded = np.append(beside, 0.0)  # LAPACK wants room for one more
    by_number = 2
    call = (by_number, 0.0, 0.0, count - chosen + 1, count)
    size, whole, _ = lapack.dstemr_lwork(diagonal, padded, *call, compute_v=1)
    found, _, vectors, failed = lapack.dstemr(diagonal, padded, *call, compute_v=1, lwork=int(size), liwork=int(whole))
    if failed or found != chosen:
        return None
    return np.asfortranarray(vectors[:, :chosen][:, ::-1])


def _turned_back(
    reflectors: Float64[np.ndarray, "rows rows"],
    factors: Float64[np.ndarray, " between"],
    vectors: Float64[np.ndarray, "rows chosen"],
) -> Float64[np.ndarray, "rows chosen"]:
    """Multiply by the orthogonal matrix of the tridiagonal form, as LAPACK's `dormtr` (not in SciPy) does.

    The reflectors lie below the subdiagonal and leave the first row alone: of the rest they are a QR factor's.
    """
    rest = np.asfortranarray(vectors[1:])
    below = np.asfortranarray(reflectors[1:, :-1])
    _, size, _ = lapack.dormqr("L", "N", below, factors, rest, -1)
    turned, _, _ = lapack.dormqr("L", "N", below, factors, rest, int(size[0]), overwrite_c=1)
    vectors[1:] = turned
    return vectors


def _restored(
    reflectors: Float64[np.ndarray, "rows rows"],
    diagonal: _Values,
    beside: Float64[np.ndarray, " between"],
    factors: Float64[np.ndarray, " between"],
) -> Float64[np.ndarray, "rows rows"]:
    """The matrix that was overwritten, from its tridiagonal form."""
    tridiagonal = np.diag(diagonal) + np.diag(beside, -1) + np.diag(beside, 1)
    turned = _turned_back(reflectors, factors, np.asfortranarray(tridiagonal))
    return _turned_back(reflectors, factors, np.asfortranarray(turned.T))
