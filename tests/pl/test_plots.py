import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from scmichigan import pl
from scmichigan.metrics import (
    disentanglement,
    gene_statistics,
    mean_change_correlation,
    mutual_information,
    mutual_information_gap,
)
from scmichigan.pl._comparison import _spread
from scmichigan.pl._embedding import joint_umap

mpl.use("agg")


def _clusters(seed, n_cells=30, n_genes=8):
    """Two well separated clusters, one after the other."""
    x = np.random.default_rng(seed).normal(size=(2 * n_cells, n_genes))
    x[n_cells:, 0] += 20
    return x


@pytest.fixture
def adata():
    rng = np.random.default_rng(0)
    adata = AnnData(_clusters(0))
    adata.obsm["X_umap"] = rng.normal(size=(60, 2))
    adata.obsm["X_michigan"] = rng.normal(size=(60, 7))
    adata.obs["kind"] = pd.Categorical(["a", "b", None] * 20)
    adata.obs["many"] = [f"kind {i % 12}" for i in range(60)]
    adata.obs["time"] = np.linspace(0, 1, 60)
    return adata


def _titles(fig):
    return [ax.get_title() for ax in fig.axes if ax.get_title()]


def test_latents_are_panels_on_one_scale(adata):
    fig = pl.latents(adata, color=["kind", "time", "many"], show=False)
    assert _titles(fig) == ["kind", "time", "many", *(f"latent {k}" for k in range(1, 8))]
    panels = fig.axes[3:10]
    assert len({panel.collections[0].get_clim() for panel in panels}) == 1
    shown = {tuple(xy): z for xy, z in zip(*_points(panels[2]), strict=True)}
    assert shown == {tuple(xy): z for xy, z in zip(adata.obsm["X_umap"], adata.obsm["X_michigan"][:, 2], strict=True)}
    assert [text.get_text() for text in fig.axes[0].get_legend().get_texts()] == ["a", "b", "missing"]


def test_legends_are_beside_panels_that_they_leave_as_high(adata):
    heights = []
    for keys in (["kind", "time"], ["many", "time"]):
        fig = pl.latents(adata, color=keys, show=False)
        fig.draw_without_rendering()
        panel, legend = fig.axes[0].get_window_extent(), fig.axes[0].get_legend().get_window_extent()
        assert legend.x0 >= panel.x1
        assert panel.y0 <= legend.y0 < legend.y1 <= panel.y1
        assert legend.x1 <= fig.axes[1].get_window_extent().x0
        heights.append(panel.height)
    assert heights[0] == pytest.approx(heights[1], rel=0.02)


def _points(ax):
    points = ax.collections[0]
    return np.asarray(points.get_offsets()), np.asarray(points.get_array())


def test_one_colour_and_one_latent(adata):
    adata.obsm["X_pca"] = np.zeros((60, 1))
    assert _titles(pl.latents(adata, latent_key="X_pca", color="time", show=False)) == ["time", "latent 1"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"basis": "X_tsne"}, KeyError, r"obsm\['X_tsne'\] is not in adata, which has .*scanpy.tl.umap"),
        ({"latent_key": "X_scVI"}, KeyError, r"obsm\['X_scVI'\] is not in adata"),
        ({"color": "sort"}, KeyError, r"obs\['sort'\] is not in adata: colour by one of \['kind', 'many', 'time'\]"),
        ({"basis": "X_narrow"}, ValueError, r"obsm\['X_narrow'\] has 1 column: an embedding needs 2"),
        ({"latent_key": "X_nan"}, ValueError, r"obsm\['X_nan'\] has no finite value"),
    ],
)
def test_latents_refuse(adata, arguments, error, message):
    adata.obsm["X_narrow"] = np.zeros((60, 1))
    adata.obsm["X_nan"] = np.full((60, 2), np.nan)
    with pytest.raises(error, match=message):
        pl.latents(adata, show=False, **arguments)


