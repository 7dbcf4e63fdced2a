"""Scores of a critic and a penalty on their slopes, with a single backward pass.

Legend: p minibatches (of real cells, of generated ones, of mixes of the two), n cells of a minibatch, i columns of the
input, h hidden units, g genes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.functional import pad

from ._mlp import MLP, Block


def scores_and_penalty(
    body: MLP,
    x_pni: torch.Tensor,
    head_nh: torch.Tensor,
    penalty: Callable[[torch.Tensor], torch.Tensor],
    *,
    scale_g: torch.Tensor,
    mixing_n1: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    r"""Scores :math:`\mathrm{head} \cdot \mathrm{body}(x)` and a penalty on their slopes, as functions of the weights.

    A penalty :math:`P(s)` on the slopes :math:`s = \nabla_x D` has the gradient of :math:`\sum v \cdot s` with
    :math:`v = \partial P / \partial s` held fixed, and :math:`v \cdot s` is the derivative of the score along v. Values
    and derivatives along v pass the layers side by side, so that the backward pass meets each weight once, where it
    would meet it up to four times if the slopes themselves were differentiated.

    Parameters
    ----------
    body
        Without dropout. Batch norm takes the statistics of each minibatch, as in training.
    x_pni
        A minibatch of real and one of generated cells. The first columns are the cells times ``scale_g``, further ones
        constants.
    head_nh
        What the body's output is multiplied by.
    penalty
        Of the slopes at the cells of one minibatch, shape ``(n, g)``.
    scale_g
        What cells were multiplied by.
    mixing_n1
        Shares of the real cells in the mixes of real and generated ones whose slopes are penalised; ``None`` penalises
        those of the cells themselves.

    Returns
    -------
    Scores, shape ``(2, n)``, and the sum of the penalties of the minibatches.

    References
    ----------
    Pearlmutter 1994, "Fast exact multiplication by the Hessian", for derivatives along a vector in place of derivatives
    of derivatives.
    """
    blocks, n_genes = body.blocks(), len(scale_g)
    first = blocks[0].linear.weight
    n_points = len(x_pni) if mixing_n1 is None else 1

    def with_mixes(y_pnh: torch.Tensor) -> torch.Tensor:
        # The first layer's products with mixes are mixes of its products.
        return y_pnh if mixing_n1 is None else torch.cat([y_pnh, torch.lerp(y_pnh[1:], y_pnh[:1], mixing_n1)])

    with torch.no_grad():
        y_pnh = x_pni @ first.T
        slope_png = _slopes(blocks, with_mixes(y_pnh)[-n_points:], head_nh)[..., :n_genes] * scale_g
    slope_png.requires_grad_(True)
    value = sum(penalty(slope_ng) for slope_ng in slope_png)
    along_png = torch.autograd.grad(value, slope_png)[0] * scale_g
    with torch.no_grad():
        along_pni = pad(along_png, (0, x_pni.shape[2] - n_genes))
        x_pni, y_pnh = torch.cat([x_pni, along_pni]), torch.cat([y_pnh, along_pni @ first.T])
    y_pnh, tangent_pnh = _KnownProduct.apply(x_pni, first, y_pnh).tensor_split([-n_points])
    h_pnh, tangent_pnh = _advance(blocks[0], with_mixes(y_pnh), tangent_pnh)
    for block in blocks[1:]:
        products = torch.cat([h_pnh, tangent_pnh]) @ block.linear.weight.T
        h_pnh, tangent_pnh = _advance(block, *products.tensor_split([-n_points]))
    directional = (tangent_pnh * head_nh).sum()
    return (h_pnh[:2] * head_nh).sum(2), value.detach() + directional - directional.detach()


class _KnownProduct(torch.autograd.Function):
    """``x @ weight.T`` where its value is known already; only the weight has a gradient."""

    @staticmethod
    def forward(ctx, x_pni: torch.Tensor, weight_hi: torch.Tensor, y_pnh: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x_pni)
        return y_pnh.view_as(y_pnh)

    @staticmethod
    def backward(ctx, grad_pnh: torch.Tensor) -> tuple[None, torch.Tensor, None]:
        (x_pni,) = ctx.saved_tensors
        return None, grad_pnh.flatten(0, 1).T @ x_pni.flatten(0, 1), None


class _Derivative(NamedTuple):
    """Derivative of a block's norm and activation: a diagonal matrix ``gain`` times a symmetric one."""

    gain: torch.Tensor
    standardized: torch.Tensor | None = None
    deviation: torch.Tensor | None = None
    dim: int | None = None

    def times(self, v: torch.Tensor) -> torch.Tensor:
        return self.gain * self._symmetric(v)

    def transposed_times(self, u: torch.Tensor) -> torch.Tensor:
        return self._symmetric(self.gain * u)

    def _symmetric(self, v: torch.Tensor) -> torch.Tensor:
        if self.standardized is None:
            return v
        mean = v.mean(self.dim, keepdim=True)
        return (v - mean - self.standardized * (self.standardized * v).mean(self.dim, keepdim=True)) / self.deviation


def _pass(block: Block, product_pnh: torch.Tensor, n_points: int) -> tuple[torch.Tensor, _Derivative]:
    """What a block makes of its linear layer's products, and its derivative in the last ``n_points`` minibatches."""
    norm, y = block.norm, product_pnh + block.linear.bias
    standardization = ()
    if norm is not None:
        dim = 1 if isinstance(norm, nn.BatchNorm1d) else 2
        variance, mean = torch.var_mean(y, dim=dim, correction=0, keepdim=True)
        deviation = (variance + norm.eps).sqrt()
        standardized = (y - mean) / deviation
        y = standardized * norm.weight + norm.bias
        standardization = (standardized[-n_points:], deviation[-n_points:], dim)
    points = y[-n_points:]
    gain = torch.ones_like(points).masked_fill_(points <= 0, getattr(block.activation, "negative_slope", 0.0))
    if norm is not None:
        gain = gain * norm.weight
    return block.activation(y), _Derivative(gain, *standardization)


def _slopes(blocks: list[Block], product_pnh: torch.Tensor, head_nh: torch.Tensor) -> torch.Tensor:
    """Slopes with respect to the input, from the first linear layer's products."""
    h_pnh, derivative = _pass(blocks[0], product_pnh, len(product_pnh))
    derivatives = [derivative]
    for block in blocks[1:]:
        h_pnh, derivative = _pass(block, h_pnh @ block.linear.weight.T, len(product_pnh))
        derivatives.append(derivative)
    slope = head_nh
    for block, derivative in zip(reversed(blocks), reversed(derivatives), strict=True):
        slope = derivative.transposed_times(slope) @ block.linear.weight
    return slope


def _advance(block: Block, product_pnh: torch.Tensor, tangent_pnh: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Bring values and derivatives from a block's linear layer to its output."""
    if isinstance(block.norm, nn.BatchNorm1d):
        with torch.no_grad():  # its running statistics follow every minibatch
            for product_nh in product_pnh:
                block.norm(product_nh + block.linear.bias)
    h_pnh, derivative = _pass(block, product_pnh, len(tangent_pnh))
    return h_pnh, derivative.times(tangent_pnh)
