"""The main job from start to end: train, sample, predict a hidden combination, and judge the results."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import scanpy as sc
import scvi
from anndata import AnnData, read_h5ad
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from scmichigan import _keys, datasets, metrics, pl
from scmichigan._arrays import Matrix, dense
from scmichigan._cells import in_layer
from scmichigan._checks import check_level
from scmichigan.combinations import hide, is_predictable, observed_combinations
from scmichigan.model import MichiGAN
from scmichigan.train import epochs_for

_N_JUDGED, _N_TREES = 1000, 50
_N_GENERATED = 2000
_N_PLOTTED = 3000


@dataclass(frozen=True)
class DemoData:
    """Cells for a demo, with one combination to hide.

    Attributes
    ----------
    adata
        Raw counts of all genes.
    cell_type_key, condition_key
        Columns of obs.
    target, control
        Cell type and condition to hide; the untreated condition.
    layer, size_factor_key, n_genes
        Layer of the counts, X without it; obs column of the total of each cell; number of genes to keep.
    """

    adata: AnnData
    cell_type_key: str
    condition_key: str
    target: tuple[str, str]
    control: str
    layer: str | None = None
    size_factor_key: str = "total_counts"
    n_genes: int = 2000

    @property
    def labels(self) -> dict[str, str]:
        """The hidden combination as ``predict_combination`` takes it."""
        return dict(zip((self.cell_type_key, self.condition_key), self.target, strict=True))

    def mask(self, adata: AnnData, condition: str) -> np.ndarray:
        """Which cells of ``adata`` have the hidden cell type and this condition."""
        obs = adata.obs
        return ((obs[self.cell_type_key] == self.target[0]) & (obs[self.condition_key] == condition)).to_numpy()


def simulated_demo_data(*, seed: int = 0) -> DemoData:
    """A simulated screen of 3 cell types x 6 treatments, with one combination to hide."""
    return DemoData(datasets.screen(seed=seed), "cell_type", "condition", ("type B", "drug 3"), "control")


def load_demo_data(
    path: Path,
    *,
    cell_type_key: str,
    condition_key: str,
    hold_out: str | None,
    control: str | None,
    layer: str | None,
    size_factor_key: str | None,
    n_genes: int,
) -> DemoData:
    """Read and check the user's file.

    Raises
    ------
    FileNotFoundError, KeyError, ValueError
        If the file, a column or a label does not exist, or it is not known which condition is the control.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    try:
        adata = read_h5ad(path)
    except OSError as error:
        raise ValueError(f"{path} is no AnnData file ({error}); write one with adata.write_h5ad") from error
    for key in (cell_type_key, condition_key):
        if key not in adata.obs:
            raise KeyError(f"obs[{key!r}] does not exist in {path}; the columns are {list(adata.obs.columns)}")
    types, conditions = (sorted(map(str, adata.obs[k].dropna().unique())) for k in (cell_type_key, condition_key))
    if hold_out is None:
        raise ValueError(f"--hold-out TYPE,CONDITION is missing; types are {types}, conditions are {conditions}")
    target = _split_hold_out(hold_out, types, conditions)
    if control is None:
        others = [c for c in conditions if c != target[1]]
        if len(others) != 1:
            raise ValueError(f"which condition is untreated? pass --control with one of {others}")
        control = others[0]
    check_level(adata, condition_key, control)
    if control == target[1]:
        raise ValueError(f"the hidden condition {control!r} is the control; hide a treated one")
    if size_factor_key is None:
        size_factor_key = "total_counts"
        if size_factor_key not in adata.obs:
            adata.obs[size_factor_key] = np.asarray(in_layer(adata, layer, "adata").X.sum(axis=1)).ravel()
    data = DemoData(adata, cell_type_key, condition_key, target, control, layer, size_factor_key, n_genes)
    for condition in (target[1], control):
        if not data.mask(adata, condition).any():
            raise ValueError(f"no cell is {target[0]!r} and {condition!r}; there is nothing to compare with")
    return data


def _split_hold_out(hold_out: str, types: list[str], conditions: list[str]) -> tuple[str, str]:
    """Split at the comma that leaves two known labels; labels may contain commas themselves."""
    parts = hold_out.split(",")
    for i in range(1, len(parts)):
        pair = ",".join(parts[:i]).strip(), ",".join(parts[i:]).strip()
        if pair[0] in types and pair[1] in conditions:
            return pair
    raise ValueError(f"--hold-out {hold_out!r} is no TYPE,CONDITION; types are {types}, conditions are {conditions}")


