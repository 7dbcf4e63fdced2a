import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from scmichigan import metrics
from scmichigan.metrics import (
    _discrimination,
    _moments,
    _predictability,
    cross_correlation_agreement,
    delta_entropy,
    discrimination_rank,
    disentanglement,
    generator_disentanglement,
    prediction,
    realism,
    registry,
)

ROWS = list(registry().index)


@pytest.mark.parametrize("row", ROWS, ids=" - ".join)
def test_rows_name_public_functions_and_consistent_ranges(row):
    info = registry().loc[row]
    assert info["function"] in metrics.__all__
    assert callable(getattr(metrics, info["function"]))
    assert info["low"] < info["high"]
    assert np.isnan(info["best"]) or info["low"] <= info["best"] <= info["high"]
    assert info["source"]


def test_the_registry_is_a_copy():
    table = registry()
    table["best"] = 7
    assert (registry()["best"] != 7).all()


def _latents():
    """Two factors on a full grid, so that neither cells nor posteriors make them depend on each other."""
    grid = np.stack(np.meshgrid(np.linspace(0, 1, 16), np.linspace(0, 1, 16)), axis=-1).reshape(-1, 2)
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(len(grid), 1)) + rng.normal(0, 0.01, grid.shape)
    obsm = {"perfect": grid, "useless": noise}
    return grid, obsm | {f"{key}_var": np.full_like(grid, 0.01**2) for key in obsm}


def _disentanglement():
    grid, obsm = _latents()
    adata = AnnData(np.ones((len(grid), 1)), obs=pd.DataFrame(grid, columns=["a", "b"]).rename(str), obsm=obsm)
    names = ["perfect", "useless"]
    adata.obsm.update({f"{name}, no variances": obsm[name] for name in names})
    table = disentanglement(adata, keys=["a", "b"], latent_key=[*names, *(f"{name}, no variances" for name in names)])
    for name in names:
        table[name] = table[name].fillna(table[f"{name}, no variances"])
    return table


def _generator_disentanglement():
    grid, obsm = _latents()
    real = AnnData(grid @ np.array([[3.0, 0, 1], [0, 3, 1]]), obs=pd.DataFrame(grid, columns=["a", "b"]).rename(str))
    generated = AnnData(real.X, obsm=obsm)
    tables = [
        generator_disentanglement(real, generated, keys=["a", "b"], latent_key=key) for key in ("perfect", "useless")
    ]
    return tables[0].assign(useless=tables[1]["useless"])


def _cells(rng, n_cells=300):
    """Three types in unequal genes with zeros, which two of them share a programme of."""
    types = np.arange(n_cells) % 3
    programme = rng.normal(size=(n_cells, 1)) * np.array([1, -1, 1, 1, 0, 0, 0, 0])
    centres = np.array([[4.0, 0, 0, 1, 2, 0, 1, 3], [0, 4, 0, 1, 0, 2, 1, 2], [0, 0, 4, 2, 1, 1, 0, 0]])
    cells = np.maximum(0, centres[types] + programme + rng.normal(0, 0.5, (n_cells, 8)))
    return cells, np.array(list("abc"))[types]


def _realism():
    rng = np.random.default_rng(0)
    (real, _), (held_out, labels), (perfect, _) = (_cells(rng) for _ in range(3))
    useless = 3 - real.mean(axis=0) + rng.normal(0, 0.1, real.shape)
    columns = {}
    for name, generated in (("perfect", perfect), ("useless", useless)):
        table = realism(
            AnnData(real),
            AnnData(generated),
            held_out=AnnData(held_out, obs=pd.DataFrame({"type": labels}).rename(str)),
            labels_key="type",
            n_trees=20,
        )
        columns |= {name: table["generated"], "best": table["best"]}
    return pd.DataFrame(columns)


