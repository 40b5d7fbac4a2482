"""Compare a module with a reference that is written from the formula: outputs and all gradients, in 64 bits."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

Reference = Callable[[Mapping[str, Tensor], Tensor], Tensor]
"""Computes the output from copies of the module's parameters, by name, and from the input."""


def assert_same_with_gradients(
    module: nn.Module,
    reference: Reference,
    x: Tensor,
    *,
    call: Callable[[Tensor], Tensor] | None = None,
) -> None:
    """Assert that module and reference give the same output, and the same gradient of input and parameters.

    Parameters are moved away from where they start (gains of 1, biases of 0, scales of 0.1), so that each of them
    has a say in the output.

    Args:
        module: Put into 64 bits; keeps its mode.
        reference: Knows nothing of the module but the values of its parameters.
        x: The input, in any precision.
        call: How the module is called, where that is not `module(x)`.
    """
    module.double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    copies = {name: p.detach().clone().requires_grad_() for name, p in module.named_parameters()}
    ours_x, reference_x = (x.detach().double().clone().requires_grad_() for _ in range(2))

    ours = (call or module)(ours_x)
    expected = reference(copies, reference_x)
    torch.testing.assert_close(ours, expected)

    weights = torch.randn(
        ours.shape, generator=generator, dtype=torch.float64
    )  # a loss that treats no value alike
    (ours * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(ours_x.grad, reference_x.grad)
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert copies[name].grad is not None, f"the reference does not read {name}"
        torch.testing.assert_close(
            parameter.grad, copies[name].grad, msg=lambda text, name=name: f"gradient of {name}: {text}"
        )