def test_figures_are_shown_saved_and_closed(adata, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(len(plt.get_fignums())))
    assert pl.latents(adata) is None
    assert shown == [1]
    fig = pl.latents(adata, save=tmp_path / "latents.png")
    assert shown == [1]
    assert (tmp_path / "latents.png").stat().st_size > 0
    assert isinstance(fig, plt.Figure)
    assert plt.get_fignums() == []


def test_projected_cells_lie_in_their_cluster():
    reference, projected = joint_umap(_clusters(0), [_clusters(1)], seed=0)
    centres = [reference[:30].mean(0), reference[30:].mean(0)]
    nearest = np.argmin([np.linalg.norm(projected - centre, axis=1) for centre in centres], axis=0)
    np.testing.assert_array_equal(nearest, np.repeat([0, 1], 30))


def test_many_clusters_far_apart_raise_no_warning():
    far = np.vstack([_clusters(i) + 100 * i for i in range(6)])
    (positions,) = joint_umap(far, [], seed=0)
    assert np.isfinite(positions).all()


def test_real_vs_generated_shows_means_and_variances():
    real, generated = _clusters(0), 2 * _clusters(1)
    fig = pl.real_vs_generated(real, AnnData(generated), n_cells=40, show=False)
    cells, means, variances = fig.axes
    assert len(cells.collections[0].get_offsets()) == 80
    for ax, statistic in ((means, np.mean), (variances, np.var)):
        expected = np.stack([statistic(real, axis=0), statistic(generated, axis=0)], axis=1)
        np.testing.assert_allclose(ax.collections[0].get_offsets(), expected)
        assert ax.get_xlim() == ax.get_ylim()
    assert [text.get_text() for text in cells.get_legend().get_texts()] == ["real", "generated"]


def test_prediction_names_the_most_changed_genes():
    control, change = _clusters(0, n_genes=15), np.linspace(-3, 2, 15)
    real, predicted = _clusters(1, n_genes=15) + change, _clusters(2, n_genes=15) + change / 2
    fig = pl.prediction(real, predicted, AnnData(control), show=False)
    _, changes = fig.axes
    r = mean_change_correlation(real, predicted, control)
    assert changes.get_title() == f"mean change of each gene, r = {r:.3f}"
    most = np.argsort(-np.abs(real.mean(0) - control.mean(0)))[:10]
    assert {text.get_text() for text in changes.texts} == {str(g) for g in most}


def test_no_change_is_drawn_without_a_correlation():
    control, real = _clusters(0), _clusters(1) * 2
    fig = pl.prediction(real, control, control, show=False)
    assert fig.axes[1].get_title() == "mean change of each gene"
    assert fig.axes[1].texts[0].get_text().startswith("gene ")


def test_too_few_cells_to_embed():
    few = _clusters(0, n_cells=4)
    with pytest.raises(ValueError, match="the embedding would be fitted on 8 cells: give 10 or more"):
        pl.real_vs_generated(few, few, show=False)


def test_names_keep_apart():
    y = np.array([0.3, 0.0, 0.31, 0.99, 1.0])
    heights = _spread(y, gap=0.1, limits=(0.0, 1.0))
    assert np.diff(np.sort(heights)).min() >= 0.1 - 1e-12
    assert heights.min() >= 0
    assert heights.max() <= 1
    np.testing.assert_array_equal(np.argsort(heights), np.argsort(y))


