import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.metrics.pairwise import rbf_kernel as sklearn_rbf
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import MinMaxScaler
from sklearn.svm import SVC

from tfcells.errors import RequestError
from tfcells.probes.gram.folds import fold_pcas
from tfcells.probes.gram.kernels import linear_kernel, nearest, rbf_kernel, resolve_gamma, squared_distances
from tfcells.probes.gram.matrices import Gram, gram_matrices
from tfcells.probes.gram.ridge import class_targets, ridge_path

GENERATOR = np.random.default_rng(0)
LABELS = np.arange(60) % 3
FEATURES = GENERATOR.normal(size=(60, 90)) + 0.4 * GENERATOR.normal(size=(3, 90))[LABELS]
TRAINING = np.arange(45)
HELD_OUT = np.arange(45, 60)
SCALED = MinMaxScaler().fit(FEATURES[TRAINING]).transform(FEATURES)
LEARN, TEST = SCALED[TRAINING], SCALED[HELD_OUT]


@pytest.fixture(scope="module")
def gram():
    return next(gram_matrices(FEATURES, [TRAINING], scaler="minmax"))


@pytest.fixture(scope="module", params=["wide", "tall"])
def turned(request):
    """Scores of all components, and the scaled features that they are, turned: by both routes."""
    columns = 90 if request.param == "wide" else 20
    found = next(fold_pcas(FEATURES[:, :columns], [TRAINING], scaler="minmax"))
    return found, LEARN[:, :columns], TEST[:, :columns]


def test_distances_are_those_of_scaled_rows(gram):
    every = np.arange(60)
    distances = squared_distances(gram, every, every)
    np.testing.assert_allclose(distances, euclidean_distances(SCALED, squared=True), atol=1e-12)
    np.testing.assert_array_equal(np.diagonal(distances), 0)


def test_a_row_that_comes_twice_is_at_no_distance():
    features = np.concatenate([FEATURES, FEATURES[:1]]) + 1e4
    twice = next(gram_matrices(features, [TRAINING], scaler="none"))
    assert 0 <= squared_distances(twice, np.array([60]), np.array([0]))[0, 0] < 1e-10


@pytest.mark.parametrize("gamma", ["scale", "auto", 0.03])
def test_gaussian_support_vectors_say_what_they_say_of_scaled_features(gram, gamma):
    reference = SVC(C=5, gamma=gamma, decision_function_shape="ovo", tol=1e-9).fit(LEARN, LABELS[TRAINING])
    assert resolve_gamma(gamma, width=90, variance=gram.variance) == pytest.approx(reference._gamma, rel=1e-12)
    machine = SVC(C=5, kernel="precomputed", decision_function_shape="ovo", tol=1e-9)
    machine.fit(rbf_kernel(gram, TRAINING, TRAINING, gamma=gamma), LABELS[TRAINING])
    found = machine.decision_function(rbf_kernel(gram, HELD_OUT, TRAINING, gamma=gamma))
    np.testing.assert_allclose(found, reference.decision_function(TEST), atol=1e-8)


def test_linear_support_vectors_cannot_tell_centring(gram):
    reference = SVC(kernel="linear", decision_function_shape="ovo", tol=1e-9).fit(LEARN, LABELS[TRAINING])
    machine = SVC(kernel="precomputed", decision_function_shape="ovo", tol=1e-9)
    machine.fit(linear_kernel(gram, TRAINING, TRAINING), LABELS[TRAINING])
    found = machine.decision_function(linear_kernel(gram, HELD_OUT, TRAINING))
    np.testing.assert_allclose(found, reference.decision_function(TEST), atol=1e-5)


def test_neighbours_are_those_of_scaled_features(gram):
    reference = KNeighborsClassifier(7, algorithm="brute").fit(LEARN, LABELS[TRAINING])
    expected, who = reference.kneighbors(TEST)
    distances, places = nearest(squared_distances(gram, HELD_OUT, TRAINING), 7)
    np.testing.assert_array_equal(places, who)
    np.testing.assert_allclose(np.sqrt(distances), expected, atol=1e-12)


def test_ties_go_to_the_first_and_too_many_neighbours_are_refused():
    distances = np.array([[2.0, 1.0, 1.0]])
    np.testing.assert_array_equal(nearest(distances, 3)[1], [[1, 2, 0]])
    with pytest.raises(RequestError, match="4 neighbours of 3 rows"):
        nearest(distances, 4)