def _prediction():
    rng = np.random.default_rng(0)
    # 100 genes change in either, a third of them in both by chance
    effect, other = (rng.permutation(np.repeat([0, -3, 3], [200, 50, 50])) for _ in range(2))
    scale = np.tile([1, 2], 150)
    control, real, perfect = (rng.normal(shift, scale, (400, 300)) for shift in (0, effect, effect))
    useless = rng.normal(other, 3 - scale, (400, 300))
    table = prediction(real, perfect, control, others={"useless": useless}, basis=control, n_trees=20).rename(
        columns={"predicted": "perfect"}
    )
    rank = {
        name: discrimination_rank({"t": real, "s": useless}, {"t": cells}).iloc[0]
        for name, cells in (("perfect", perfect), ("useless", useless))
    }
    return pd.concat([table[["perfect", "useless", "best"]], pd.DataFrame(rank | {"best": 1}, ["discrimination rank"])])


def _latent_arithmetic():
    rng = np.random.default_rng(0)
    mean = rng.normal(size=(300, 2))
    real, perfect = mean[:100], mean[100:200]
    values = {
        name: delta_entropy(real, z, mean=mean, var=np.full_like(mean, 0.1))
        for name, z in (("perfect", perfect), ("useless", perfect + 5))
    }
    return pd.DataFrame(values | {"best": 0.0}, ["delta entropy"])


def _modalities():
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(3, 12))
    (real, seen, made) = (rng.normal(size=(2000, 3)) @ mixing for _ in range(3))
    apart = np.hstack([made[:, :8], rng.permutation(made[:, 8:])])
    values = {
        name: cross_correlation_agreement((real[:, :8], real[:, 8:]), (x[:, :8], x[:, 8:]))
        for name, x in (("perfect", seen), ("useless", apart))
    }
    return pd.DataFrame(values | {"best": 1.0}, ["correlations across modalities"])


TOYS = {
    "disentanglement": _disentanglement,
    "generator disentanglement": _generator_disentanglement,
    "realism": _realism,
    "prediction": _prediction,
    "modalities": _modalities,
    "latent arithmetic": _latent_arithmetic,
}


@pytest.fixture(scope="module")
def tables():
    return {question: make() for question, make in TOYS.items()}


@pytest.mark.parametrize("question", TOYS)
def test_tables_have_registered_rows_only_and_all_of_them(tables, question):
    assert sorted(tables[question].index) == sorted(registry().loc[question].index)


@pytest.mark.parametrize("row", ROWS, ids=" - ".join)
def test_perfect_is_near_the_best_and_useless_is_not(tables, row):
    question, metric = row
    perfect, useless, best = tables[question].loc[metric, ["perfect", "useless", "best"]]
    low, high = registry().loc[row, ["low", "high"]]
    # Sampling noise of hundreds of cells is below a tenth of all bounded ranges, and of what separates the two.
    assert abs(perfect - best) < 0.25 * abs(useless - best)
    if np.isfinite(high - low):
        assert abs(perfect - best) < 0.1 * (high - low)


def test_a_metric_is_computed_once_for_all_rows_that_need_it(monkeypatch):
    """Trees, forests and agreement of genes give several rows each."""
    calls = []
    for file, name in ((_predictability, "dci"), (_discrimination, "discriminate"), (_moments, "gene_agreement")):
        whole = getattr(file, name)
        monkeypatch.setattr(
            file, name, lambda *args, _name=name, _whole=whole, **kwargs: calls.append(_name) or _whole(*args, **kwargs)
        )
    cells, _ = _cells(np.random.default_rng(0), 150)
    realism(AnnData(cells), AnnData(cells + 0.1), n_trees=3)
    assert sorted(calls) == ["discriminate"] * 4 + ["gene_agreement"] * 2  # 2 columns; forests in 2 spaces
    calls.clear()
    obs = pd.DataFrame(np.random.default_rng(0).integers(2, size=(60, 2)), columns=["a", "b"]).rename(str)
    disentanglement(AnnData(cells[:60], obs=obs, obsm={"Z": cells[:60, :2]}), keys=["a", "b"], latent_key="Z")
    assert calls == ["dci"] * 2  # the latent and chance
