import numpy as np
import pandas as pd
import pytest

from scmichigan.model._arithmetic import (
    Reference,
    choose_key,
    find_references,
    latent_shift,
    observed_combinations,
    rectify_keeping_means,
    round_on_log_scale,
)

KEYS = ["type", "drug"]


def _obs(rows, keys=KEYS, **columns):
    return pd.DataFrame(rows, columns=keys, **columns)


def _lists(groups):
    return {labels: list(rows) for labels, rows in groups.items()}


@pytest.mark.parametrize("dtype", [object, "category", "string"])
def test_observed_combinations(dtype):
    obs = _obs([("B", "x"), ("A", "x"), ("A", None), ("B", "x"), (None, "y"), ("A", "y")]).astype(dtype)
    expected = {("A", "x"): [1], ("A", "y"): [5], ("B", "x"): [0, 3]}
    assert _lists(observed_combinations(obs, KEYS)) == expected


def test_observed_combinations_of_categories_without_cells():
    obs = _obs([("A", "x"), ("B", "y")])
    obs["type"] = pd.Categorical(obs["type"], categories=["C", "B", "A"])
    assert _lists(observed_combinations(obs, KEYS)) == {("A", "x"): [0], ("B", "y"): [1]}


def test_observed_combinations_of_numbers_and_other_columns():
    obs = _obs([(1, 0.5), (2, 0.5), (1, np.nan)]).assign(other=[None, 1, 2])
    assert _lists(observed_combinations(obs, KEYS)) == {(1, 0.5): [0], (2, 0.5): [1]}


def _groups(*labels):
    return {pair: np.array([i]) for i, pair in enumerate(labels)}


def test_references_of_two_keys():
    # type   x  y  z
    # A      +  +  +
    # B      +  .  +     target: (B, y)
    # C      .  +  +
    groups = _groups("Ax", "Ay", "Az", "Bx", "Bz", "Cy", "Cz")
    groups = {tuple(labels): rows for labels, rows in groups.items()}
    along_drug = {r.labels: r.contexts for r in find_references(groups, KEYS, ("B", "y"), "drug")}
    assert along_drug == {("B", "x"): (("A",),), ("B", "z"): (("A",), ("C",))}
    along_type = {r.labels: r.contexts for r in find_references(groups, KEYS, ("B", "y"), "type")}
    # B and A share x and z; B and C share z
    assert along_type == {("A", "y"): (("x",), ("z",)), ("C", "y"): (("z",),)}
    assert choose_key(groups, KEYS, ("B", "y")) == "type"  # 2 contexts each: the first of the keys


def test_chosen_key_has_more_contexts():
    # three drugs and one other type: the change of type can be averaged over two drugs, that of drug over one type
    groups = {tuple(pair): np.array([i]) for i, pair in enumerate(["Ax", "Ay", "Az", "Bx", "Bz"])}
    assert choose_key(groups, KEYS, ("B", "y")) == "type"
    flipped = {pair[::-1]: rows for pair, rows in groups.items()}
    assert choose_key(flipped, ["drug", "type"], ("y", "B")) == "type"


def test_the_target_is_no_reference_and_no_context():
    groups = {tuple(pair): np.array([i]) for i, pair in enumerate(["Ax", "Ay", "Bx", "By"])}
    (reference,) = find_references(groups, KEYS, ("B", "y"), "drug")
    assert reference.labels == ("B", "x")
    assert reference.contexts == (("A",),)


def test_no_reference():
    groups = {tuple(pair): np.array([i]) for i, pair in enumerate(["Ax", "By"])}
    for key in KEYS:
        assert find_references(groups, KEYS, ("A", "y"), key) == []
    groups = {tuple(pair): np.array([i]) for i, pair in enumerate(["Ax", "Ay", "Bz"])}
    assert find_references(groups, KEYS, ("B", "y"), "type") == []


def test_shift_of_two_keys():
    groups = {("A", "x"): [0, 1], ("A", "y"): [2], ("C", "x"): [3], ("C", "y"): [4, 5], ("B", "x"): [6]}
    groups = {labels: np.array(rows) for labels, rows in groups.items()}
    latent = np.array([[0.0, 1], [2, 3], [5, 5], [1, 1], [4, 1], [6, 3], [100, 100]])
    # A: (5, 5) - (1, 2) = (4, 3);  C: (5, 2) - (1, 1) = (4, 1)
    (reference,) = find_references(groups, KEYS, ("B", "y"), "drug")
    shift = latent_shift(latent, groups, KEYS, target=("B", "y"), reference=reference)
    np.testing.assert_array_equal(shift, [4, 2])
    # contexts count once each, whatever their numbers of cells
    one = Reference(("B", "x"), groups["B", "x"], (("A",),))
    np.testing.assert_array_equal(latent_shift(latent, groups, KEYS, target=("B", "y"), reference=one), [4, 3])


