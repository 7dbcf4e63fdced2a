import numpy as np
import pytest
from scipy import stats


@pytest.fixture(scope="session")
def assert_same_means():
    """Compare means of many statistics over two sets of runs, by t tests at 0.001 for all of them together.

    Under the hypothesis that both simulators do the same, their runs have one variance, which is pooled.
    """

    def check(ours_sq: np.ndarray, real_sq: np.ndarray) -> None:
        n, m = len(ours_sq), len(real_sq)
        pooled = ((n - 1) * ours_sq.var(axis=0, ddof=1) + (m - 1) * real_sq.var(axis=0, ddof=1)) / (n + m - 2)
        allowed = stats.t.isf(0.0005 / ours_sq.shape[1], n + m - 2) * np.sqrt(pooled * (1 / n + 1 / m))
        # The original's numbers are rounded to seven digits.
        allowed += 1e-6 * np.abs(real_sq).max(axis=0) + 1e-12
        beyond = np.abs(ours_sq.mean(axis=0) - real_sq.mean(axis=0)) > allowed
        assert not beyond.any(), (np.flatnonzero(beyond), ours_sq.mean(axis=0)[beyond], real_sq.mean(axis=0)[beyond])

    return check
