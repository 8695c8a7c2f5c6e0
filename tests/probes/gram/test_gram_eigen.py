import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import eigh

from tfcells.probes.gram import eigen
from tfcells.probes.gram.eigen import leading_eigenpairs


def drawn(size, rank, seed=0):
    factors = np.random.default_rng(seed).normal(size=(size, rank))
    return factors @ factors.T


def assert_decomposed(matrix, values, vectors, chosen):
    expected = eigh(matrix, eigvals_only=True)[::-1]
    scale = max(abs(expected[0]), 1.0)
    np.testing.assert_allclose(values, expected, atol=1e-12 * scale)
    assert vectors.shape == (len(matrix), chosen)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(chosen), atol=1e-11)
    np.testing.assert_allclose(matrix @ vectors, vectors * values[:chosen], atol=1e-11 * scale)


@given(st.integers(1, 30), st.integers(1, 30), st.data())
@settings(max_examples=40, deadline=None)
def test_all_values_come_with_the_vectors_that_were_chosen(size, rank, data):
    matrix = drawn(size, rank, data.draw(st.integers(0, 1000)))
    chosen = data.draw(st.integers(1, size))
    given_to_choose = []
    values, vectors = leading_eigenpairs(matrix.copy(), lambda seen: given_to_choose.append(seen.copy()) or chosen)
    np.testing.assert_array_equal(given_to_choose[0], values)
    assert_decomposed(matrix, values, vectors, chosen)


@pytest.mark.parametrize("matrix", [np.eye(9), np.zeros((9, 9)), np.ones((9, 9)), np.kron(np.eye(3), drawn(4, 4))])
def test_equal_eigenvalues_have_orthonormal_vectors(matrix):
    values, vectors = leading_eigenpairs(matrix.copy(), len)
    assert_decomposed(matrix, values, vectors, len(matrix))


@pytest.mark.parametrize("step", ["dsterf", "dstemr"])
def test_where_a_step_gives_up_the_matrix_is_decomposed_another_way(step, monkeypatch):
    whole = getattr(eigen.lapack, step)
    monkeypatch.setattr(eigen.lapack, step, lambda *args, **options: (*whole(*args, **options)[:-1], 1))
    matrix = drawn(20, 25)
    values, vectors = leading_eigenpairs(matrix.copy(), lambda seen: 7)
    assert_decomposed(matrix, values, vectors, 7)
