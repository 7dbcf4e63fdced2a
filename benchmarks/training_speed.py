"""Steps per second of training, beside the loop that one would write first.

    python benchmarks/training_speed.py [--rounds 5]

4,221 cells x 4,062 genes. The GAN has the published setting: minibatches of 32, an iteration of five critic steps and one
generator step. The beta-TCVAE has minibatches of 128. The plain loops have the same networks and losses, but for the critic's
batch norm, which is the one that comes to hand, of real and generated cells by themselves (and learns no mean); `train` has
logging, history, callbacks, progress bar and sparse counts that are normalised on the way; "bare" is a loop around the
losses of our module, with nothing of that. All take turns, so that whatever else the machine does befalls each; ratios are
those of each round, of which the median is shown.
"""

from __future__ import annotations

import argparse
import logging
import time
import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from anndata import AnnData
from lightning.pytorch import Callback, LightningModule, Trainer
from scvi import REGISTRY_KEYS
from torch import nn

from scmichigan import BetaTCVAE, MichiGAN
from scmichigan.losses import total_correlation_parts

N_CELLS, N_GENES, N_LATENT, N_NOISE, BATCH, N_CRITIC, BATCH_TCVAE = 4221, 4062, 10, 118, 32, 5, 128
# The first epochs of a training: each five of a hundred end with a look at the latent recovery, as each ten of two hundred do.
N_EPOCHS, N_EPOCHS_OF_ALL = 5, 100
CASES = {
    "batch norm": {},
    "no norm in the critic": {"critic_norm": None, "generator_norm": "layer"},
}


class FirstEpochs(Callback):
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.should_stop = trainer.current_epoch + 1 == N_EPOCHS


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
                with torch.no_grad():
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


def bare_gan(model: MichiGAN, x: torch.Tensor, z: torch.Tensor, n_iterations: int) -> None:
    module = model.module.train()
    critic, generator = (
        torch.optim.Adam(net.parameters(), 1e-4, betas=(0.0, 0.9), fused=True)
        for net in (module.critic, module.generator)
    )
    for step in range(n_iterations * N_CRITIC):
        rows = torch.randint(N_CELLS, (BATCH,))
        tensors = {REGISTRY_KEYS.X_KEY: x[rows], REGISTRY_KEYS.BATCH_KEY: torch.zeros(BATCH, 1)}
        condition = module.inference(z[rows], None, module.inputs.covariates(tensors))
        is_last = step % N_CRITIC == N_CRITIC - 1
        with torch.set_grad_enabled(is_last):
            fake = module.generative(condition["condition"])
        critic.zero_grad()
        module.loss(tensors, condition, fake, player="critic").loss.backward()
        critic.step()
        if is_last:
            module.critic.requires_grad_(False)
            generator.zero_grad()
            module.loss(tensors, condition, fake, player="generator").loss.backward()
            generator.step()
            module.critic.requires_grad_(True)


class PlainTCVAE:
    def __init__(self, x: torch.Tensor) -> None:
        self.x = x
        self.encoder = nn.Sequential(network([N_GENES, 512, 256], "batch", 0.2), nn.Linear(256, 2 * N_LATENT))
        self.decoder = nn.Sequential(network([N_LATENT, 256, 512], "batch", 0.2), nn.Linear(512, N_GENES))
        self.optimizer = torch.optim.Adam([*self.encoder.parameters(), *self.decoder.parameters()], 1e-3)

    def run(self, n_steps: int) -> None:
        for _ in range(n_steps):
            x = self.x[torch.randint(N_CELLS, (BATCH_TCVAE,))]
            mean, raw = self.encoder(x).chunk(2, 1)
            q = torch.distributions.Normal(mean, nn.functional.softplus(raw) + 1e-4)
            z = q.rsample()
            reconstruction = -torch.distributions.Normal(self.decoder(z), 1.0).log_prob(x).sum(1)
            kl = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum(1)
            total_correlation = total_correlation_parts(z, q.loc, q.scale, n_obs=N_CELLS).total_correlation
            self.optimizer.zero_grad()
            (reconstruction + kl + 10 * total_correlation).mean().backward()
            self.optimizer.step()


