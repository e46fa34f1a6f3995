"""Dropout with fast masks does what torch's dropout does, for other masks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from evo.training.engines.dropout import FastDropout, use_fast_dropout


def fast(p: float) -> nn.Module:
    model = nn.Sequential(nn.Dropout(p))
    use_fast_dropout(model)
    assert isinstance(model[0], FastDropout)
    return model


@pytest.mark.parametrize("p", [0.05, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_each_output_is_dropped_with_the_rate_and_the_mean_stays(p: float, kind: torch.dtype) -> None:
    torch.manual_seed(0)
    count = 200_000
    output = fast(p)(torch.ones(count // 7, 7, dtype=kind)).float()
    dropped = (output == 0).float().mean().item()
    assert dropped == pytest.approx(p, abs=4 * (p * (1 - p) / count) ** 0.5)
    assert output[output != 0].unique().tolist() == pytest.approx([1 / (1 - p)], rel=0.01)
    columns = (output == 0).float().mean(dim=0)  # the four numbers of a draw are equally likely
    assert (columns - p).abs().max() < 5 * (7 * p * (1 - p) / count) ** 0.5


def test_neighbours_are_dropped_independently() -> None:
    torch.manual_seed(0)
    dropped = (fast(0.5)(torch.ones(400_000)) == 0).float() - 0.5
    for distance in range(1, 9):
        assert abs((dropped[distance:] * dropped[:-distance]).mean().item()) < 0.25 * 5 / 400_000**0.5


def test_the_gradient_passes_where_the_output_does() -> None:
    torch.manual_seed(0)
    images = torch.randn(13, 5, requires_grad=True)
    output = fast(0.3)(images)
    output.sum().backward()
    assert images.grad is not None
    torch.testing.assert_close(images.grad * images, output)


def test_masks_come_from_the_seeded_generator() -> None:
    layer, images = fast(0.4), torch.ones(1001)
    torch.manual_seed(3)
    first = layer(images)
    torch.manual_seed(3)
    assert torch.equal(layer(images), first)
    assert not torch.equal(layer(images), first)


def test_evaluation_and_the_ends_of_the_range_are_torchs() -> None:
    images = torch.randn(50)
    assert torch.equal(fast(0.4).eval()(images), images)
    assert torch.equal(fast(0.0)(images), images)
    assert not fast(1.0)(images).any()


class OwnDropout(nn.Dropout):
    """Someone's own layer, which may do something else."""


def test_other_layers_stay_as_they_are() -> None:
    model = nn.Sequential(OwnDropout(), nn.Dropout(inplace=True), nn.Dropout2d(), nn.AlphaDropout())
    types = [type(layer) for layer in model]
    use_fast_dropout(model)
    assert [type(layer) for layer in model] == types
