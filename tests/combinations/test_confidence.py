import numpy as np
import pytest

from scmichigan.combinations import is_predictable
from scmichigan.combinations._arithmetic import plan_arithmetic
from scmichigan.combinations._confidence import error_rate, expected_error

KEYS = ["type", "drug"]


@pytest.fixture
def table_of_means():
    """Means of 3 types x 4 drugs without one of them, as many cells each, and no noise."""
    rng = np.random.default_rng(0)
    types, drugs = 3 * rng.normal(size=(3, 1, 30)), rng.normal(size=(1, 4, 30))
    means = types + drugs + 0.3 * rng.normal(size=(3, 4, 30))
    observed = {("ABC"[t], "wxyz"[d]): means[t, d] for t in range(3) for d in range(4) if (t, d) != (1, 2)}
    groups = {labels: np.arange(20) for labels in observed}
    return groups, lambda labels: (observed[labels], 0.0), means[1, 2]


def test_expected_error_is_the_typical_one_of_neighbours_at_their_distances(table_of_means):
    groups, mean_of, _ = table_of_means
    target = ("B", "y")
    rates = {labels: error_rate(groups, KEYS, labels, mean_of) for labels in groups}

    def harmonic(labels, others):
        # Along drug, whose labels differ less: types are the contexts.
        own, here = [c for c in others if c[0] == labels[0]], {}
        for context in {c[0] for c in others if (c[0], labels[1]) in others and c[0] != labels[0]}:
            both = [c for c in own if (context, c[1]) in others]
            here[context] = np.mean([np.sum((mean_of(c)[0] - mean_of((context, c[1]))[0]) ** 2) for c in both])
        return 1 / np.mean([1 / squared for squared in here.values()])

    by_hand = []
    for labels in groups:
        if (labels[0] == "B") != (labels[1] == "y"):
            others = {c: rows for c, rows in groups.items() if c != labels}
            plan = plan_arithmetic(others, KEYS, labels, mean_of)
            assert plan.key == "drug"
            squared = np.sum((plan.weights[0] @ plan.means - mean_of(labels)[0]) ** 2)
            by_hand.append(squared / harmonic(labels, others))
            assert rates[labels] == pytest.approx(by_hand[-1])
    assert len(by_hand) == 5
    plan = plan_arithmetic(groups, KEYS, target, mean_of)
    expected = np.sqrt(np.median(by_hand) * harmonic(target, groups))
    assert expected_error(plan, rates) == pytest.approx(expected)


def test_expected_error_is_as_large_as_the_real_one(table_of_means):
    # 50 tables of the same kind: particular effects of the same size everywhere, so that the errors of neighbours are
    # those of the target in distribution.
    ratio = []
    for seed in range(50):
        rng = np.random.default_rng(seed)
        means = 3 * rng.normal(size=(4, 1, 30)) + rng.normal(size=(1, 4, 30)) + 0.3 * rng.normal(size=(4, 4, 30))
        observed = {(t, d): means[t, d] for t in range(4) for d in range(4) if (t, d) != (1, 2)}
        groups, mean_of = {c: np.arange(20) for c in observed}, lambda c, observed=observed: (observed[c], 0.0)
        rates = {c: error_rate(groups, KEYS, c, mean_of) for c in groups}
        plan = plan_arithmetic(groups, KEYS, (1, 2), mean_of)
        ratio.append(np.linalg.norm(plan.target_mean - means[1, 2]) / expected_error(plan, rates))
    # Errors have 30 entries: their sizes spread by 1 / sqrt(60), the medians by as much; the mean of 50 by 0.026.
    assert np.mean(ratio) == pytest.approx(1, abs=0.1)


def test_nothing_is_expected_of_a_table_of_two_by_two():
    means = dict(zip([("A", "x"), ("A", "y"), ("B", "x")], np.eye(3), strict=True))
    groups, mean_of = dict.fromkeys(means, np.arange(20)), lambda labels: (means[labels], 0.0)
    rates = {labels: error_rate(groups, KEYS, labels, mean_of) for labels in groups}
    assert np.isnan(list(rates.values())).all()
    assert np.isnan(expected_error(plan_arithmetic(groups, KEYS, ("B", "y"), mean_of), rates))


def test_what_has_no_reference_cannot_be_predicted():
    groups = dict.fromkeys([("A", "x"), ("A", "y"), ("B", "x")], np.arange(20))
    assert is_predictable(groups, KEYS, ("B", "y"))
    assert is_predictable(groups, KEYS, ("A", "x")) is False  # its cells are no reference of their own
    assert not is_predictable(groups, KEYS, ("C", "x"))
