import pytest
import torch

from lightning_modules.blocks.initialization import initialize
from lightning_modules.blocks.recurrent import CELLS, RecurrentLayer

WIDTH = 4
LENGTHS = torch.tensor([2, 6, 1, 4])


def _vanilla(x, state, weights):
    w, u, b, c = weights
    h = torch.tanh(w @ x + b + u @ state[0] + c)
    return (h,)


def _lstm(x, state, weights):
    w, u, b, c = weights
    h, cell = state
    i, f, g, o = (w @ x + b + u @ h + c).chunk(4)
    cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(cell), cell


def _gru(x, state, weights):
    w, u, b, c = weights
    (h,) = state
    wr, wz, wn = (w @ x + b).chunk(3)
    ur, uz, un = (u @ h + c).chunk(3)
    z = torch.sigmoid(wz + uz)
    n = torch.tanh(wn + torch.sigmoid(wr + ur) * un)
    return ((1 - z) * n + z * h,)


STEP = {"vanilla": (_vanilla, 1), "lstm": (_lstm, 2), "gru": (_gru, 1)}


def _loop(name: str, weights: dict[str, torch.Tensor], x: torch.Tensor, suffix: str) -> torch.Tensor:
    """Run one row of valid steps through the cell's equations."""
    step, num_states = STEP[name]
    parts = tuple(weights[f"{part}_l0{suffix}"] for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    state = tuple(torch.zeros(WIDTH, dtype=x.dtype) for _ in range(num_states))
    outputs = []
    for step_x in reversed(x) if suffix else x:
        state = step(step_x, state, parts)
        outputs.append(state[0])
    return torch.stack(outputs[::-1] if suffix else outputs)


@pytest.mark.parametrize("name", CELLS)
def test_a_packed_bidirectional_layer_equals_a_loop_written_from_the_equations(name):
    torch.manual_seed(0)
    layer = RecurrentLayer(name, 3, WIDTH, bidirectional=True).double()
    initialize(layer, init="auto", activation="tanh")
    for parameter in layer.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)  # biases too
    weights = {n: p.detach().clone().requires_grad_() for n, p in layer.cell.named_parameters()}
    x = torch.randn(4, 6, 3, dtype=torch.float64)
    ours_x, loop_x = x.clone().requires_grad_(), x.clone().requires_grad_()

    ours = layer(ours_x, LENGTHS)
    loss = torch.zeros((), dtype=torch.float64)
    for row, length in enumerate(LENGTHS.tolist()):
        valid = loop_x[row, :length]
        expected = torch.cat([_loop(name, weights, valid, ""), _loop(name, weights, valid, "_reverse")], dim=1)
        torch.testing.assert_close(ours[row, :length], expected)
        assert not ours[row, length:].any()
        loss = loss + expected.pow(3).sum()
    loss.backward()
    ours.pow(3).sum().backward()
    torch.testing.assert_close(ours_x.grad, loop_x.grad)
    for n, p in layer.cell.named_parameters():
        torch.testing.assert_close(p.grad, weights[n].grad)


def test_a_gru_has_three_quarters_of_an_lstms_weights():
    sizes = {n: sum(p.numel() for p in RecurrentLayer(n, 5, 7, bidirectional=True).parameters()) for n in CELLS}
    assert sizes["gru"] * 4 == sizes["lstm"] * 3
    assert sizes["vanilla"] * 3 == sizes["gru"]


def test_the_vanilla_cell_takes_relu():
    torch.manual_seed(0)
    layer = RecurrentLayer("vanilla", 3, WIDTH, bidirectional=False, activation="relu")
    assert layer(torch.randn(2, 5, 3), torch.tensor([5, 3])).min() == 0


def test_every_cell_is_described():
    for entry in CELLS.values():
        assert all((entry.formula, entry.range, entry.used_for, entry.source))
