"""Training cells held once in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import lightning.pytorch as pl
import numpy as np
import scipy.sparse as sp
import torch
from scvi import settings
from torch.utils.data import BatchSampler, DataLoader, Dataset, SubsetRandomSampler


def _rows_at_hand(a: np.ndarray | sp.spmatrix) -> torch.Tensor | sp.csr_matrix:
    # Columns of a DataFrame may be read-only, which torch warns of; only these are copied.
    return a.tocsr() if sp.issparse(a) else torch.as_tensor(np.require(a, dtype=np.float32, requirements="W"))


class _Cells(Dataset):
    """Rows of all arrays at once; sparse ones are densified for the rows asked for."""

    def __init__(self, arrays: dict[str, np.ndarray | sp.csr_matrix]) -> None:
        self.arrays = {name: _rows_at_hand(a) for name, a in arrays.items()}

    def __len__(self) -> int:
        return next(iter(self.arrays.values())).shape[0]

    def __getitem__(self, rows: Sequence[int]) -> dict[str, torch.Tensor]:
        return {
            name: torch.from_numpy(a[rows].toarray().astype(np.float32, copy=False)) if sp.issparse(a) else a[rows]
            for name, a in self.arrays.items()
        }


class CellDataModule(pl.LightningDataModule):
    """Shuffled minibatches of cells, without touching AnnData in a step.

    Parameters
    ----------
    arrays
        Tensor name -> array of shape ``(n_cells, ...)``; sparse ones stay sparse.
    batch_size
        Cells in a minibatch; the incomplete last one of a training epoch is dropped.
    train_size
        Share of the cells to train on; the rest is for validation.

    Raises
    ------
    ValueError
        If ``train_size`` is no share, or there are fewer training cells than a minibatch.
    """

    def __init__(
        self, arrays: dict[str, np.ndarray | sp.csr_matrix], *, batch_size: int, train_size: float = 1.0
    ) -> None:
        super().__init__()
        if not 0 < train_size <= 1:
            raise ValueError(f"train_size is {train_size}; it must be above 0 and at most 1")
        self.cells = _Cells(arrays)
        self.batch_size = batch_size
        self.n_train = round(train_size * len(self.cells))
        self.n_val = len(self.cells) - self.n_train
        if not 2 <= batch_size <= self.n_train:
            raise ValueError(
                f"batch_size is {batch_size} and there are {self.n_train} training cells; a minibatch needs at least "
                f"2 and no more than there are, for example batch_size={max(2, self.n_train // 4)}"
            )
        order = np.random.default_rng(settings.seed).permutation(len(self.cells))
        self.train_idx, self.val_idx = order[: self.n_train], order[self.n_train :]
        if self.n_val:
            # Lightning takes the mere existence of this hook for validation data.
            self.val_dataloader = self._validation_loader

    def add(self, name: str, array: np.ndarray) -> None:
        """Add a tensor of the same cells to the minibatches."""
        self.cells.arrays[name] = _rows_at_hand(array)

    def train_dataloader(self) -> DataLoader:
        """One epoch in random order."""
        return self._loader(SubsetRandomSampler(self.train_idx), drop_last=True)

    def _validation_loader(self) -> DataLoader:
        return self._loader(self.val_idx, drop_last=False)

    def _loader(self, sampler: Iterable[int], *, drop_last: bool) -> DataLoader:
        batches = BatchSampler(sampler, batch_size=self.batch_size, drop_last=drop_last)
        return DataLoader(self.cells, sampler=batches, batch_size=None)
