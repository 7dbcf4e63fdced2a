import matplotlib as mpl
import numpy as np
import pytest

from scmichigan import pl

mpl.use("agg")

OTHERS = np.array([0.1, 0.2, 0.05, 0.3, 0.0])
ENTROPY = np.array([0.0, 1.0, 2.0, 3.0, 5.0])


def _points(ax):
    return [np.asarray(collection.get_offsets()) for collection in ax.collections]


def test_gains_stand_beside_delta_h_and_errors_beside_errors():
    gain = 0.2 - 0.03 * ENTROPY
    hidden = [False, False, True, False, True]
    fig = pl.prediction_gain(OTHERS + gain, OTHERS, ENTROPY, hidden=hidden, show=False)
    on_errors, on_entropy = fig.axes
    seen, stars = _points(on_errors)
    np.testing.assert_allclose(stars, np.column_stack([OTHERS, OTHERS + gain])[hidden])
    np.testing.assert_allclose(np.vstack(_points(on_entropy)), np.column_stack([ENTROPY, gain])[[0, 1, 3, 2, 4]])
    assert len(seen) == 3
    assert [text.get_text() for text in on_errors.get_legend().get_texts()] == ["seen", "hidden"]
    # All five differ to one side: one of the 2^5 equally likely signs. The gain is a line that falls.
    assert on_errors.get_title() == f"random forest, one-sided p = {1 / 32:.2g}"
    assert on_entropy.get_title() == "gain, r = -1.00"
    assert (on_errors.get_xlabel(), on_errors.get_ylabel()) == ("error, beta-TCVAE", "error, MichiGAN")


def test_what_is_not_defined_is_not_claimed():
    fig = pl.prediction_gain(OTHERS, OTHERS, ENTROPY, names=("a", "b"), show=False)
    assert [ax.get_title() for ax in fig.axes] == ["random forest", "gain"]
    assert fig.axes[0].get_legend() is None
    assert fig.axes[1].get_ylabel() == "error, a - b"


def test_other_numbers_of_values_are_refused():
    with pytest.raises(ValueError, match="have shapes .*: give a value for each"):
        pl.prediction_gain(OTHERS, OTHERS[:3], ENTROPY, show=False)
