"""Scores of a critic and their slopes in one forward pass.

Legend: p minibatches (of real cells, of generated ones, of mixes of the two), n cells of a minibatch, i columns of the
input, h hidden units.
"""

from typing import Any, NamedTuple

import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from ._mlp import MLP, Block, ReferenceBatchNorm


def scores_and_slopes(
    body: MLP,
    x_pni: torch.Tensor,
    head_nh: torch.Tensor,
    *,
    mixing_n1: torch.Tensor | None = None,
    n_sloped: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    r"""Scores :math:`\mathrm{head} \cdot \mathrm{body}(x)` and their gradients with respect to x.

    Both can be differentiated with respect to the weights; x is constant, and so are the statistics of batch norm, those of
    the real cells. The derivative of a layer's norm and activation is a diagonal matrix times a symmetric one, so that the
    gradient is a chain of products like those of the forward pass. Automatic differentiation of a gradient takes longer.

    Parameters
    ----------
    body
        Without dropout.
    x_pni, head_nh
        A minibatch of real and one of generated cells; what the body's output is multiplied by in both.
    mixing_n1, n_sloped
        As in :meth:`Critic.scores_and_slopes`.

    Returns
    -------
    Scores of shape ``(2, n)`` and slopes of shape ``(p, n_sloped, i)``, p being 1 for mixes and 2 otherwise.
    """
    first, *others = body.blocks()
    weight_hi = first.linear.weight
    n_minibatches = len(x_pni) if mixing_n1 is None else 1  # the last ones, which slopes are taken in
    n_slopes = n_minibatches * len(x_pni[0, :n_sloped])
    product_nh, *for_slopes = _Products.apply(x_pni.flatten(0, 1), weight_hi, n_slopes)
    product_pnh = product_nh.unflatten(0, x_pni.shape[:2])
    if mixing_n1 is not None:  # a linear layer's product with a mix is the mix of its products
        product_pnh = torch.cat([product_pnh, torch.lerp(product_pnh[1:], product_pnh[:1], mixing_n1)])
    sloped = slice(-n_minibatches, None), slice(n_sloped)
    h_pnh, derivative = _pass(first, product_pnh, sloped)
    derivatives = [derivative]
    for block in others:
        h_pnh, derivative = _pass(block, h_pnh @ block.linear.weight.T, sloped)
        derivatives.append(derivative)
    slope_pnh = derivatives[-1].transposed_times(head_nh[:n_sloped])
    for block, derivative in zip(others[::-1], derivatives[-2::-1], strict=True):
        slope_pnh = derivative.transposed_times(slope_pnh @ block.linear.weight)
    slope_ni = _Slopes.apply(slope_pnh.flatten(0, 1), weight_hi.detach(), *for_slopes)
    return (h_pnh[: len(x_pni)] * head_nh).sum(2), slope_ni.unflatten(0, slope_pnh.shape[:2])


class _Products(Function):
    """First layer's products with the input, and placeholders for what :class:`_Slopes` adds to its weights' gradient.

    This gradient is then one product of matrices instead of two and a sum; the first layer has nearly all weights.
    """

    @staticmethod
    def forward(ctx: Any, x_ni: torch.Tensor, weight_hi: torch.Tensor, n_slopes: int) -> tuple[torch.Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x_ni)
        places = (weight_hi.new_zeros(()).expand(n_slopes, n) for n in weight_hi.shape)
        return x_ni @ weight_hi.T, *places

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, product_nh: torch.Tensor | None, *of_slopes: torch.Tensor | None) -> tuple[Any, ...]:
        pairs = [(product_nh, *ctx.saved_tensors), of_slopes]
        left, right = (torch.cat(parts) for parts in zip(*(p for p in pairs if p[0] is not None), strict=True))
        return None, left.T @ right, None


class _Slopes(Function):
    """Gradient from the upper layers times the first layer's weights; their gradient is left to :class:`_Products`."""

    @staticmethod
    def forward(
        ctx: Any, v_nh: torch.Tensor, weight_hi: torch.Tensor, place_nh: torch.Tensor, place_ni: torch.Tensor
    ) -> torch.Tensor:
        ctx.save_for_backward(v_nh, weight_hi)
        return v_nh @ weight_hi

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope_ni: torch.Tensor) -> tuple[Any, ...]:
        v_nh, weight_hi = ctx.saved_tensors
        return slope_ni @ weight_hi.T, None, v_nh, slope_ni


class _Derivative(NamedTuple):
    """Derivative of a norm and an activation: ``gain`` (diagonal) times that of standardising a cell (layer norm)."""

    gain: torch.Tensor
    standardized: torch.Tensor | None = None
    deviation: torch.Tensor | None = None

    def transposed_times(self, v: torch.Tensor) -> torch.Tensor:
        v = self.gain * v
        if self.standardized is None:
            return v
        along = (self.standardized * v).mean(2, keepdim=True)
        return (v - v.mean(2, keepdim=True) - self.standardized * along) / self.deviation


def _pass(block: Block, product_pnh: torch.Tensor, sloped: tuple[slice, slice]) -> tuple[torch.Tensor, _Derivative]:
    """Output of a block given its linear layer's products, and its derivative at the ``sloped`` cells."""
    norm, y = block.norm, product_pnh + block.linear.bias
    gain, standardizing = 1.0, ()
    if isinstance(norm, ReferenceBatchNorm):
        mean, deviation = norm.statistics(y)
        gain = norm.weight / deviation
        y = (y - mean) * gain + norm.bias
    elif norm is not None:
        y = y - y.mean(2, keepdim=True)
        deviation = (y.square().mean(2, keepdim=True) + norm.eps).sqrt()
        standardized = y / deviation
        gain = norm.weight
        y = standardized * gain + norm.bias
        standardizing = (standardized[sloped], deviation[sloped])
    at = y[sloped].detach()
    slope = torch.ones_like(at).masked_fill_(at <= 0, block.activation.negative_slope)
    return block.activation(y), _Derivative(slope * gain, *standardizing)