def test_linear_probes_say_the_same_of_all_components_as_of_features(turned):
    found, learn, test = turned
    truth = LABELS[TRAINING]
    probes = [
        LogisticRegression(C=1.0, tol=1e-10, max_iter=5000),
        SVC(kernel="linear", tol=1e-9, decision_function_shape="ovo"),
        RidgeClassifier(alpha=0.5),
    ]
    for probe in probes:
        expected = probe.fit(learn, truth).decision_function(test)
        said = probe.fit(found.training_scores, truth).decision_function(found.held_out_scores)
        np.testing.assert_allclose(said, expected, atol=1e-5)


def test_distances_of_held_out_rows_lack_what_no_training_row_has(turned):
    found, learn, test = turned
    among = euclidean_distances(found.training_scores, squared=True)
    np.testing.assert_allclose(among, euclidean_distances(learn, squared=True), atol=1e-10)
    lost = euclidean_distances(test, learn, squared=True)
    lost -= euclidean_distances(found.held_out_scores, found.training_scores, squared=True)
    np.testing.assert_allclose(lost, np.broadcast_to(lost[:, :1], lost.shape), atol=1e-10)
    assert lost.min() > 0.1 if learn.shape[1] > len(learn) else np.abs(lost).max() < 1e-10


def test_a_ridge_path_is_scikit_learns_at_every_penalty(turned):
    found, learn, test = turned
    alphas = [1e-3, 1.0, 100.0]
    path = ridge_path(found, class_targets(LABELS[TRAINING], classes=3), alphas=alphas)
    for alpha, said in zip(alphas, path.predict(found.held_out_scores), strict=True):
        expected = RidgeClassifier(alpha=alpha).fit(learn, LABELS[TRAINING]).decision_function(test)
        np.testing.assert_allclose(said, expected, atol=1e-8)
    targets = learn[:, :2] ** 2 + 5
    said = ridge_path(found, targets, alphas=[0.3]).predict(found.held_out_scores)[0]
    np.testing.assert_allclose(said, Ridge(alpha=0.3).fit(learn, targets).predict(test), atol=1e-8)


def test_of_two_classes_the_second_column_is_scikit_learns(turned):
    found, learn, test = turned
    truth = np.minimum(LABELS, 1)[TRAINING]
    said = ridge_path(found, class_targets(truth, classes=2), alphas=[1.0]).predict(found.held_out_scores)[0]
    expected = RidgeClassifier(alpha=1.0).fit(learn, truth).decision_function(test)
    np.testing.assert_allclose(said, np.stack([-expected, expected], axis=1), atol=1e-8)


def test_gamma_of_scores_is_scikit_learns(turned):
    found = turned[0]
    machine = SVC(gamma="scale").fit(found.training_scores, LABELS[TRAINING])
    variance = float(found.training_scores.var())
    assert resolve_gamma("scale", width=found.n_components, variance=variance) == pytest.approx(machine._gamma)


def test_a_gaussian_kernel_of_known_numbers():
    gram = Gram(values=np.array([[0.0, 0.0], [0.0, 4.0]]), training=np.array([0, 1]), width=1)
    both = np.array([0, 1])
    np.testing.assert_allclose(rbf_kernel(gram, both, both, gamma=0.5), [[1, np.exp(-2)], [np.exp(-2), 1]])
    np.testing.assert_allclose(linear_kernel(gram, both, both), [[1, -1], [-1, 1]])
    np.testing.assert_allclose(sklearn_rbf([[0.0], [2.0]], gamma=0.5), rbf_kernel(gram, both, both, gamma=0.5))


@pytest.mark.parametrize("gamma", [-1.0, float("nan")])
def test_a_gamma_out_of_range_is_refused(gamma):
    with pytest.raises(RequestError, match="Expected 'scale'"):
        resolve_gamma(gamma, width=3, variance=1.0)


def test_an_unknown_variance_has_no_scale():
    with pytest.raises(RequestError, match="gamma='scale' came, with a variance of nan"):
        resolve_gamma("scale", width=3, variance=float("nan"))
    assert resolve_gamma("scale", width=3, variance=0.0) == 1.0


def test_ridge_refuses_what_does_not_fit(turned):
    targets = class_targets(LABELS[TRAINING], classes=3)
    with pytest.raises(RequestError, match="44 targets came for 45 training rows"):
        ridge_path(turned[0], targets[1:], alphas=[1.0])
    with pytest.raises(RequestError, match="Expected one or more numbers from 0"):
        ridge_path(turned[0], targets, alphas=[-1.0])
    with pytest.raises(RequestError, match="Labels from -1 to 2 came"):
        class_targets(np.array([-1, 2]), classes=3)