def test_traversal_has_a_panel_for_each_dimension():
    real = _clusters(0)
    walk = AnnData(np.vstack([np.linspace(real[0], real[-1], 5)] * 3))
    walk.obs["dimension"] = np.repeat([1, 2, 3], 5)
    walk.obs["step"] = np.tile(np.arange(1, 6), 3)
    walk.obs["value"] = np.outer([1, 2, 0.1], np.linspace(-2, 2, 5)).ravel()
    fig = pl.traversal(real, walk, show=False)
    assert _titles(fig) == ["latent 1, -2 to 2", "latent 2, -4 to 4", "latent 3, -0.2 to 0.2"]
    for ax in fig.axes[:3]:
        cells, points = ax.collections
        assert len(cells.get_offsets()) == 60
        assert points.get_clim() == (0, 1)
        shown = dict(zip(np.asarray(points.get_array()), np.asarray(points.get_offsets()).tolist(), strict=True))
        # Both ends are real cells, in clusters of their own.
        reference = np.asarray(cells.get_offsets())
        for value, cluster in ((0, reference[:30]), (1, reference[30:])):
            other = reference[30:] if value == 0 else reference[:30]
            near, far = (np.linalg.norm(shown[value] - group.mean(axis=0)) for group in (cluster, other))
            assert near < far
        # With one walk, a step's median is its cell.
        np.testing.assert_allclose(ax.get_lines()[0].get_xydata(), [shown[value] for value in sorted(shown)])


def test_traversal_refuses():
    cells = AnnData(_clusters(0))
    with pytest.raises(KeyError, match=r"walk.obs\['dimension'\] does not exist"):
        pl.traversal(cells, cells, show=False)
    walk = AnnData(cells.X, obs=pd.DataFrame({"dimension": 1}, index=cells.obs_names))
    with pytest.raises(ValueError, match="real is a traversal, walk is not: give the real cells first"):
        pl.traversal(walk, cells, show=False)
    with pytest.raises(ValueError, match="walk is a ndarray"):
        pl.traversal(cells, cells.X, show=False)


def _history(**curves):
    """As scvi-tools keeps it: one column of objects for each metric."""
    return {
        name: pd.DataFrame({name: pd.Series(values, dtype=object)}).rename_axis("epoch")
        for name, values in curves.items()
    }


def test_training_has_a_panel_for_what_belongs_together():
    fig = pl.training(
        _history(
            critic_loss=[3.0, 2.0],
            generator_loss=[1.0, 2.0],
            score_gap=[0.1, 0.2],
            latent_recovery=[np.nan, 0.9],
            latent_recovery_gap=[np.nan, 0.1],
            reconstruction_loss_train=[9.0, 8.0],
            reconstruction_loss_validation=[9.5, 8.5],
            kl_global_train=[0.0, 0.0],
        ),
        show=False,
    )
    assert _titles(fig) == ["losses", "score gap", "latent recovery", "reconstruction loss"]
    labels = [[line.get_label() for line in ax.get_lines()] for ax in fig.axes]
    assert labels == [
        ["critic loss", "generator loss"],
        ["score gap"],
        ["latent recovery", "gap"],
        ["train", "validation"],
    ]
    np.testing.assert_array_equal(fig.axes[0].get_lines()[1].get_xydata(), [[0, 1], [1, 2]])
    assert fig.axes[2].get_lines()[0].get_marker() == "o"  # a line of one point would not be seen
    assert fig.axes[1].get_legend() is None


def test_the_first_epochs_do_not_set_the_scale():
    curve = np.r_[1000.0, np.linspace(2, 1, 19)]
    fig = pl.training(_history(elbo_train=curve), show=False)
    low, high = fig.axes[0].get_ylim()
    assert low <= 1
    assert 2 <= high < 3


@pytest.mark.parametrize(
    ("history", "message"),
    [
        (None, "history is a NoneType: give model.history, which is None until"),
        ({}, "history has nothing but zeros, or nothing at all"),
        (_history(kl_global_train=[0.0]), "history has nothing but zeros"),
    ],
)
def test_training_refuses(history, message):
    with pytest.raises(ValueError, match=message):
        pl.training(history, show=False)


