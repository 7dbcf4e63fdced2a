"""Files of the package that a call goes through: fewer are easier to follow.

    python benchmarks/walks.py

Three walks are traced on small simulated cells. ``generate`` and ``predict_combination``: files in which any function is
called. ``adata``, from ``setup_anndata`` to the first step of the critic: files in which a function is given the cells, as
AnnData, as what scvi-tools has registered of them, as the registered cells of a model, or as a minibatch.
"""

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from anndata import AnnData
from scvi.data import AnnDataManager

import scmichigan as mg
from scmichigan.data import RegisteredCells
from scmichigan.train import AdversarialTrainingPlan, CellDataModule

SOURCE = Path(mg.__file__).parent
TARGET = {"cell_type": "type B", "condition": "drug 1"}


@contextmanager
def traced(counts: Callable[[dict], bool]) -> Iterator[dict[str, int]]:
    """Calls of functions in each file whose arguments are counted."""
    calls: dict[str, int] = {}

    def profile(frame, event, _):
        path = frame.f_code.co_filename
        if event == "call" and path.startswith(str(SOURCE)) and frame.f_code.co_name != "<module>":
            names = frame.f_code.co_varnames[: frame.f_code.co_argcount + frame.f_code.co_kwonlyargcount]
            if counts({name: frame.f_locals.get(name) for name in names}):
                name = str(Path(path).relative_to(SOURCE))
                calls[name] = calls.get(name, 0) + 1

    sys.setprofile(profile)
    try:
        yield calls
    finally:
        sys.setprofile(None)


def holds_cells(arguments: dict) -> bool:
    """Whether a function is given cells."""
    kinds = (AnnData, AnnDataManager, RegisteredCells, CellDataModule)
    return any(isinstance(value, kinds) or (isinstance(value, dict) and "X" in value) for value in arguments.values())


class FirstStep(Exception):
    """Ends a training at the first step of the critic."""


def walk_of_cells(adata: AnnData) -> dict[str, int]:
    """Files that the cells go through from the setup to a step of the critic."""
    step = AdversarialTrainingPlan._record

    def stop(self, metrics):
        raise FirstStep

    AdversarialTrainingPlan._record = stop
    try:
        with traced(holds_cells) as calls:
            mg.MichiGAN.setup_anndata(adata, size_factor_key="total_counts", latent_key="Z")
            model = mg.MichiGAN(adata)
            model.train(1, enable_progress_bar=False)
    except FirstStep:
        pass
    finally:
        AdversarialTrainingPlan._record = step
    return calls


def main() -> None:
    warnings.simplefilter("ignore")
    adata = mg.datasets.screen(600, 100, n_treatments=3, seed=0)
    adata = adata[~((adata.obs["cell_type"] == "type B") & (adata.obs["condition"] == "drug 1"))].copy()
    adata.obsm["Z"] = np.random.default_rng(0).normal(size=(adata.n_obs, 5)).astype(np.float32)
    walks = {"adata, from setup_anndata to a step of the critic": walk_of_cells(adata.copy())}
    mg.MichiGAN.setup_anndata(adata, size_factor_key="total_counts", latent_key="Z")
    model = mg.MichiGAN(adata)
    model.train(0)
    with traced(lambda arguments: True) as walks["generate"]:
        model.generate(10, labels={"cell_type": "type A"})
    with traced(lambda arguments: True) as walks["predict_combination"]:
        model.predict_combination(TARGET)
    for name, calls in walks.items():
        print(f"{name}: {len(calls)} files, {sum(calls.values())} calls")
        for file, n in calls.items():
            print(f"    {n:5} {file}")


if __name__ == "__main__":
    main()