def total_correlation_steps(n_steps: int) -> None:
    for _ in range(n_steps):
        z, mean, raw = (torch.randn(BATCH_TCVAE, N_LATENT, requires_grad=True) for _ in range(3))
        total_correlation_parts(z, mean, raw.exp(), n_obs=N_CELLS).total_correlation.mean().backward()


def steps_per_second(ways: dict[str, Callable[[int], None]], n: int, rounds: int) -> pd.DataFrame:
    """Of each way, a column, in each round, a row; the ways take turns."""
    rates = []
    for _ in range(rounds):
        rates.append({})
        for name, run in ways.items():
            start = time.perf_counter()
            run(n)
            rates[-1][name] = n / (time.perf_counter() - start)
    return pd.DataFrame(rates)


def show(title: str, values: pd.DataFrame) -> None:
    """Medians of the rounds."""
    print(f"{title}\n{values.median().round(3).to_string()}\n", flush=True)


def cells() -> AnnData:
    rng = np.random.default_rng(0)
    counts = sp.random(N_CELLS, N_GENES, density=0.1, format="csr", random_state=0)
    counts.data = rng.poisson(3, counts.nnz) + 1.0
    adata = AnnData(counts.astype(np.float32))
    adata.obsm["Z"] = rng.normal(size=(N_CELLS, N_LATENT)).astype(np.float32)
    return adata


def normalized(adata: AnnData) -> torch.Tensor:
    return torch.from_numpy(np.log1p(1e4 * adata.X.toarray() / adata.X.sum(axis=1).reshape(-1, 1))).float()


def measure_gans(adata: AnnData, rounds: int) -> None:
    x, raw, z = normalized(adata), torch.from_numpy(adata.X.toarray()), torch.from_numpy(adata.obsm["Z"])
    # Of an epoch; `train` has the minibatches of one in a step of its trainer.
    n_iterations = N_CELLS // BATCH // N_CRITIC
    settings = {
        "max_epochs": N_EPOCHS_OF_ALL,
        "callbacks": [FirstEpochs()],
        "limit_train_batches": n_iterations,
        "plan_kwargs": {"prediction_step": False},
    }
    ways = {}
    for name, norms in CASES.items():
        MichiGAN.setup_anndata(adata, latent_key="Z")
        model = MichiGAN(adata, preset="paper", **norms)
        plain = PlainLoop(x, z, **({"critic_norm": "batch", "generator_norm": "batch"} | norms))
        model.train(**settings, enable_progress_bar=False)
        plain.run(2)
        ways[f"plain, {name}"] = plain.run
        ways[f"bare, {name}"] = partial(bare_gan, model, raw, z)
        ways[f"train, {name}"] = lambda n, model=model: model.train(**settings)
    rates = steps_per_second(ways, N_EPOCHS * n_iterations, rounds)
    show("GAN, iterations per second", rates)
    batch_norm, no_norm = CASES
    pairs = [(f"train, {name}", f"{way}, {name}") for name in CASES for way in ("plain", "bare")]
    pairs.append((f"train, {no_norm}", f"plain, {batch_norm}"))
    show("GAN, ratios", pd.DataFrame({f"{a} / {b}": rates[a] / rates[b] for a, b in pairs}))


def measure_tcvae(adata: AnnData, rounds: int) -> None:
    BetaTCVAE.setup_anndata(adata)
    model, plain = BetaTCVAE(adata), PlainTCVAE(normalized(adata))
    model.train(max_epochs=1, train_size=1.0, batch_size=BATCH_TCVAE, enable_progress_bar=False)
    plain.run(2)
    ways = {
        "plain": plain.run,
        "train": lambda n: model.train(max_epochs=N_EPOCHS, train_size=1.0, batch_size=BATCH_TCVAE),
        "total correlation": total_correlation_steps,
    }
    rates = steps_per_second(ways, N_EPOCHS * (N_CELLS // BATCH_TCVAE), rounds)
    show("beta-TCVAE, steps per second", rates[["plain", "train"]])
    fraction = rates["train"] / rates["total correlation"]
    ratios = {"train / plain": rates["train"] / rates["plain"], "fraction of the total correlation in a step": fraction}
    show("beta-TCVAE, ratios", pd.DataFrame(ratios))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    adata = cells()
    measure_gans(adata, args.rounds)
    measure_tcvae(adata, args.rounds)


if __name__ == "__main__":
    main()
