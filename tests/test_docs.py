"""The code of the pages runs; trainings are cut short."""

import re
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest
import scvi

from scmichigan.model import _train_beta_tcvae
from scmichigan.train import SCHEDULES, Schedule

mpl.use("agg")

HOWTO = Path(__file__).parents[1] / "docs/howto"
PAGES = sorted(page.name for page in HOWTO.glob("*.md") if page.name != "index.md")


@pytest.fixture(autouse=True)
def _short_trainings(monkeypatch):
    monkeypatch.setitem(SCHEDULES, "default", Schedule(128, n_epochs=1))
    monkeypatch.setattr(_train_beta_tcvae, "_DEFAULT_STEPS", 20)
    train = scvi.model.SCVI.train
    monkeypatch.setattr(
        scvi.model.SCVI, "train", lambda self: train(self, 2, accelerator="cpu", enable_progress_bar=False)
    )
    monkeypatch.setattr(plt, "show", lambda: None)


@pytest.mark.parametrize("page", PAGES)
def test_code_runs(page):
    blocks = re.findall(r"^```python\n(.*?)^```", (HOWTO / page).read_text(encoding="utf-8"), re.M | re.S)
    exec(compile("\n".join(blocks), page, "exec"), {})
