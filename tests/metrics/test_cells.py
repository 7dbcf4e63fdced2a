import subprocess
import sys
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

import scmichigan
from scmichigan._checks import check_obs_keys
from scmichigan.metrics import (
    additive,
    additive_weighted,
    change_slope,
    cross_correlation_agreement,
    de_direction,
    de_overlap,
    discrimination_rank,
    e_distance,
    frechet_distance,
    gene_agreement,
    gene_correlation_agreement,
    inception_score,
    infer_factors,
    mean_change_correlation,
    mmd,
    random_forest_error,
    split_half,
)


def _adata(names):
    return AnnData(np.ones((4, len(names)), dtype=np.float32), var=pd.DataFrame(index=names))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.ones((3, 4)), r"generated has 4 genes, real has 5: give both with the same genes"),
        (np.ones(5), r"generated has shape \(5,\): give at least one cell and one gene, as cells x genes"),
        (np.ones((0, 5)), r"generated has shape \(0, 5\)"),
        (np.full((3, 5), np.nan), r"generated has 15 values that are NaN or infinite: remove or replace them"),
        (sparse.csr_matrix([[np.inf, 0, 0, 0, 0]]), r"generated has 1 value that is NaN or infinite"),
        (np.full((3, 5), "a"), r"generated holds <U1 values: give real numbers"),
        (AnnData(obs=pd.DataFrame(index=["a"])), r"generated is an AnnData without X: put the expression"),
    ],
)
def test_unusable_cells_are_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        e_distance(np.ones((3, 5)), bad)


def test_gene_names_must_agree():
    first, second = _adata(["a", "b", "c"]), _adata(["a", "c", "b"])
    message = r"generated.var_names\[1\] is 'c', real.var_names\[1\] is 'b': .* as in generated\[:, real.var_names\]"
    with pytest.raises(ValueError, match=message):
        random_forest_error(first, second)
    assert e_distance(first, second[:, first.var_names]) == 0


def test_names_are_compared_between_annotated_cells_only():
    first, second = _adata(["a", "b", "c"]), _adata(["a", "c", "b"])
    array = np.ones((4, 3))
    assert e_distance(array, first) == 0
    with pytest.raises(ValueError, match=r"control.var_names\[1\]"):
        mean_change_correlation(array, first, second)


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix, AnnData])
def test_counts_beside_logarithms_are_refused(container):
    counts = np.array([[0.0, 3, 25], [1, 0, 9]])
    logged = np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True))
    message = (
        r"real holds counts \(integers up to 25\), generated log-normalised values \(fractions, up to 9.11\): bring both to one "
        r"scale, with model.get_observed_expression\(\) as real or in a layer of it, or with counts as generated"
    )
    with pytest.raises(ValueError, match=message):
        e_distance(container(counts), container(logged))
    with pytest.raises(ValueError, match="control holds counts .*, real log-normalised values"):
        mean_change_correlation(container(logged), container(logged), container(counts))
    with pytest.raises(ValueError, match="basis holds counts .*, real log-normalised values"):
        e_distance(container(logged), container(logged), basis=container(counts))
    # a generator's values may be negative
    with pytest.raises(ValueError, match="generated holds counts .*, real log-normalised values"):
        e_distance(container(logged - 1), container(counts))


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix, AnnData])
def test_values_that_were_not_logged_are_refused_beside_logarithms(container):
    counts = np.array([[0.0, 3, 25], [1, 0, 9]])
    normalised = 1e4 * counts / counts.sum(axis=1, keepdims=True)
    message = (
        r"real holds values up to 9000, more than a logarithm of expression can be, generated log-normalised values \(fractions, "
        r"up to 9.11\): bring both to one scale, with numpy.log1p of real, if it was normalised but not logged"
    )
    with pytest.raises(ValueError, match=message):
        e_distance(container(normalised), container(np.log1p(normalised)))
    with pytest.raises(ValueError, match="control holds values up to 9000, .*, real log-normalised values"):
        mean_change_correlation(*(container(each) for each in (np.log1p(normalised), np.log1p(normalised), normalised)))
    assert e_distance(container(normalised), container(0.9 * normalised)) > 0
    # of a Gaussian generator that has gone far off
    assert e_distance(container(normalised - 1), container(np.log1p(normalised))) > 0


def test_counts_are_compared_with_counts_and_what_is_predicted_from_them():
    counts = np.array([[0.0, 3, 25], [1, 0, 9], [2, 2, 30]])
    predicted = additive(counts, [(counts, counts[::-1] + 0.5)])
    assert e_distance(predicted, counts) > 0
    assert e_distance(counts, 0.9 * counts) > 0
    assert e_distance(counts - 0.5, np.minimum(counts, 20)) > 0  # both may be counts, expected ones and few
    few = np.minimum(counts, 20)
    assert e_distance(few, np.log1p(few)) > 0  # cannot be told


