"""Linear layers through oneDNN give torch's numbers, change nothing else, and are refused where they would not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from evo.data import PreparedDataset
from evo.models import mlp
from evo.space.training_settings import TrainingSettings
from evo.training.engines import onednn
from evo.training.engines.onednn import TOLERANCE, OneDnnLinear, use_onednn
from evo.training.jobs import TrainingResult
from evo.training.trainer import Trainer

needs_operator = pytest.mark.skipif(not onednn.usable(), reason="this build of torch has no usable oneDNN product")
SIZES = st.integers(1, 70)


def results(layer: nn.Linear, inputs: torch.Tensor, gradient: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return a layer's output and its gradients: of the inputs, the weight and, where there is one, the bias."""
    inputs = inputs.clone().requires_grad_()
    output = layer(inputs)
    layer.zero_grad()
    output.backward(gradient)
    gradients = {name: value.grad for name, value in (("inputs", inputs), *layer.named_parameters())}
    return {"output": output.detach()} | {name: value.clone() for name, value in gradients.items() if value is not None}


def check_equal(ours: dict[str, torch.Tensor], torchs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == torchs.keys()
    for name, expected in torchs.items():
        assert ours[name].shape == expected.shape, name
        assert ours[name].dtype == expected.dtype, name
        assert (ours[name] - expected).abs().max() <= TOLERANCE * expected.abs().max(), name


def twins(inputs: int, outputs: int, *, bias: bool = True, **more: Any) -> tuple[nn.Linear, nn.Linear]:
    """Return a plain layer and one of oneDNN with the same weights."""
    plain = nn.Linear(inputs, outputs, bias=bias, **more)
    ours = nn.Linear(inputs, outputs, bias=bias, **more)
    ours.load_state_dict(plain.state_dict())
    use_onednn(ours)
    assert type(ours) is OneDnnLinear
    return plain, ours


@needs_operator
@settings(max_examples=60)
@given(
    batch=st.lists(SIZES, min_size=1, max_size=2),
    inputs=st.integers(1, 300),
    outputs=SIZES,
    bias=st.booleans(),
    seed=st.integers(0, 99),
)
def test_output_and_all_gradients_are_torchs(
    batch: list[int], inputs: int, outputs: int, bias: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    plain, ours = twins(inputs, outputs, bias=bias)
    # The difference of two sums is measured by the largest number of the result: no column may be all cancellation.
    images, gradient = torch.rand(*batch, inputs) + 0.5, torch.rand(*batch, outputs) + 0.5
    plain.weight.data.abs_()
    ours.weight.data.abs_()
    check_equal(results(ours, images, gradient), results(plain, images, gradient))


@needs_operator
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 33), (64, 33), (5, 7, 33), (33,)], ids=str)
def test_every_kind_of_batch_goes_through_the_operator(
    shape: tuple[int, ...], bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    plain, ours = twins(33, 17, bias=bias)
    calls, product = [0], onednn._product

    def counted(*arguments: Any) -> torch.Tensor:
        calls[0] += 1
        return product(*arguments)

    monkeypatch.setattr(onednn, "_product", counted)
    images, gradient = torch.randn(shape), torch.randn(*shape[:-1], 17)
    check_equal(results(ours, images, gradient), results(plain, images, gradient))
    assert calls[0] == 3


@needs_operator
def test_inputs_that_lie_otherwise_in_memory_give_the_same() -> None:
    torch.manual_seed(0)
    plain, ours = twins(33, 17)
    images, gradient = torch.randn(33, 64).t(), torch.randn(17, 64).t()
    assert not images.is_contiguous()
    check_equal(results(ours, images, gradient), results(plain, images, gradient))


@needs_operator
@pytest.mark.parametrize("frozen", ["weight", "bias"])
def test_a_frozen_part_gets_no_gradient_and_the_rest_does(frozen: str) -> None:
    torch.manual_seed(0)
    plain, ours = twins(33, 17)
    for layer in (plain, ours):
        layer.get_parameter(frozen).requires_grad_(False)
    images, gradient = torch.randn(5, 33), torch.randn(5, 17)
    found = results(ours, images, gradient)
    assert frozen not in found
    check_equal(found, results(plain, images, gradient))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_numbers_go_torchs_way_to_the_last_bit(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> torch.Tensor:
        raise AssertionError("the operator was called")

    monkeypatch.setattr(onednn, "_product", refuse)
    plain, ours = twins(33, 17, dtype=dtype)
    images, gradient = torch.randn(5, 33, dtype=dtype), torch.randn(5, 17, dtype=dtype)
    expected = results(plain, images, gradient)
    for name, value in results(ours, images, gradient).items():
        assert torch.equal(value, expected[name]), name


def bfloat16_results(layer: nn.Linear, inputs: torch.Tensor, gradient: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return what `results` does, of a layer in bfloat16 as trainings use it: only the forward pass under autocast."""

    def autocast(images: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output: torch.Tensor = forward(images)
        return output

    forward, layer.forward = layer.forward, autocast  # type: ignore[method-assign]  # this one layer's
    return results(layer, inputs, gradient.bfloat16())


@settings(max_examples=60)
@given(
    batch=st.lists(SIZES, min_size=1, max_size=2),
    inputs=st.integers(1, 300),
    outputs=SIZES,
    bias=st.booleans(),
    seed=st.integers(0, 99),
)
def test_in_bfloat16_the_output_is_torchs_and_the_gradients_are_within_its_rounding(
    batch: list[int], inputs: int, outputs: int, bias: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    plain, ours = twins(inputs, outputs, bias=bias)
    images, gradient = torch.randn(*batch, inputs), torch.randn(*batch, outputs)
    expected, found = bfloat16_results(plain, images, gradient), bfloat16_results(ours, images, gradient)
    assert found.keys() == expected.keys()
    assert found["output"].dtype == torch.bfloat16
    assert torch.equal(found["output"], expected["output"])
    for name, value in expected.items():
        assert found[name].dtype == value.dtype, name
        # Sums in float32 that differ in their order, each rounded to 8 bits: at most a last place apart, 2**-7.
        assert (found[name].float() - value.float()).abs().max() <= 2**-7 * value.float().abs().max(), name


@pytest.mark.parametrize("frozen", ["weight", "bias"])
def test_in_bfloat16_a_frozen_part_gets_no_gradient_and_the_rest_does(frozen: str) -> None:
    torch.manual_seed(0)
    plain, ours = twins(33, 17)
    for layer in (plain, ours):
        layer.get_parameter(frozen).requires_grad_(False)
    images, gradient = torch.randn(5, 33), torch.randn(5, 17)
    found = bfloat16_results(ours, images, gradient)
    assert frozen not in found
    assert found.keys() == bfloat16_results(plain, images, gradient).keys()


class NotedProducts(TorchFunctionMode):
    """Notes of every product whether its left side lies in memory row after row."""

    def __init__(self) -> None:
        super().__init__()
        self.left_in_rows: list[bool] = []

    def __torch_function__(self, function: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        if function is functional.linear:
            self.left_in_rows.append(arguments[0].is_contiguous())
        return function(*arguments, **(named or {}))


def test_in_bfloat16_the_left_sides_of_the_gradients_products_lie_in_rows() -> None:
    """Otherwise the two tests above would compare torch with itself, and AMX would be left half unused."""
    ours = twins(33, 17)[1]
    context = SimpleNamespace(
        saved_tensors=(torch.randn(5, 33).bfloat16(), ours.weight.bfloat16()),
        needs_input_grad=(True,) * 3,
    )
    with NotedProducts() as noted:
        onednn._Linear.backward(context, torch.randn(5, 17).bfloat16())
    assert noted.left_in_rows == [True, True]


def test_in_bfloat16_a_training_uses_the_engines_own_products(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = twins(33, 17)[1]
    calls, backward = [0], onednn._Linear.backward

    def counted(*arguments: Any) -> Any:
        calls[0] += 1
        return backward(*arguments)

    monkeypatch.setattr(onednn._Linear, "backward", staticmethod(counted))
    bfloat16_results(ours, torch.randn(5, 33), torch.randn(5, 17))
    assert calls[0] == 1


def test_autocast_leaves_float64_to_torch() -> None:
    plain, ours = twins(33, 17, dtype=torch.float64)
    images = torch.randn(5, 33, dtype=torch.float64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, expected = ours(images), plain(images)
    assert found.dtype == expected.dtype
    assert torch.equal(found, expected)


class OwnLinear(nn.Linear):
    """Someone's own layer, which may compute something else."""


def test_only_plain_linear_layers_change_and_names_and_weights_stay() -> None:
    model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), OwnLinear(4, 3), nn.Sequential(nn.Linear(3, 2, bias=False)))
    model.append(nn.Conv2d(1, 1, 1))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    parameters = list(model.parameters())
    use_onednn(model)
    assert [type(module) for module in model.modules()][1:] == [
        *(OneDnnLinear, nn.ReLU, OwnLinear),
        *(nn.Sequential, OneDnnLinear, nn.Conv2d),
    ]
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert all(now is then for now, then in zip(model.parameters(), parameters, strict=True))


@pytest.mark.parametrize("problem", [AttributeError, RuntimeError, TypeError])
def test_a_torch_without_the_operator_is_not_usable(problem: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*arguments: Any) -> torch.Tensor:
        raise problem("no such operator")

    monkeypatch.setattr(onednn, "_product", missing)
    assert not onednn.usable.__wrapped__()


def wrong_sum(left: torch.Tensor, right: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return functional.linear(left, right, bias) * 1.001


def without_bias(left: torch.Tensor, right: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return functional.linear(left, right)


def wrong_gradient(left: torch.Tensor, right: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return functional.linear(left, right, bias) * (1.0 if bias is not None else 1.001)


def not_a_number(left: torch.Tensor, right: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return functional.linear(left, right, bias) * float("nan")


@pytest.mark.parametrize("product", [wrong_sum, without_bias, wrong_gradient, not_a_number])
def test_an_operator_that_gives_other_numbers_is_not_usable(product: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def usable(found: Any) -> bool:
        monkeypatch.setattr(onednn, "_product", lambda left, right, bias=None: found(left, right, bias))
        return onednn.usable.__wrapped__()

    assert usable(functional.linear)
    assert not usable(product)


@pytest.mark.parametrize("precision", [pytest.param("fp32", marks=needs_operator), "bf16"])
def test_a_training_by_either_engine_is_as_good_and_the_same_every_time(
    digits: PreparedDataset, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {"hidden_layers": (32, 16), "learning_rate": 0.01, "batch_size": 64, "steps": 150}
    calls, backward = [0], onednn._Linear.backward

    def counted(*arguments: Any) -> Any:
        calls[0] += 1
        return backward(*arguments)

    monkeypatch.setattr(onednn._Linear, "backward", staticmethod(counted))

    def train(engine: str) -> TrainingResult:
        settings = TrainingSettings(evaluate_every=50)
        return Trainer(digits, settings, mlp.build, engine=engine, precision=precision).train(config, seed=3)

    # On some processors both engines give the same bits, so the curves cannot tell which one computed.
    first, again = train("onednn"), train("onednn")
    assert again == first
    assert calls[0] == 2 * 3 * 150, "three layers, each step"
    eager = train("eager")
    assert calls[0] == 2 * 3 * 150
    assert first.train is not None
    assert eager.train is not None
    assert eager.train.accuracy > 0.9
    assert first.train.accuracy == pytest.approx(eager.train.accuracy, abs=0.02)
    assert first.held_out is not None
    assert eager.held_out is not None
    assert first.held_out.accuracy == pytest.approx(eager.held_out.accuracy, abs=0.02)
