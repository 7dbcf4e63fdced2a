import anndata
import numpy as np
import pytest

from scmichigan.datasets import screen
from scmichigan.metrics import additive, e_distance, mean_change_correlation, split_half


@pytest.fixture(scope="module")
def cells():
    return screen()


def _expected_counts(adata):
    """Means of the counts from nothing but the stored truths."""
    code = {key: adata.obs[key].cat.codes.to_numpy() for key in ("cell_type", "condition")}
    batch = adata.obs["batch"].cat.codes.to_numpy() if "batch" in adata.obs else np.zeros(adata.n_obs, dtype=int)
    angle = np.pi * adata.obs["pseudotime"].to_numpy()
    treated = adata.varm["treatment_effects"][:, code["condition"]]
    treated = treated + adata.varm["interaction_effects"][:, code["cell_type"], code["condition"]]
    log_rate = (
        adata.var["log_base"].to_numpy()[:, None]
        + adata.varm["cell_type_effects"][:, code["cell_type"]]
        + adata.varm["batch_effects"][:, batch]
        + adata.varm["pseudotime_effects"] @ np.stack([np.cos(angle), np.sin(angle)])
        + treated * adata.obs["response"].to_numpy()
    )
    rate = np.exp(log_rate.T)
    return rate / rate.sum(axis=1, keepdims=True) * adata.obs["expected_total"].to_numpy()[:, None]


def _log_normalised(adata):
    adata = adata.copy()
    counts = adata.X.toarray()
    adata.X = np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True))
    return adata


@pytest.mark.parametrize("n_batches", [1, 2])
def test_counts_are_negative_binomial_about_the_true_rates(n_batches):
    adata = screen(3000, 200, n_batches=n_batches, seed=1)
    mean, counts = _expected_counts(adata), adata.X.toarray()
    variance = mean + adata.uns["screen"]["dispersion"] * mean**2
    for group in adata.obs.groupby("condition", observed=True).indices.values():
        z = (counts[group] - mean[group]).sum(0) / np.sqrt(variance[group].sum(0))
        assert np.abs(z).max() < 5  # 200 genes, about normal: beyond 5 with probability 1e-4
        assert np.mean(z**2) == pytest.approx(1, abs=4 * np.sqrt(2 / 200))
    # squared residuals over their expectation average 1; over the Poisson's they are larger
    often = mean.mean(0) > 5
    squared = ((counts - mean) ** 2)[:, often]
    assert (squared / variance[:, often]).mean() == pytest.approx(1, abs=0.02)
    assert (squared / mean[:, often]).mean() > 1.5


def test_layout(cells):
    assert cells.shape == (3600, 600)
    assert cells.X.format == "csr"
    assert cells.X.dtype == np.float32
    assert np.array_equal(cells.X.data, np.round(cells.X.data))
    assert list(cells.obs["cell_type"].cat.categories) == ["type A", "type B", "type C"]
    assert list(cells.obs["condition"].cat.categories) == ["control", *(f"drug {j}" for j in range(1, 6))]
    assert (cells.obs.groupby(["cell_type", "condition"], observed=True).size() == 200).all()
    assert "batch" not in cells.obs
    assert cells.obs["pseudotime"].between(0, 1).all()
    np.testing.assert_array_equal(cells.obs["total_counts"], cells.X.sum(axis=1).A1)
    assert cells.obs["total_counts"].min() > 0
    assert cells.obs_names.is_unique
    assert not (np.diff(cells.obs["cell_type"].cat.codes) == 0).all()
    treated = cells.obs["condition"] != "control"
    assert cells.obs["response"][treated].between(0.5, 1).all()
    assert (cells.obs["response"][~treated] == 0).all()
    # log-normal totals with sd 0.3 on the log scale
    assert cells.obs["expected_total"].mean() == pytest.approx(2000, rel=4 * 0.31 / np.sqrt(3600))


def test_shapes_of_the_truths():
    adata = screen(100, 50, n_cell_types=4, n_treatments=3, n_batches=2)
    shapes = {key: value.shape for key, value in adata.varm.items()}
    assert shapes == {
        "cell_type_effects": (50, 4),
        "treatment_effects": (50, 3),
        "interaction_effects": (50, 4, 3),
        "batch_effects": (50, 2),
        "pseudotime_effects": (50, 2),
    }
    assert not adata.varm["treatment_effects"][:, 0].any()
    assert not adata.varm["interaction_effects"][:, :, 0].any()
    assert adata.varm["batch_effects"].all()
    assert not screen(100, 50).varm["batch_effects"].any()


