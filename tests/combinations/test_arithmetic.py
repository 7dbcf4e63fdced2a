from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from scmichigan.combinations._arithmetic import (
    choose_key,
    find_references,
    involved_combinations,
    observed_combinations,
    plan_arithmetic,
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
    involved = involved_combinations(find_references(groups, KEYS, ("B", "y"), "type"), ("B", "y"))
    assert involved == [tuple(labels) for labels in ("Ax", "Ay", "Az", "Bx", "Bz", "Cy", "Cz")]
    along_drug = find_references(groups, KEYS, ("B", "y"), "drug")[:1]
    assert involved_combinations(along_drug, ("B", "y")) == [("A", "x"), ("A", "y"), ("B", "x")]


def test_chosen_key_makes_the_smallest_difference():
    groups = {tuple(pair): np.array([i]) for i, pair in enumerate(["Ax", "Ay", "Az", "Bx", "Bz"])}
    # y - x in A; B - A in x and z, one squared difference of which is larger and one smaller
    means = {("A", "x"): [0, 0], ("A", "y"): [3, 0], ("A", "z"): [0, 1], ("B", "x"): [0, 5], ("B", "z"): [0, 1]}
    means = {labels: np.array(mean, dtype=float) for labels, mean in means.items()}
    # drug: 9 and 10 (y - z); type: 25 and 0
    usable = {key: find_references(groups, KEYS, ("B", "y"), key) for key in KEYS}
    assert choose_key(usable, ("B", "y"), lambda c: (means[c], 0.0)) == "drug"
    means["A", "y"] = np.array([6.0, 0])
    assert choose_key(usable, ("B", "y"), lambda c: (means[c], 0.0)) == "type"
    assert choose_key(usable, ("B", "y"), lambda c: (np.zeros(2), 0.0)) == "type"
    flipped = {key: usable[key] for key in KEYS[::-1]}
    assert choose_key(flipped, ("B", "y"), lambda c: (np.zeros(2), 0.0)) == "drug"


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


def _plan(latent, groups, keys, target, reference, weights="equal"):
    key = next(k for k, ours, theirs in zip(keys, target, reference.labels, strict=True) if ours != theirs)
    return plan_arithmetic(
        groups,
        keys,
        target,
        lambda c: (latent[groups[c]].mean(axis=0), 0.0),
        along=key,
        references=[reference.labels[keys.index(key)]],
        weights=weights,
    )


def _shift(latent, groups, keys, target, reference, weights="equal"):
    plan = _plan(latent, groups, keys, target, reference, weights)
    (shift,) = plan.shifts(latent, groups)
    np.testing.assert_allclose(plan.targets[0] - latent[reference.rows].mean(axis=0), shift)
    return shift


def test_shift_of_two_keys():
    groups = {("A", "x"): [0, 1], ("A", "y"): [2], ("C", "x"): [3], ("C", "y"): [4, 5], ("B", "x"): [6]}
    groups = {labels: np.array(rows) for labels, rows in groups.items()}
    latent = np.array([[0.0, 1], [2, 3], [5, 5], [1, 1], [4, 1], [6, 3], [100, 100]])
    # A: (5, 5) - (1, 2) = (4, 3);  C: (5, 2) - (1, 1) = (4, 1)
    (reference,) = find_references(groups, KEYS, ("B", "y"), "drug")
    np.testing.assert_allclose(_shift(latent, groups, KEYS, ("B", "y"), reference), [4, 2])
    np.testing.assert_allclose(_shift(latent, groups, KEYS, ("B", "y"), reference, {"A": 3, "C": 1}), [4, 2.5])
    np.testing.assert_allclose(_shift(latent, groups, KEYS, ("B", "y"), reference, {"C": 5}), [4, 1])
    # contexts count once each, whatever their numbers of cells
    without_c = {labels: rows for labels, rows in groups.items() if labels[0] != "C"}
    np.testing.assert_allclose(_shift(latent, without_c, KEYS, ("B", "y"), reference), [4, 3])


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"D": 1}, r"weights has \['D'\], which are no contexts of these references; choose from \['A', 'C'\]"),
        ({}, r"weights are \{\}; give finite ones of 0 or more, and not only 0 for the contexts \['A', 'C'\]"),
        ({"A": 0, "C": 0}, "not only 0"),
        ({"A": -1, "C": 2}, "finite ones of 0 or more"),
        ({"A": np.nan}, "finite ones of 0 or more"),
    ],
)
def test_weights_that_are_none_of_contexts(weights, message):
    groups = {tuple(pair): np.array([i]) for i, pair in enumerate(["Ax", "Ay", "Cx", "Cy", "Bx"])}
    (reference,) = find_references(groups, KEYS, ("B", "y"), "drug")
    with pytest.raises(ValueError, match=message):
        _plan(np.zeros((5, 2)), groups, KEYS, ("B", "y"), reference, weights)


def test_partners_have_the_label_and_a_weight():
    groups = {tuple(pair): np.array([i]) for i, pair in enumerate(["Ax", "Ay", "Cx", "Cy", "Bx"])}
    (reference,) = find_references(groups, KEYS, ("B", "y"), "drug")
    plan = _plan(np.zeros((5, 2)), groups, KEYS, ("B", "y"), reference, {"A": 1, "C": 3})
    pools, proportions = plan.partners(0)
    assert {plan.combinations[pool]: part for pool, part in zip(pools, proportions, strict=True)} == {
        ("A", "y"): 0.25,
        ("C", "y"): 0.75,
    }
    alone = replace(plan, weights=np.array([[-0.1, 0, 1.2, 0.1, -0.2]]))
    assert plan.combinations == (("A", "x"), ("A", "y"), ("B", "x"), ("C", "x"), ("C", "y"))
    pools, proportions = alone.partners(0)
    assert [plan.combinations[pool] for pool in pools] == [("B", "x")]


def test_shift_along_the_first_key():
    groups = {("A", "x"): [0], ("B", "x"): [1], ("A", "z"): [2], ("B", "z"): [3], ("A", "y"): [4]}
    groups = {labels: np.array(rows) for labels, rows in groups.items()}
    latent = np.array([[1.0], [4], [0], [7], [50]])
    (reference,) = find_references(groups, KEYS, ("B", "y"), "type")
    assert reference.labels == ("A", "y")
    # x: 4 - 1 = 3; z: 7 - 0 = 7
    assert _shift(latent, groups, KEYS, ("B", "y"), reference) == pytest.approx([5])


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
        np.testing.assert_allclose(_shift(latent, groups, keys, target, reference), [shift])
        one = {sorted(contexts)[0]: 1.0}
        assert np.isfinite(_shift(latent, groups, keys, target, reference, one)).all()
    del groups["A", "y", "1"], groups["B", "x", "1"]
    # type: x2; drug: A2; dose: Ax (and not Ay, whose other dose is gone)
    assert {k: len(find_references(groups, keys, target, k)[0].contexts) for k in keys} == {
        "type": 1,
        "drug": 1,
        "dose": 1,
    }
