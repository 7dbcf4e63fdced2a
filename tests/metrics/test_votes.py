import numpy as np
import pandas as pd
import pytest

from scmichigan.metrics import beta_vae_score, factor_vae_score

FEW = {factor_vae_score: {"n_votes": 2000}, beta_vae_score: {"n_points": 1000}}
N_TEST = {factor_vae_score: 400, beta_vae_score: 200}


def error(score, accuracy):
    """Four standard errors of an accuracy."""
    return 4 * np.sqrt(accuracy * (1 - accuracy) / N_TEST[score])


def frame(truth):
    return pd.DataFrame(truth, columns=[f"f{i}" for i in range(truth.shape[1])])


@pytest.fixture(scope="module")
def truth():
    return np.random.default_rng(0).integers(4, size=(1500, 3))


both = pytest.mark.parametrize("score", FEW)


@both
def test_a_latent_for_each_factor_is_perfect_on_any_scale(score, truth):
    code = truth * [1e-4, -1.0, 1e4] + [0, 100, 0]
    assert score(code, frame(truth), **FEW[score]) == 1
    assert score(np.hstack([code, code, np.full((1500, 1), 0.1)]), frame(truth), **FEW[score]) == 1


@both
def test_noise_scores_as_a_guess(score, truth):
    noise = np.random.default_rng(1).normal(size=(1500, 4))
    assert score(noise, frame(truth), **FEW[score]) == pytest.approx(1 / 3, abs=error(score, 1 / 3))


@both
def test_constant_latents_score_as_a_guess(score, truth):
    assert score(np.full((1500, 4), 0.1), frame(truth), **FEW[score]) == 1 / 3


@both
def test_at_45_degrees_two_factors_look_alike(score, truth):
    a, b = truth[:, 0] + 0.0, truth[:, 1]
    rotated = np.column_stack([a + b, a - b])
    assert score(rotated, frame(truth[:, :2]), **FEW[score]) == pytest.approx(0.5, abs=error(score, 0.5))


@both
def test_a_missing_factor_is_seen_by_the_votes_alone(score, truth):
    """Kim and Mnih 2018, section 4: the third factor is the one whose pairs differ in both latents."""
    expected = {factor_vae_score: 2 / 3, beta_vae_score: 1}[score]
    found = score(truth[:, :2] + 0.0, frame(truth), **FEW[score])
    assert found == pytest.approx(expected, abs=error(score, expected))


def test_votes_of_all_cells_agree_with_enumeration():
    """With no more cells to a value than to a vote, each value has its vote."""
    rng = np.random.default_rng(2)
    table = pd.DataFrame({"a": rng.integers(4, size=36), "b": rng.integers(6, size=36), "c": rng.integers(2, size=36)})
    mean = rng.normal(size=(36, 3)) + table[["a", "c", "c"]].to_numpy() / 2
    votes = np.zeros((3, 3))
    for f, name in enumerate(table):
        for cells in table.groupby(name).indices.values():
            votes[(mean[cells].var(0) / mean.var(0)).argmin(), f] += len(cells) / 36 / 3
    expected = votes.max(axis=1).sum()
    assert 0.4 < expected < 0.9
    found = factor_vae_score(mean, table, n_votes=10_000)
    # Four standard errors of 2,000 test votes.
    assert found == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / 2000))


@both
def test_missing_and_single_values_are_not_drawn(score, truth):
    table = frame(truth).astype({"f0": object})
    code = truth + 0.0
    table.loc[:99, "f0"] = None
    table.loc[100, "f0"] = "alone"
    code[:101, 0] = 1e3 * np.arange(101)
    assert score(code, table, **FEW[score]) > 0.99


@both
def test_the_seed_decides(score, truth):
    code = truth + np.random.default_rng(3).normal(size=truth.shape) * 2
    first, same, other = (score(code, frame(truth), seed=seed, **FEW[score]) for seed in (0, 0, 1))
    assert first == same != other


@both
def test_a_single_factor_is_no_question(score, truth):
    with pytest.raises(ValueError, match="factors has 1 columns; give 2 or more"):
        score(truth, frame(truth[:, :1]))


@both
def test_values_of_one_cell_each_are_refused(score):
    table = pd.DataFrame({"a": list("xxxxxy"), "b": [0, 1] * 3})
    with pytest.raises(ValueError, match="'a' has 1 different value that at least 2 cells have"):
        score(np.eye(6), table)


@pytest.mark.parametrize(
    ("score", "option"),
    [
        (factor_vae_score, {"n_votes": 1}),
        (factor_vae_score, {"n_cells_per_vote": 1}),
        (beta_vae_score, {"n_points": 1}),
        (beta_vae_score, {"n_pairs_per_point": 0}),
    ],
)
def test_too_few_draws_are_refused(score, option, truth):
    with pytest.raises(ValueError, match=f"{next(iter(option))} is"):
        score(truth, frame(truth), **option)
