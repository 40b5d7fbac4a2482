import pytest
import torch
from references import assert_same_with_gradients
from torch.nn import functional as F

from lightning_modules.blocks.initialization import initialize
from lightning_modules.blocks.recurrent import CELLS, RecurrentLayer

WIDTH = 4
LENGTHS = torch.tensor([2, 6, 1, 4])


def _vanilla(x, state, weights):
    w, u, b, c = weights
    return (torch.tanh(w @ x + b + u @ state[0] + c),)


def _relu(x, state, weights):
    w, u, b, c = weights
    return (torch.relu(w @ x + b + u @ state[0] + c),)


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


STEP = {"vanilla": (_vanilla, 1), "vanilla relu": (_relu, 1), "lstm": (_lstm, 2), "gru": (_gru, 1)}


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


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("name", STEP)
def test_a_packed_layer_and_its_gradients_equal_a_loop_written_from_the_equations(name, bidirectional):
    torch.manual_seed(0)
    cell, _, activation = name.partition(" ")
    layer = RecurrentLayer(cell, 3, WIDTH, bidirectional=bidirectional, activation=activation or "tanh")
    initialize(layer, init="auto", activation="tanh")

    def reference(weights, x):
        weights = {n.removeprefix("cell."): p for n, p in weights.items()}
        rows = []
        for row, length in zip(x, LENGTHS.tolist(), strict=True):
            ways = [_loop(name, weights, row[:length], way) for way in ("", "_reverse")[: 1 + bidirectional]]
            rows.append(F.pad(torch.cat(ways, dim=1), (0, 0, 0, len(row) - length)))
        return torch.stack(rows)

    x = torch.randn(4, 6, 3)
    assert_same_with_gradients(layer, reference, x, call=lambda x: layer(x, LENGTHS))


def test_every_cell_has_its_equations():
    assert set(CELLS) == {name.partition(" ")[0] for name in STEP}


def test_every_cell_is_described():
    for entry in CELLS.values():
        assert all((entry.formula, entry.range, entry.used_for, entry.source))
