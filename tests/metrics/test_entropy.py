import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from scmichigan.metrics import _entropy, delta_entropy, latent_entropy


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_entropy_under_one_posterior_is_in_closed_form(rng):
    latent, mean, var = rng.normal(size=(50, 3)), rng.normal(size=3), rng.uniform(0.1, 2, 3)
    expected = -multivariate_normal(mean, np.diag(var)).logpdf(latent).mean()
    assert latent_entropy(latent, mean=[mean], var=[var]) == pytest.approx(expected)


def test_entropy_is_that_by_enumeration(rng):
    latent, mean, var = rng.normal(size=(7, 2)), rng.normal(size=(11, 2)), rng.uniform(0.1, 2, (11, 2))
    total = 0.0
    for z in latent:
        total += np.log(np.mean([norm.pdf(z, m, np.sqrt(v)).prod() for m, v in zip(mean, var, strict=True)]))
    assert latent_entropy(latent, mean=mean, var=var) == pytest.approx(-total / 7)


def test_entropy_under_posteriors_of_many_cells_is_that_of_the_convolution(rng):
    n, s, t, v = 3000, 1.3, 0.8, 0.5
    latent, mean = rng.normal(0, s, (n, 1)), rng.normal(0, t, (n, 1))
    total = t**2 + v
    expected = 0.5 * np.log(2 * np.pi * total) + s**2 / (2 * total)
    # The mean of z^2 / (2 total) over n draws has a standard deviation of s^2 / (total sqrt(2 n)) = 0.02, and the mixture
    # of n posteriors moves log q by a similar amount; 4 of their root sum of squares.
    assert latent_entropy(latent, mean=mean, var=np.full((n, 1), v)) == pytest.approx(expected, abs=0.1)


def test_latents_far_from_all_posteriors_have_a_finite_entropy():
    mean, var = np.zeros((5, 2)), np.full((5, 2), 1e-4)
    expected = np.log(2 * np.pi * 1e-4) + 100**2 / 1e-4  # 2 dimensions, each 100 away
    assert latent_entropy(np.full((1, 2), 100.0), mean=mean, var=var) == pytest.approx(expected)


def test_a_shift_of_the_latent_space_does_not_matter(rng):
    latent, mean, var = rng.normal(size=(20, 3)), rng.normal(size=(30, 3)), rng.uniform(1e-4, 2, (30, 3))
    # 1e6 leaves 1e-10 of a unit, or 1e-8 of the smallest standard deviation
    assert latent_entropy(latent + 1e6, mean=mean + 1e6, var=var) == pytest.approx(
        latent_entropy(latent, mean=mean, var=var), rel=1e-6
    )


def test_blocks_do_not_matter(monkeypatch, rng):
    latent, mean, var = rng.normal(size=(20, 3)), rng.normal(size=(30, 3)), rng.uniform(0.1, 2, (30, 3))
    whole = latent_entropy(latent, mean=mean, var=var)
    monkeypatch.setattr(_entropy, "_BLOCK_VALUES", 100)  # 3 latents at a time
    assert latent_entropy(latent, mean=mean, var=var) == pytest.approx(whole)


def test_delta_is_zero_for_a_perfect_and_large_for_a_far_prediction(rng):
    mean, var = rng.normal(size=(100, 3)), np.full((100, 3), 0.1)
    real = mean[:40]
    assert delta_entropy(real, real[::-1], mean=mean, var=var) == pytest.approx(0)
    assert delta_entropy(real, real + 10, mean=mean, var=var) > 100
    expected = latent_entropy(real * 2, mean=mean, var=var) - latent_entropy(real, mean=mean, var=var)
    assert delta_entropy(real, real * 2, mean=mean, var=var) == pytest.approx(expected)


def test_delta_of_the_densest_place_is_negative(rng):
    mean = rng.normal(size=(100, 3))
    assert delta_entropy(mean[:40], np.zeros((5, 3)), mean=mean, var=np.ones((100, 3))) < 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latent": np.ones(2)}, r"latent has shape \(2,\): give one or more rows of 2 values, as mean has"),
        ({"latent": np.ones((0, 2))}, r"latent has shape \(0, 2\)"),
        ({"latent": np.ones((3, 4))}, r"latent has shape \(3, 4\)"),
        ({"latent": np.full((3, 2), np.nan)}, "latent has 6 values that are NaN or infinite: leave those rows out"),
        (
            {"mean": np.ones((0, 2)), "var": np.ones((0, 2))},
            r"mean has shape \(0, 2\); give cells x latents, at least 1 cell",
        ),
        ({"mean": np.full((5, 2), np.inf)}, "mean is not finite everywhere"),
        ({"var": np.ones((5, 3))}, r"var has shape \(5, 3\), mean \(5, 2\); they must be the same"),
        ({"var": np.zeros((5, 2))}, "var must be finite and positive everywhere"),
    ],
)
def test_entropy_refuses(change, message):
    good = {"latent": np.ones((3, 2)), "mean": np.ones((5, 2)), "var": np.ones((5, 2))}
    with pytest.raises(ValueError, match=message):
        latent_entropy(**(good | change))


@pytest.mark.parametrize("side", ["predicted", "real"])
def test_delta_names_the_side_that_is_bad(side):
    sides = {"predicted": np.ones((3, 2)), "real": np.ones((3, 2))} | {side: np.ones((3, 1))}
    with pytest.raises(ValueError, match=rf"{side} has shape \(3, 1\)"):
        delta_entropy(**sides, mean=np.ones((5, 2)), var=np.ones((5, 2)))