def test_shift_along_the_first_key():
    groups = {("A", "x"): [0], ("B", "x"): [1], ("A", "z"): [2], ("B", "z"): [3], ("A", "y"): [4]}
    groups = {labels: np.array(rows) for labels, rows in groups.items()}
    latent = np.array([[1.0], [4], [0], [7], [50]])
    (reference,) = find_references(groups, KEYS, ("B", "y"), "type")
    assert reference.labels == ("A", "y")
    # x: 4 - 1 = 3; z: 7 - 0 = 7
    assert latent_shift(latent, groups, KEYS, target=("B", "y"), reference=reference) == pytest.approx([5])


def test_three_keys():
    keys = ["type", "drug", "dose"]
    labels = ["Ax1", "Ax2", "Ay1", "Ay2", "Bx1", "Bx2", "By1"]
    groups = {tuple(text): np.array([i]) for i, text in enumerate(labels)}
    latent = np.array([0.0, 1, 10, 13, 100, 101, 110])[:, None]
    target = ("B", "y", "2")
    expected = {
        # reference, contexts in the other keys, shift
        "type": (("A", "y", "2"), {("x", "1"), ("x", "2"), ("y", "1")}, (100 + 100 + 100) / 3),
        "drug": (("B", "x", "2"), {("A", "1"), ("A", "2"), ("B", "1")}, (10 + 12 + 10) / 3),
        "dose": (("B", "y", "1"), {("A", "x"), ("A", "y"), ("B", "x")}, (1 + 3 + 1) / 3),
    }
    for key, (start, contexts, shift) in expected.items():
        (reference,) = find_references(groups, keys, target, key)
        assert reference.labels == start
        assert set(reference.contexts) == contexts
        found = latent_shift(latent, groups, keys, target=target, reference=reference)
        np.testing.assert_allclose(found, [shift])
    assert choose_key(groups, keys, target) == "type"
    del groups["A", "y", "1"], groups["B", "x", "1"]
    # type: x2; drug: A2; dose: Ax (and not Ay, whose other dose is gone)
    assert {k: len(find_references(groups, keys, target, k)[0].contexts) for k in keys} == {
        "type": 1,
        "drug": 1,
        "dose": 1,
    }


def test_rectification_removes_negative_values_and_keeps_means():
    rng = np.random.default_rng(0)
    x = rng.normal(loc=[-2.0, -0.1, 0.1, 1.0, 8.0], size=(500, 5))
    rectified = rectify_keeping_means(x)
    assert rectified.min() >= 0
    np.testing.assert_allclose(rectified.mean(0), np.maximum(x.mean(0), 0), atol=1e-6)
    np.testing.assert_allclose(rectified[:, 4], x[:, 4], atol=1e-6)
    # One offset for all cells of a gene: differences between cells that stay positive are untouched.
    kept = (rectified[:, 2] > 0) & (x[:, 2] > 0)
    assert np.ptp((x - rectified)[kept, 2]) < 1e-12


def test_rectification_of_expression_that_is_nowhere_negative_changes_nothing():
    x = np.random.default_rng(1).random((20, 4), dtype=np.float32)
    np.testing.assert_allclose(rectify_keeping_means(x), x, atol=1e-6)


def test_counts_keep_each_value_on_the_log_scale():
    rng = np.random.default_rng(0)
    n = 100_000
    for scale, value in ((5.0, 0.0), (5.0, 0.4), (0.5, 3.3), (2.0, 8.0)):
        counts = round_on_log_scale(np.full((n, 1), value, np.float32), np.full((n, 1), scale), rng)
        assert np.array_equal(counts, np.round(counts))
        assert counts.min() >= 0
        assert np.ptp(counts) <= 1
        logged = np.log1p(scale * counts)
        # One of two values: the standard error is at most half their distance over the root of n.
        assert abs(logged.mean() - value) <= 5 * np.ptp(logged) / 2 / np.sqrt(n) + 1e-6


def test_values_of_whole_counts_give_these_counts_back():
    rng = np.random.default_rng(0)
    counts = rng.poisson(3, (200, 30)) * rng.choice([1, 100], (200, 30))
    scale = rng.uniform(0.3, 30, (200, 1))
    x = np.log1p(scale * counts).astype(np.float32)
    # float32 keeps 24 bits, and at values near 10 a count of 1,000 moves by 1e-3 of one: chance decides as rarely.
    changed = round_on_log_scale(x, scale, rng) != counts
    assert changed.mean() < 5e-3
