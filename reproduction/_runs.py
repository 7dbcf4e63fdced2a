"""What the commands of this folder do alike, such as results that are kept, and tables of them in markdown."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData, read_h5ad


def quiet() -> None:
    """Leave only what the commands print themselves."""
    warnings.filterwarnings("ignore")
    for name in ("lightning.pytorch", "scvi"):
        logging.getLogger(name).setLevel(logging.ERROR)


def data_file(name: str) -> AnnData:
    """Cells of a file in the data folder."""
    folder = Path(os.environ.get("SCMICHIGAN_DATA", Path(__file__).parents[2] / "shared" / "data"))
    path = folder / f"{name}.h5ad"
    if not path.exists():
        raise SystemExit(f"{path} is not there: set the environment variable SCMICHIGAN_DATA to the folder with it")
    return read_h5ad(path)


def recovered(model: Any, seed: int) -> dict[str, float]:
    """Latent recovery of a GAN's cells beside that of real cells, means over the latents."""
    means = model.latent_recovery(seed=seed).mean()
    return {"latent recovery": means["generated"], "latent recovery, real cells": means["real"]}


def kept(path: Path) -> pd.DataFrame:
    """Results so far; empty where there are none."""
    return pd.read_csv(path) if path.exists() else pd.DataFrame()


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A file to write to, which becomes that of the path at the end: a killed run leaves no half of it behind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    yield part
    part.replace(path)


def keep(path: Path, *rows: dict[str, object]) -> None:
    """Add the rows of a result, in one step."""
    with whole(path) as part:
        pd.concat([kept(path), pd.DataFrame(rows)]).to_csv(part, index=False)


def keep_arrays(path: Path, **arrays: np.ndarray | float) -> None:
    """Write a file of arrays, in one step."""
    with whole(path) as part, part.open("wb") as file:
        np.savez(file, **arrays)


def name_of(parts: Iterable[object]) -> str:
    """Name of a file of what has these settings."""
    return "_".join(map(str, parts)).replace(",", "").replace(" ", "-")


def is_kept(results: pd.DataFrame, run: dict[str, object]) -> bool:
    """Whether there is a result with all of these values."""
    if not set(run) <= set(results):
        return False
    return bool((results[list(run)] == pd.Series(run)).all(axis=1).any())


def mean_and_spread(values: pd.Series, digits: int = 3) -> str:
    """Mean of the seeds and, of several, their standard deviation; nothing where there is no value."""
    values = values.dropna()
    if values.empty:
        return ""
    return f"{values.mean():.{digits}f}" + (f" ± {values.std():.{digits}f}" if len(values) > 1 else "")


def markdown(table: pd.DataFrame) -> str:
    lines = [list(table.columns), ["---"] * table.shape[1], *table.astype(str).to_numpy().tolist()]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