def run_demo(
    data: DemoData, out: Path, *, latent_steps: int | None = None, generator_steps: int | None = None, seed: int = 0
) -> pd.DataFrame:
    """Run the whole job and write its results to ``out``; the table that is printed is returned.

    Parameters
    ----------
    data
        Cells and the combination to hide.
    out
        Folder for ``cells.h5ad``, ``generated.h5ad``, ``predicted.h5ad``, ``table.csv``, three figures and the model.
    latent_steps, generator_steps
        Minibatches for the beta-TCVAE and for the critic; the models' defaults without them.
    seed
        Random seed.
    """
    console = Console()
    scvi.settings.seed = seed
    start = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    hidden = data.mask(data.adata, data.target[1])
    console.print(
        f"{data.adata.n_obs} cells, hiding the {int(hidden.sum())} with {data.labels} from every fit "
        "(gene selection included)"
    )
    if not is_predictable(observed_combinations(data.adata.obs[~hidden], [*data.labels]), [*data.labels], data.target):
        raise ValueError(
            f"{data.labels} cannot be predicted: it takes another cell type under {data.target[1]!r}, and a condition "
            f"under which that type and {data.target[0]!r} were both seen; hide another combination"
        )
    train, real = hide(data.adata, hidden, data.n_genes, layer=data.layer, size_factor_key=data.size_factor_key)
    MichiGAN.setup_anndata(train, layer=data.layer, labels_key=data.cell_type_key, size_factor_key=data.size_factor_key)
    model = MichiGAN(train)
    console.print(model)
    batch_size = min(128, train.n_obs // 2)
    steps = (latent_steps, generator_steps)
    epochs = [None if n_steps is None else epochs_for(n_steps, train.n_obs, batch_size) for n_steps in steps]
    model.train(epochs[1], batch_size=batch_size, latent_kwargs={"max_epochs": epochs[0]})

    x, truth = model.get_observed_expression(), model.get_observed_expression(real)
    with _timed(console, "sampling, predicting and judging"):
        generated = model.generate(_N_GENERATED, seed=seed)
        predicted = model.predict_combination(data.labels, seed=seed)
        how = predicted.uns[_keys.PROVENANCE]
        console.print(f"predicted along {how['along']!r}, from {', '.join(how['references'])}")
        table = metrics.summary(
            AnnData(x, obs=train.obs, var=train.var[[]]),
            generated,
            predicted,
            hidden=truth,
            control_labels={data.condition_key: data.control},
            labels_key=data.cell_type_key,
            n_cells=_N_JUDGED,
            n_trees=_N_TREES,
            seed=seed,
            n_jobs=-1,
            enable_progress_bar=False,  # the console has a spinner
        )
    with _timed(console, "figures"):
        _plot(data, train, x, generated=generated, out=out, seed=seed)
        control = x[data.mask(train, data.control)]
        pl.prediction(truth, predicted, control, show=False, save=out / "prediction.png")
    with _timed(console, "writing"):
        for name, cells in (("cells", train), ("generated", generated), ("predicted", predicted)):
            cells.write_h5ad(out / f"{name}.h5ad")
        table.to_csv(out / "table.csv")
        model.save(str(out / "model"), overwrite=True)
    _print(console, table)
    console.print(f"{time.perf_counter() - start:.0f} s in all; cells, table, figures and model are in {out.resolve()}")
    return table


def _plot(data: DemoData, train: AnnData, x: Matrix, *, generated: AnnData, out: Path, seed: int) -> None:
    """Write the figures of the training cells, whose expression is x, and of the generated cells."""
    keep = np.sort(np.random.default_rng(seed).permutation(train.n_obs)[:_N_PLOTTED])
    shown = AnnData(dense(x[keep]), obs=train.obs.iloc[keep], var=train.var[[]])
    shown.obsm[_keys.LATENT] = train.obsm[_keys.LATENT][keep]
    sc.pp.neighbors(shown, use_rep=_keys.LATENT, random_state=seed)
    sc.tl.umap(shown, random_state=seed)
    pl.latents(shown, latent_key=_keys.LATENT, color=[*data.labels], show=False, save=out / "latents.png")
    pl.real_vs_generated(shown, generated, show=False, save=out / "real_vs_generated.png")


def _print(console: Console, table: pd.DataFrame) -> None:
    titles = {"realism": "sampled cells, beside cells seen in training", "prediction": "prediction of the hidden cells"}
    for question, title in titles.items():
        values = table.loc[question].dropna(axis="columns", how="all")
        shown = Table(title=title, box=SIMPLE)
        shown.add_column("")
        for column in values.columns:
            shown.add_column(column.replace(" ", "\n"), justify="right")  # all of them in 80 columns
        for name, row in values.iterrows():
            shown.add_row(name, *("" if np.isnan(v) else f"{v:.2f}" for v in row))
        console.print(shown)
    console.print("real cells: what a perfect model would reach with so many cells")
    distance = table.loc[("prediction", "E-distance")].drop(["real cells", "best"]).dropna()
    better = distance.index[distance < distance["model"]]
    if len(better):
        console.print(
            f"The prediction is further from the truth than: {'; '.join(better)}. Rather use that.", style="bold"
        )


@contextmanager
def _timed(console: Console, what: str) -> Iterator[None]:
    start = time.perf_counter()
    with console.status(what):
        yield
    console.print(f"{what}: {time.perf_counter() - start:.0f} s")