def test_interaction_is_the_fraction_of_the_effects_variance():
    truth = screen(100, 5000, interaction=0.3, effect_scale=2).varm
    common = np.var(truth["treatment_effects"][:, 1:])
    specific = np.var(truth["interaction_effects"][:, :, 1:])
    assert specific / (common + specific) == pytest.approx(0.3, abs=0.02)
    # 15% of genes with a standard deviation of 2
    assert common + specific == pytest.approx(0.15 * 4, rel=0.05)
    assert not screen(100, 50, interaction=0).varm["interaction_effects"].any()


def test_genes_types_and_batches_are_those_of_the_splat_model():
    adata = screen(100, 20_000, n_batches=2)
    level = np.exp(adata.var["log_base"])
    # gamma of shape and rate 1: mean and variance 1; standard errors 1 / sqrt(n) and, the fourth central moment being 9,
    # sqrt(8 / n)
    assert level.mean() == pytest.approx(1, abs=4 / np.sqrt(20_000))
    assert level.var() == pytest.approx(1, abs=4 * np.sqrt(8 / 20_000))
    types, batches = adata.varm["cell_type_effects"], adata.varm["batch_effects"]
    changed = types[types != 0]
    assert changed.size / types.size == pytest.approx(0.2, abs=4 * np.sqrt(0.2 * 0.8 / types.size))
    assert changed.std() == pytest.approx(1, rel=4 / np.sqrt(2 * changed.size))
    assert np.mean(changed < 0) == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(changed.size))
    assert batches.std() == pytest.approx(0.2, rel=4 / np.sqrt(2 * batches.size))


def test_seeds():
    first, again, other = (screen(60, 30, seed=seed) for seed in (0, 0, 1))
    assert (first.X != again.X).nnz == 0
    assert first.obs.equals(again.obs)
    assert (first.X != other.X).nnz > 0
    larger = screen(600, 30, mean_total=100, seed=0)
    for key in first.varm:
        np.testing.assert_array_equal(first.varm[key], larger.varm[key])


def test_no_cell_is_empty():
    assert screen(500, 20, mean_total=1).obs["total_counts"].min() > 0


def test_effects_are_strong_and_nearly_additive(cells):
    adata = _log_normalised(cells)

    def of(cell_type, condition):
        return adata[(adata.obs["cell_type"] == cell_type) & (adata.obs["condition"] == condition)].X

    for drug in ("drug 1", "drug 5"):
        control, real = of("type A", "control"), of("type A", drug)
        others = [(of(cell_type, "control"), of(cell_type, drug)) for cell_type in ("type B", "type C")]
        ceiling = e_distance(*split_half(real), basis=adata)
        assert e_distance(real, control, basis=adata) > 4 * ceiling
        predicted = additive(control, others)
        assert e_distance(real, predicted, basis=adata) < 0.3 * e_distance(real, control, basis=adata)
        assert 0.7 < mean_change_correlation(real, predicted, control) < 0.95


def test_it_can_be_written_and_read(tmp_path):
    adata = screen(60, 30, n_batches=2)
    adata.write_h5ad(tmp_path / "screen.h5ad")
    read = anndata.read_h5ad(tmp_path / "screen.h5ad")
    np.testing.assert_array_equal(read.varm["interaction_effects"], adata.varm["interaction_effects"])
    assert read.uns["screen"]["n_batches"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_cells": 17}, "n_cells is 17, fewer than the 18 combinations"),
        ({"n_genes": 0}, "n_genes is 0: give 1 or more"),
        ({"n_cell_types": 0}, "n_cell_types is 0"),
        ({"n_cell_types": 27}, "n_cell_types is 27: types are named by letter, give 26 or fewer"),
        ({"n_cells": 60.0}, "n_cells is 60.0: give a whole number"),
        ({"n_cells": None}, "n_cells is None: give a whole number"),
        ({"mean_total": "a"}, "mean_total is a: give a finite value"),
        ({"n_treatments": 0}, "n_treatments is 0"),
        ({"n_batches": 0}, "n_batches is 0"),
        ({"effect_scale": -1}, "effect_scale is -1"),
        ({"interaction": 1.5}, "interaction is 1.5: it is a share, give a value from 0 to 1"),
        ({"mean_total": float("nan")}, "mean_total is nan"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        screen(**arguments)
