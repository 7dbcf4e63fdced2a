"""Minibatches from memory."""

from collections.abc import Sequence

import lightning.pytorch as pl
import numpy as np
import scipy.sparse as sp
import torch
from scvi import REGISTRY_KEYS, settings
from torch.utils.data import BatchSampler, DataLoader, Dataset, SubsetRandomSampler

# Between two steps the trainer needs about a millisecond, which is little beside a step with a large minibatch.
MINIBATCHES_AT_ONCE = 5
_CELLS_AT_ONCE = 640


def _rows_at_hand(a: np.ndarray | sp.spmatrix) -> torch.Tensor | sp.csr_matrix:
    # Columns of a DataFrame may be read-only, which torch warns of; only these are copied.
    return a.tocsr() if sp.issparse(a) else torch.as_tensor(np.require(a, dtype=np.float32, requirements="W"))


class _Cells(Dataset):
    """Rows of all arrays, or minibatches of rows; sparse arrays become dense for these rows only."""

    def __init__(self, arrays: dict[str, np.ndarray | sp.csr_matrix]) -> None:
        self.arrays = {name: _rows_at_hand(a) for name, a in arrays.items()}

    def __len__(self) -> int:
        return next(iter(self.arrays.values())).shape[0]

    def __getitem__(self, rows: Sequence[int] | Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
        rows = np.asarray(rows)
        return {name: _densified(a, rows) if sp.issparse(a) else a[rows] for name, a in self.arrays.items()}


def _densified(a: sp.csr_matrix, rows: np.ndarray) -> torch.Tensor:
    x = a[rows.ravel()].toarray().astype(np.float32, copy=False)
    return torch.from_numpy(x.reshape(*rows.shape, -1))


def minibatches_of(batch: dict[str, torch.Tensor]) -> list[dict[str, torch.Tensor]]:
    """The minibatches of a step of the trainer, stacked or a single one."""
    x = batch[REGISTRY_KEYS.X_KEY]
    return [batch] if x.dim() == 2 else [{name: a[i] for name, a in batch.items()} for i in range(len(x))]


class CellDataModule(pl.LightningDataModule):
    """Shuffled minibatches of cells from arrays.

    Parameters
    ----------
    arrays
        Tensor name -> array of shape ``(n_cells, ...)``; sparse arrays stay sparse.
    batch_size
        Cells in a minibatch; the incomplete last one of a training epoch is dropped.
    train_size
        Fraction of the cells to train on; the rest is for validation.
    n_at_once
        Minibatches that a step of training gets, stacked in a first dimension; fewer where these would be more than
        640 cells, and in the last step of an epoch. ``None``: one, not stacked.

    Raises
    ------
    ValueError
        If ``train_size`` is out of range, or there are fewer training cells than a minibatch.
    """

    def __init__(
        self,
        arrays: dict[str, np.ndarray | sp.csr_matrix],
        *,
        batch_size: int,
        train_size: float = 1.0,
        n_at_once: int | None = None,
    ) -> None:
        super().__init__()
        if not 0 < train_size <= 1:
            raise ValueError(f"train_size is {train_size}; it must be above 0 and at most 1")
        self.cells = _Cells(arrays)
        self.batch_size = batch_size
        self.n_at_once = n_at_once
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
            # Lightning validates wherever this method exists.
            self.val_dataloader = self._validation_loader

    def add(self, name: str, array: np.ndarray) -> None:
        """Add a tensor of the same cells to the minibatches."""
        self.cells.arrays[name] = _rows_at_hand(array)

    def train_dataloader(self) -> DataLoader:
        """One epoch in random order."""
        batches = BatchSampler(SubsetRandomSampler(self.train_idx), self.batch_size, drop_last=True)
        if self.n_at_once is not None:
            n_at_once = min(self.n_at_once, max(1, _CELLS_AT_ONCE // self.batch_size))
            batches = BatchSampler(batches, n_at_once, drop_last=False)
        return DataLoader(self.cells, sampler=batches, batch_size=None)

    def _validation_loader(self) -> DataLoader:
        batches = BatchSampler(self.val_idx, self.batch_size, drop_last=False)
        return DataLoader(self.cells, sampler=batches, batch_size=None)
