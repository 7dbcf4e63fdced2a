"""Our values beside those of the field's libraries, where these are installed.

The package does not depend on them: pertpy brings JAX, numpyro, ott-jax, pyomo and arviz, cell-eval brings polars and
pyarrow, 970 MB in all beside our own dependencies.
"""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from scmichigan.metrics import discrimination_rank, e_distance, mean_change_correlation, mmd

# Other libraries warn of their own dependencies when imported.
pytestmark = pytest.mark.filterwarnings("ignore")

TARGETS = ["a", "b", "c", "d", "e"]


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    return rng.normal(size=(60, 8)), 0.5 + 1.5 * rng.normal(size=(90, 8))


@pytest.fixture
def screen():
    """Control, and predicted and real cells of five targets."""
    rng = np.random.default_rng(1)
    effects = rng.normal(size=(5, 12))
    control, *real = (rng.normal(effect, 1, (40, 12)) for effect in [np.zeros(12), *effects])
    predicted = [rng.normal(0.3 * effect, 1, (40, 12)) for effect in effects]
    return control, dict(zip(TARGETS, predicted, strict=True)), dict(zip(TARGETS, real, strict=True))


def test_e_distance_is_pertpys(pair):
    """Plain norms, no root, and each cell's zero distance to itself counts there too."""
    pertpy = pytest.importorskip("pertpy", exc_type=ImportError)
    assert e_distance(*pair) == pytest.approx(float(pertpy.tl.Distance("edistance")(*pair)))


def test_mmd_is_pertpys_with_a_gaussian_kernel(pair):
    """Its default is a linear kernel; with the Gaussian one, gamma is 1 / (2 bandwidth^2), and there is no root."""
    pertpy = pytest.importorskip("pertpy", exc_type=ImportError)
    theirs = pertpy.tl.Distance("mmd")(*pair, kernel="rbf", gamma=1 / (2 * 3.0**2))
    assert mmd(*pair, bandwidth=3) == pytest.approx(float(theirs))


@pytest.fixture
def evaluated(screen):
    types = pytest.importorskip("cell_eval._types", exc_type=ImportError)
    control, *sides = screen
    annotated = []
    for side in sides:
        groups = {"control": control} | side
        adata = AnnData(np.vstack(list(groups.values())))
        adata.obs["target"] = pd.Categorical(np.repeat(list(groups), 40))
        adata.var_names = [f"gene {g}" for g in range(adata.n_vars)]
        annotated.append(adata)
    return types.PerturbationAnndataPair(
        pred=annotated[0], real=annotated[1], pert_col="target", control_pert="control"
    )


def test_rank_is_cell_evals_rescaled(screen, evaluated):
    from cell_eval.metrics import discrimination_score

    theirs = discrimination_score(evaluated, metric="l2", exclude_target_gene=False)
    ours = discrimination_rank(screen[2], screen[1])
    assert 0 < ours.mean() < 1
    for target in TARGETS:
        # theirs counts rank / T and ends at 1 / T
        assert ours[target] == pytest.approx(1 - (1 - theirs[target]) * 5 / 4)


def test_correlation_of_changes_is_cell_evals(screen, evaluated):
    from cell_eval.metrics import pearson_delta

    control, predicted, real = screen
    for target, theirs in pearson_delta(evaluated).items():
        assert mean_change_correlation(real[target], predicted[target], control) == pytest.approx(theirs)
