"""Module of the beta-TCVAE that models counts."""

from typing import Literal

import torch
from scvi import REGISTRY_KEYS
from scvi.distributions import NegativeBinomial, Poisson, ZeroInflatedNegativeBinomial
from scvi.module.base import auto_move_data
from scvi.nn import DecoderSCVI, Encoder
from torch import nn
from torch.distributions import Distribution

from ._beta_tcvae import TCVAEBase
from ._expression import CellFormat

# What scvi-tools' negative binomial adds to its means.
_MIN_RATE = 1e-8


class CountTCVAEModule(TCVAEBase):
    r"""Variational autoencoder of counts with a penalty on the total correlation of its latent.

    The loss of :class:`BetaTCVAEModule` with a likelihood of counts, and the encoder and decoder of
    :class:`scvi.model.SCVI` (Lopez et al. 2018). The expected counts of a cell with total T are
    :math:`T \cdot \mathrm{softmax}_g f(z)`, or :math:`T / G \cdot \mathrm{softplus} f_g(z)` for G genes where totals are
    registered, which may count other genes, too. The encoder sees log-normalised expression.

    Parameters
    ----------
    gene_likelihood
        ``"poisson"``, ``"nb"`` (negative binomial) or ``"zinb"`` (zero-inflated). Each gene has one dispersion.
    n_hidden, n_layers
        Width and number of the hidden layers of encoder and decoder.
    dropout
        Dropout probability of the encoder's hidden layers.
    n_input, cells, n_latent, beta, kl_weight
        As in :class:`BetaTCVAEModule`.
    """

    makes_counts = True

    def __init__(
        self,
        n_input: int,
        *,
        cells: CellFormat,
        gene_likelihood: Literal["poisson", "nb", "zinb"] = "nb",
        n_latent: int = 10,
        n_hidden: int = 128,
        n_layers: int = 1,
        beta: float = 10.0,
        kl_weight: float = 1.0,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(n_latent=n_latent, beta=beta, kl_weight=kl_weight, cells=cells)
        self.gene_likelihood = gene_likelihood
        layers = {"n_hidden": n_hidden, "n_layers": n_layers, "use_batch_norm": True}
        self.encoder = Encoder(n_input, n_latent, dropout_rate=dropout, **layers)
        # The covariate columns enter the first layer, as in SCVI.
        self.decoder = DecoderSCVI(
            n_latent + self.inputs.n_columns,
            n_input,
            scale_activation="softplus" if cells.has_totals else "softmax",
            **layers,
        )
        # A softplus starts near 1: the total is divided so that this is an average gene's fraction of it.
        self.size_unit = n_input if cells.has_totals else 1
        if gene_likelihood != "poisson":
            self.log_theta = nn.Parameter(torch.zeros(n_input))

    def _get_generative_input(self, tensors: dict, inference_outputs: dict, **kwargs) -> dict[str, torch.Tensor]:
        inputs = {"covariates": self.inputs.covariates(tensors), "totals": self.inputs.totals(tensors)}
        return {"z": inference_outputs["z"], **inputs}

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As in :class:`TCVAEBase`."""
        # Part by part: the whole encoder makes a distribution that refuses NaN, and only the loss is watched for it.
        q = self.encoder
        hidden = q.encoder(x)
        return q.mean_encoder(hidden), (q.var_activation(q.var_encoder(hidden)) + q.var_eps).sqrt()

    @auto_move_data
    def generative(self, z: torch.Tensor, covariates: torch.Tensor, totals: torch.Tensor) -> dict[str, Distribution]:
        """Likelihood ``px`` of the counts of cells with these totals, shape ``(n_cells, n_genes)``."""
        library = (totals / self.size_unit).log()
        scale, _, rate, zi_logits = self.decoder("gene", torch.cat([z, covariates], dim=1), library)
        if self.gene_likelihood == "poisson":
            return {"px": Poisson(rate + _MIN_RATE, validate_args=False, scale=scale)}
        theta = self.log_theta.exp()
        if self.gene_likelihood == "zinb":
            return {"px": ZeroInflatedNegativeBinomial(mu=rate, theta=theta, zi_logits=zi_logits, scale=scale)}
        return {"px": NegativeBinomial(mu=rate, theta=theta, scale=scale)}

    def reconstruction(self, tensors: dict[str, torch.Tensor], x: torch.Tensor, px: Distribution) -> torch.Tensor:
        """``-log p`` of each cell's counts."""
        return -px.log_prob(tensors[REGISTRY_KEYS.X_KEY]).sum(-1)