def test_realism_shows_genes_on_log_scales():
    rng = np.random.default_rng(0)
    real, generated = (rng.poisson(np.linspace(0.2, 3, 6), (50, 6)).astype(float) for _ in range(2))
    real[:, 4] = 0
    real[:, 5] = generated[:, 5] = 0
    statistics = gene_statistics(real, generated).iloc[:4]
    fig = pl.realism(real, generated, show=False)
    for ax, name in zip(fig.axes, ("mean", "variance", "zero_fraction"), strict=True):
        expected = statistics[[f"{name}_real", f"{name}_generated"]].to_numpy()
        shown, on_frame = (points.get_offsets() for points in ax.collections)
        np.testing.assert_allclose(shown, 1 - expected if name == "zero_fraction" else expected)
        assert on_frame[0, 0] == ax.get_xlim()[0]
        assert on_frame[0, 1] > 0
        assert (ax.get_xscale(), ax.get_yscale(), ax.get_xlim()) == ("log", "log", ax.get_ylim())
        assert [text.get_text() for text in ax.get_legend().get_texts()] == ["1 feature at 0 on one side"]


def test_realism_names_a_few_features_and_no_share_above_1():
    cells = AnnData(np.random.default_rng(0).poisson([1, 3, 30, 60], (50, 4)).astype(np.float32))
    cells.var_names = ["CD3", "CD4", "CD8", "CD19"]
    fig = pl.realism(cells, cells, show=False)
    for ax in fig.axes:
        assert [text.get_text() for text in ax.texts] == list(cells.var_names)
        shown = ax.collections[0].get_offsets()
        np.testing.assert_allclose([text.xy for text in ax.texts], shown)
    assert 1 < fig.axes[2].get_xlim()[1] < 1.05
    many = AnnData(np.ones((9, 21), np.float32))
    assert not pl.realism(many, many, show=False).axes[0].texts


@pytest.mark.parametrize("highest", [1.01, 1.2, 2, 3.3, 12, 40, 47, 300])
def test_realism_has_two_ticks_or_more(highest):
    real = np.random.default_rng(0).normal(size=(40, 5)) * np.sqrt(np.linspace(1.01, 1.01 * highest, 5))
    fig = pl.realism(real, real, show=False)
    fig.draw_without_rendering()
    ax = fig.axes[1]
    low, high = ax.get_xlim()
    assert sum(low <= tick <= high for tick in ax.get_xticks()) >= 2


def test_realism_of_cells_without_counts_is_empty():
    fig = pl.realism(np.zeros((3, 2)), np.zeros((4, 2)), show=False)
    assert all(len(ax.collections[0].get_offsets()) == 0 for ax in fig.axes)


def test_mutual_information_has_bars_and_gaps(adata):
    adata.obs["side"] = pd.Categorical(np.where(adata.obsm["X_michigan"][:, 2] > 0, "right", "left"))
    adata.obs["kind"] = pd.Categorical(["a", "b", "c"] * 20)
    disentanglement(adata, keys="side", enable_progress_bar=False)
    assert [ax.get_title()[:4] for ax in pl.mutual_information(adata, show=False).axes] == ["side"]
    information = mutual_information(adata.obsm["X_michigan"], adata.obs[["side", "kind"]])
    adata.uns["mine"] = {"mutual_information": {"X_michigan": information}}
    fig = pl.mutual_information(adata, key="mine", show=False)
    gaps = []
    for ax, factor in zip(fig.axes, ("side", "kind"), strict=True):
        np.testing.assert_allclose([bar.get_height() for bar in ax.patches], information[factor])
        name, gap = ax.get_title().split(", gap ")
        assert name == factor
        gaps.append(float(gap))
    assert np.mean(gaps) == pytest.approx(mutual_information_gap(information), abs=0.01)  # two digits each
    best = int(np.argmax([bar.get_height() for bar in fig.axes[0].patches]))
    assert best == 2
    assert fig.axes[0].patches[best].get_facecolor() == mpl.colors.to_rgba("#0072B2")


def test_mutual_information_needs_its_table(adata):
    with pytest.raises(KeyError, match=r"uns\['michigan_disentanglement'\] is not in adata: call metrics.disentangle"):
        pl.mutual_information(adata, show=False)
    adata.uns["michigan_disentanglement"] = {"mutual_information": {"X_pca": pd.DataFrame()}}
    with pytest.raises(KeyError, match=r"has \['X_pca'\], not 'X_michigan': name one of them"):
        pl.mutual_information(adata, show=False)
