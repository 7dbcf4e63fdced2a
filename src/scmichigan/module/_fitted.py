"""Module of the models that are fitted in closed form."""

from collections.abc import Mapping

import numpy as np
import torch
from scvi.module.base import BaseModuleClass

from ._expression import CellFormat, ExpressionInputs


class FittedModule(BaseModuleClass):
    """Holds the arrays of a fitted model, so that scvi-tools saves and loads them like weights."""

    def __init__(self, cells: CellFormat) -> None:
        super().__init__()
        self.inputs = ExpressionInputs(cells)

    @property
    def device(self) -> torch.device:
        """Device of the arrays: scvi-tools looks at parameters, and there are none."""
        return next((array.device for array in self.buffers()), torch.device("cpu"))

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The kept arrays by name."""
        return {name: array.cpu().numpy() for name, array in self.named_buffers(recurse=False)}

    def keep(self, arrays: Mapping[str, np.ndarray | float]) -> None:
        """Replace the kept arrays, in single precision."""
        for name in self.arrays:
            delattr(self, name)
        for name, array in arrays.items():
            self.register_buffer(name, torch.from_numpy(np.array(array, dtype=np.float32, order="C")))

    def on_load(self, model, **kwargs) -> None:
        """Make arrays of the shapes that a saved model has, which it is then loaded into."""
        self.keep({name: np.zeros(shape) for name, shape in getattr(model, "shapes_", {}).items()})