LABELS = list("abc") * 10
FACTORS = pd.DataFrame({"label": LABELS})
# Every metric as a function of three populations of cells.
METRICS = {
    "additive": lambda x, y, z: additive(x, [(y, z)]),
    "additive_weighted": lambda x, y, z: additive_weighted(x, [(y, z)]),
    "change_slope": change_slope,
    "cross_correlation_agreement": lambda x, y, z: cross_correlation_agreement((x, y), (y, z)),
    "de_direction": lambda x, y, z: de_direction(x, y, z, n_top=3),
    "de_overlap": lambda x, y, z: de_overlap(x, y, z, n_top=3),
    "discrimination_rank": lambda x, y, z: discrimination_rank({"a": y, "b": z}, {"a": x}).iloc[0],
    "e_distance": lambda x, y, z: e_distance(x, y),
    "e_distance, basis": lambda x, y, z: e_distance(x, y, basis=z, n_components=3),
    "frechet_distance": lambda x, y, z: frechet_distance(x, y, basis=z, n_components=3),
    "gene_agreement": lambda x, y, z: gene_agreement(x, y),
    "gene_correlation_agreement": lambda x, y, z: gene_correlation_agreement(x, y),
    "inception_score": lambda x, y, z: inception_score(x, y, labels=LABELS[: x.shape[0]], n_trees=5).generated,
    "infer_factors": lambda x, y, z: infer_factors(x, y, factors=FACTORS[: x.shape[0]])["label"].value_counts()["a"],
    "mean_change_correlation": mean_change_correlation,
    "mean_change_correlation, top": lambda x, y, z: mean_change_correlation(x, y, z, n_top=3),
    "mmd": lambda x, y, z: mmd(x, y),
    "random_forest_error": lambda x, y, z: random_forest_error(x, y, n_trees=5, n_folds=2),
    "split_half": lambda x, y, z: np.stack(split_half(x)),
}


def _backed(matrix, folder):
    path = folder / f"{len(list(folder.iterdir()))}.h5ad"
    AnnData(matrix).write_h5ad(path)
    return anndata.read_h5ad(path, backed="r")


CONTAINERS = {
    "csr_matrix": lambda matrix, folder: sparse.csr_matrix(matrix),
    "csc_matrix": lambda matrix, folder: sparse.csc_matrix(matrix),
    "coo_array": lambda matrix, folder: sparse.coo_array(matrix),
    "integers": lambda matrix, folder: matrix.astype(np.int32),
    "AnnData": lambda matrix, folder: AnnData(matrix),
    "view": lambda matrix, folder: AnnData(np.vstack([matrix + 9, matrix]))[len(matrix) :],
    "sparse view": lambda matrix, folder: AnnData(sparse.csr_matrix(np.vstack([matrix + 9, matrix])))[len(matrix) :],
    "backed": _backed,
}


@pytest.fixture
def populations():
    rng = np.random.default_rng(0)
    rates = np.array([10, 10, 20, 30, 10, 20])  # high, as neighbours of few counts have many ties
    return [
        rng.poisson(rates + shift, (30, 6)).astype(np.float32) for shift in ([9, 0, 0, 0, 0, 0], [15, 0, 0, 0, 5, 0], 0)
    ]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("container", CONTAINERS)
def test_containers_are_the_same(populations, metric, container, tmp_path):
    wrapped = [CONTAINERS[container](matrix.copy(), tmp_path) for matrix in populations]
    np.testing.assert_allclose(METRICS[metric](*wrapped), METRICS[metric](*populations), rtol=1e-5, atol=1e-5)
    for cells in wrapped:
        if container == "backed":
            cells.file.close()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("bad", "message"), [(np.ones((0, 6)), r"has shape \(0, 6\)"), (np.full((9, 6), np.nan), "has 54")]
)
def test_no_metric_takes_empty_or_missing_cells(populations, metric, bad, message):
    with pytest.raises(ValueError, match=message):
        METRICS[metric](bad, *populations[1:])


@pytest.mark.parametrize("metric", METRICS)
def test_six_cells_do_and_inputs_are_left_alone(populations, metric):
    few = [matrix[:6] for matrix in populations]
    before = [matrix.copy() for matrix in few]
    assert np.isfinite(METRICS[metric](*few)).all()
    for matrix, copy in zip(few, before, strict=True):
        np.testing.assert_array_equal(matrix, copy)


@pytest.mark.parametrize("metric", METRICS)
def test_a_gene_without_expression_does_not_hurt(populations, metric):
    silent = [np.hstack([matrix, np.zeros((30, 1))]) for matrix in populations]
    assert np.isfinite(METRICS[metric](*silent)).all()


@pytest.mark.parametrize("room", ["metrics", "datasets"])
def test_rooms_need_no_networks_and_no_plots(room):
    """Under an empty parent package, as scmichigan itself imports everything."""
    code = f"""
import sys, types
parent = types.ModuleType("scmichigan")
parent.__path__ = [{str(Path(scmichigan.__file__).parent)!r}]
sys.modules["scmichigan"] = parent
import scmichigan.{room}
assert not {{"torch", "scvi", "matplotlib"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_columns_of_scvi_tools_are_not_offered():
    adata = AnnData(np.ones((3, 2), np.float32), obs={"batch": list("aab"), "_scvi_batch": [0, 0, 1]})
    with pytest.raises(KeyError, match=r"the columns are \['batch'\]"):
        check_obs_keys(adata.obs, ["donor"])
