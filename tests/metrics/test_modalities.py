"""Legend: n cells, g genes, p proteins."""

from contextlib import nullcontext

import mudata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from mudata import MuData

from scmichigan.metrics import cross_correlation_agreement, discriminate, realism, summary

pytestmark = pytest.mark.usefixtures("few_trees")
FAST = {"n_trees": 3, "enable_progress_bar": False}


@pytest.fixture(autouse=True, scope="module")
def _columns_stay():
    """As mudata 0.4 has it, without the warning of 0.3."""
    with mudata.set_options(pull_on_update=False) if hasattr(mudata, "set_options") else nullcontext():
        yield


def _pair(seed, n_cells=1000):
    """Genes and proteins that have 2 of 3 programmes in common, the same for every seed."""
    truth, rng = np.random.default_rng(9), np.random.default_rng(seed)
    programmes = rng.normal(size=(n_cells, 3))
    x_ng, y_np = (programmes[:, s] @ truth.normal(size=(2, n)) for s, n in ((slice(2), 8), (slice(1, 3), 5)))
    return [a + rng.normal(0, 1, a.shape) for a in (x_ng, y_np)]


def _cells(seed, n_cells=150):
    x_ng, y_np = (np.maximum(a + 1, 0).astype(np.float32) for a in _pair(seed, n_cells))
    obs = pd.DataFrame(index=[f"{seed}_{i}" for i in range(n_cells)])
    proteins = pd.DataFrame(index=[f"protein_{i}" for i in range(5)])
    cells = MuData({"rna": AnnData(x_ng, obs.copy()), "protein": AnnData(y_np, obs.copy(), proteins)})
    cells["rna"].obs["type"] = np.where(x_ng[:, 0] > 1, "a", "b")
    return cells


def test_correlations_are_numpys():
    real, generated = _pair(0), _pair(1)
    pairs = [np.corrcoef(x, y, rowvar=False)[:8, 8:].ravel() for x, y in (real, generated)]
    assert cross_correlation_agreement(real, generated) == pytest.approx(np.corrcoef(*pairs)[0, 1])


def test_modalities_of_other_cells_do_not_agree():
    real, (x_ng, y_np) = _pair(0), _pair(1)
    # Errors of 1 / sqrt(1000) = 0.03 on both sides, beside correlations of about 1 / 4.
    assert cross_correlation_agreement(real, (x_ng, y_np)) > 0.95
    assert cross_correlation_agreement(real, (x_ng, -y_np)) < -0.95
    # Each modality is perfect, the pairs are not: 40 pairs without a relation have a standard deviation of 1 / sqrt(39).
    assert abs(cross_correlation_agreement(real, (x_ng, np.roll(y_np, 1, axis=0)))) < 4 / np.sqrt(39)


@pytest.mark.parametrize(
    ("generated", "kwargs", "message"),
    [
        ([np.ones((9, 8)), np.ones((9, 5))], {}, "all pairs of features have the correlation 0 in generated"),
        ([_pair(1)[0], _pair(1)[1][:-1]], {}, "the modalities of generated have 1000 and 999 cells"),
        ([_pair(1)[0], _pair(1)[0]], {}, "generated has 8 genes, real has 5"),
        (_pair(1), {"n_genes": 0}, "n_genes is 0: give 1 or more"),
    ],
)
def test_bad_pairs_are_refused(generated, kwargs, message):
    with pytest.raises(ValueError, match=message):
        cross_correlation_agreement(_pair(0), generated, **kwargs)


def test_each_modality_is_judged_as_by_itself_and_both_together():
    real, generated, held_out = _cells(0), _cells(1, 70), _cells(2, 60)
    table = realism(real, generated, held_out=held_out, **FAST)
    assert list(table.index.unique("question")) == ["realism, rna", "realism, protein", "modalities"]
    for name in ("rna", "protein"):
        expected = realism(real[name], generated[name], held_out=held_out[name], **FAST)
        found = table.loc[f"realism, {name}"]
        pd.testing.assert_frame_equal(found, expected, check_names=False, check_flags=False)
        assert table.attrs[f"realism, {name}"] == expected.attrs
        assert "michigan_realism" in generated[name].uns
        assert held_out[name].obsm["michigan_probability_real"].notna().all(axis=None)
    together = table.loc[("modalities", "correlations across modalities")]
    pairs = [(cells["rna"].X, cells["protein"].X) for cells in (held_out, generated)]
    assert together["best"] == 1
    # of 60 of the 70 generated cells; 40 correlations of 60 and of 10 cells less differ by little
    assert together["generated"] == pytest.approx(cross_correlation_agreement(*pairs), abs=0.2)

    whole = summary(real, generated, held_out=held_out, **FAST)
    pd.testing.assert_frame_equal(
        whole.rename(columns={"model": "generated"}), table, check_names=False, check_flags=False
    )


@pytest.mark.parametrize("place", ["rna", "mdata"])
def test_labels_are_found_in_either_obs(place):
    real, generated = _cells(0), _cells(1, 70)
    labels = real["rna"].obs.pop("type")
    (real if place == "mdata" else real["rna"]).obs["type"] = labels
    table = realism(real, generated, labels_key="type", n_cells=50, **FAST)
    assert table["best"].xs("inception score", level="metric").notna().tolist() == [True, True]


def test_misuse_is_refused():
    real, generated = _cells(0), _cells(1, 70)
    with pytest.raises(
        ValueError, match="generated is a AnnData, others are MuData: give MuData, or one modality of each"
    ):
        realism(real, generated["rna"], **FAST)
    with pytest.raises(KeyError, match=r"real\['protein'\] does not exist, generated has it; real has \['rna'\]"):
        realism(MuData({"rna": real["rna"]}), generated, **FAST)
    with pytest.raises(KeyError, match=r"real.obs\['kind'\] does not exist; the columns are \['type'\]"):
        realism(real, generated, labels_key="kind", **FAST)
    with pytest.raises(ValueError, match="keys is given with MuData, of which generated cells are judged"):
        summary(real, generated, keys="type", **FAST)
    with pytest.raises(
        ValueError, match=r"generated is a MuData: give one of its modalities, such as generated\['rna'\]"
    ):
        discriminate(real["rna"], generated)
