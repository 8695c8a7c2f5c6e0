"""Short simulations of what an interval and a test promise; benchmarks/coverage.py has the long ones."""

import numpy as np
import pytest

from tfcells.stats.bootstrap import cluster_bootstrap, cluster_bootstrap_rows
from tfcells.stats.intervals import difference_of_independent, wilson, wilson_clustered, wilson_of_metric
from tfcells.stats.metrics import accuracy, auc, balanced_accuracy, confusion_by_group, macro_f1
from tfcells.stats.paired import paired_difference

MIX = np.array([0.4, 0.3, 0.2, 0.1])
DRAWS = 160
SLACK = 3 * np.sqrt(0.95 * 0.05 / DRAWS)
"""Three Monte Carlo standard errors of a coverage of 95 %."""

pytestmark = pytest.mark.usefixtures("unchecked_shapes")  # thousands of calls of what other files test one by one


def verdicts(means, *, groups, correlation, generator):
    """Whether rows are right: with the correlation's square root as probability by a verdict of the group."""
    shared = generator.random(groups.max() + 1)[groups] < means
    own = generator.random(len(means)) < means
    return np.where(generator.random(len(means)) < np.sqrt(correlation), shared, own)


def draw(generator, *, rows, groups, correlation, level):
    """True, predicted and group of rows in slides of all classes; misses go to the next class."""
    numbers = np.arange(rows) if groups == rows else np.sort(generator.integers(groups, size=rows))
    true = generator.choice(4, p=MIX, size=rows)
    right = verdicts(level_of(true, level), groups=numbers, correlation=correlation, generator=generator)
    return true, np.where(right, true, (true + 1) % 4), numbers


def level_of(true, level):
    """Recall of each row's class: the level, spread by half of what is left to 1."""
    return level + (1 - level) * np.array([0.5, 0.0, -0.5, 0.25])[true]


def population(level):
    recalls = level_of(np.arange(4), level)
    return np.diag(MIX * recalls) + np.roll(np.diag(MIX * (1 - recalls)), 1, axis=1)


def coverage(metrics, make, *, seed=0, **setting):
    """How often the interval of each metric holds the population's; the draws are shared."""
    generator, held = np.random.default_rng(seed), np.zeros(len(metrics))
    truths = [float(metric(population(setting["level"]))) for metric in metrics]
    for _ in range(DRAWS):
        true, predicted, group = draw(generator, **setting)
        for place, interval in enumerate(make(true, predicted, group)):
            held[place] += interval.low <= truths[place] <= interval.high
    return held / DRAWS


@pytest.mark.parametrize(
    ("groups", "correlation", "level"), [(400, 0.0, 0.97), (100, 0.3, 0.8), (100, 0.1, 0.97)], ids=str
)
def test_intervals_of_table_metrics_hold_the_truth_as_often_as_they_say(groups, correlation, level):
    metrics = (accuracy, balanced_accuracy, macro_f1)

    def make(true, predicted, group):
        grouped = confusion_by_group(true, predicted, group, classes=4)
        return [wilson_of_metric(grouped, metric) for metric in metrics]

    found = coverage(metrics, make, rows=400, groups=groups, correlation=correlation, level=level)
    np.testing.assert_allclose(found, 0.95, atol=SLACK + 0.01)


def test_an_interval_that_does_not_know_of_groups_promises_too_much():
    def make(true, predicted, group):
        hits = true == predicted
        return [wilson(int(hits.sum()), 400), wilson_clustered(hits, group)]

    blind, aware = coverage((accuracy, accuracy), make, rows=400, groups=40, correlation=0.5, level=0.8)
    assert blind < 0.75
    assert aware > 0.95 - SLACK


def test_the_bootstrap_of_tables_holds_the_truth():
    def make(true, predicted, group):
        grouped = confusion_by_group(true, predicted, group, classes=4)
        return [cluster_bootstrap(grouped, macro_f1, seed=0, resamples=200)]

    found = coverage((macro_f1,), make, rows=400, groups=100, correlation=0.2, level=0.8)
    np.testing.assert_allclose(found, 0.95, atol=SLACK + 0.01)


def test_the_bootstrap_of_row_weights_holds_the_truth_of_an_auc():
    generator, held = np.random.default_rng(0), 0
    for _ in range(DRAWS):
        true = generator.integers(2, size=120)
        score = 1 / (1 + np.exp(-generator.normal(size=120) - 1.0 * true))
        probabilities = np.stack([1 - score, score], axis=1)
        interval = cluster_bootstrap_rows(
            lambda weights, p=probabilities, t=true: auc(p, t, weights=weights), np.arange(120), seed=0, resamples=300
        )
        held += interval.low <= 0.7602 <= interval.high  # normal distribution function at 1 / sqrt(2)
    assert held / DRAWS == pytest.approx(0.95, abs=SLACK + 0.01)


def test_the_interval_of_a_difference_holds_it():
    generator, held = np.random.default_rng(1), 0
    for first, second in zip(generator.binomial(80, 0.9, DRAWS), generator.binomial(50, 0.75, DRAWS), strict=True):
        interval = difference_of_independent(wilson(int(first), 80), wilson(int(second), 50))
        held += interval.low <= 0.15 <= interval.high
    assert held / DRAWS == pytest.approx(0.95, abs=SLACK)


@pytest.mark.parametrize(("groups", "correlation"), [(300, 0.0), (60, 0.4)])
def test_equal_models_are_told_apart_in_at_most_one_of_twenty_draws(groups, correlation):
    generator, rejected, held, draws = np.random.default_rng(2), 0, 0, 500
    means = np.full(300, 0.8)
    for _ in range(draws):
        group = np.arange(300) * groups // 300
        a, b = (verdicts(means, groups=group, correlation=correlation, generator=generator) for _ in range(2))
        test = paired_difference(a, b, group)
        rejected += test.p_value <= 0.05
        held += test.difference.low <= 0 <= test.difference.high
    error = np.sqrt(0.05 * 0.95 / draws)
    assert rejected / draws <= 0.05 + 2 * error
    assert held / draws >= 0.95 - 3 * error


def test_a_real_difference_is_found():
    generator, rejected = np.random.default_rng(3), 0
    for _ in range(100):
        group = np.arange(600) // 3
        a = verdicts(np.full(600, 0.9), groups=group, correlation=0.3, generator=generator)
        b = verdicts(np.full(600, 0.8), groups=group, correlation=0.3, generator=generator)
        rejected += paired_difference(a, b, group).p_value <= 0.05
    assert rejected > 90
