"""Steps per second of training, beside the loop that one would write first.

    python benchmarks/training_speed.py [--rounds 5]

The published setting: 4,221 cells x 4,062 genes, minibatches of 32, an iteration of five critic steps and one generator
step. The plain loop has the same networks and losses; `MichiGAN.train` has logging, history, callbacks and sparse counts
that are normalised on the way. The two take turns, so that whatever else the machine does befalls both.
"""

from __future__ import annotations

import argparse
import logging
import time
import warnings

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from anndata import AnnData
from torch import nn

from scmichigan import MichiGAN

N_CELLS, N_GENES, N_LATENT, N_NOISE, BATCH, N_CRITIC = 4221, 4062, 10, 118, 32, 5
CASES = {
    "batch norm, as published": {},
    "no norm in the critic, layer norm in the generator": {"critic_norm": None, "generator_norm": "layer"},
}


def block(n_in: int, n_out: int, norm: str | None, dropout: float = 0.0) -> list[nn.Module]:
    norms = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}
    layers = [nn.Linear(n_in, n_out), *([norms[norm](n_out)] if norm else []), nn.LeakyReLU(0.2)]
    return layers + ([nn.Dropout(dropout)] if dropout else [])


def network(sizes: list[int], norm: str | None, dropout: float = 0.0) -> nn.Sequential:
    return nn.Sequential(*[m for a, b in zip(sizes, sizes[1:], strict=False) for m in block(a, b, norm, dropout)])


class PlainLoop:
    def __init__(self, x: torch.Tensor, z: torch.Tensor, critic_norm: str | None, generator_norm: str | None) -> None:
        self.x, self.z = x, z
        body = network([N_LATENT + N_NOISE, 256, 512, 1024], generator_norm, 0.2)
        self.generator = nn.Sequential(body, nn.Linear(1024, N_GENES))
        self.body = network([N_GENES, 1024, 512, 10], critic_norm)
        self.score = nn.Linear(10, 1)
        critic_parameters = [*self.body.parameters(), *self.score.parameters()]
        self.optimizer_generator = torch.optim.Adam(self.generator.parameters(), 1e-4, betas=(0.0, 0.9))
        self.optimizer_critic = torch.optim.Adam(critic_parameters, 1e-4, betas=(0.0, 0.9))

    def critic(self, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        h = self.body(x)
        return self.score(h).squeeze(1) + (z * h).sum(1)

    def fake(self, z: torch.Tensor) -> torch.Tensor:
        return self.generator(torch.cat([z, torch.randn(len(z), N_NOISE)], 1))

    def run(self, n_iterations: int) -> None:
        for _ in range(n_iterations):
            for _ in range(N_CRITIC):
                rows = torch.randint(N_CELLS, (BATCH,))
                real, z = self.x[rows], self.z[rows]
                fake = self.fake(z)
                weight = torch.rand(BATCH, 1)
                mixed = (weight * real + (1 - weight) * fake).requires_grad_(True)
                (slope,) = torch.autograd.grad(self.critic(mixed, z).sum(), mixed, create_graph=True)
                penalty = (slope.norm(dim=1) - 1).square().mean()
                loss = self.critic(fake, z).mean() - self.critic(real, z).mean() + 10 * penalty
                self.optimizer_critic.zero_grad()
                loss.backward()
                self.optimizer_critic.step()
            self.optimizer_generator.zero_grad()
            (-self.critic(self.fake(z), z).mean()).backward()
            self.optimizer_generator.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    rng = np.random.default_rng(0)
    counts = sp.random(N_CELLS, N_GENES, density=0.1, format="csr", random_state=0)
    counts.data = rng.poisson(3, counts.nnz) + 1.0
    adata = AnnData(counts.astype(np.float32))
    adata.obsm["Z"] = rng.normal(size=(N_CELLS, N_LATENT)).astype(np.float32)
    x = torch.from_numpy(np.log1p(1e4 * counts.toarray() / counts.sum(axis=1).reshape(-1, 1))).float()
    rows = []
    for name, norms in CASES.items():
        MichiGAN.setup_anndata(adata, latent_key="Z")
        model = MichiGAN(adata, preset="paper", **norms)
        plain = PlainLoop(
            x, torch.from_numpy(adata.obsm["Z"]), **({"critic_norm": "batch", "generator_norm": "batch"} | norms)
        )
        n_iterations = (N_CELLS // BATCH) // N_CRITIC
        model.train(max_epochs=1, plan_kwargs={"prediction_step": False}, enable_progress_bar=False)
        plain.run(3)
        for _ in range(args.rounds):
            start = time.perf_counter()
            plain.run(n_iterations)
            middle = time.perf_counter()
            model.train(max_epochs=1, plan_kwargs={"prediction_step": False})
            end = time.perf_counter()
            n_ours = (N_CELLS // BATCH) / N_CRITIC
            rows.append({"case": name, "plain loop": n_iterations / (middle - start), "ours": n_ours / (end - middle)})
    table = pd.DataFrame(rows)
    table["ratio"] = table["ours"] / table["plain loop"]
    print(table.groupby("case", sort=False).median().round(2).to_string())


if __name__ == "__main__":
    main()
