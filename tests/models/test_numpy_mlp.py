"""The NumPy network's gradients are torch's, module by module and for the whole network, and it trains as any other."""

from __future__ import annotations

import copy
import itertools
import math
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch.nn import functional

from evo.data import PreparedDataset
from evo.errors import Interrupted
from evo.models import numpy_mlp
from evo.models.numpy_mlp import CrossEntropy, Linear, Network, NumpyMLP, ReLU, Softmax
from evo.space.training_settings import TrainingSettings
from evo.training.engines.onednn import use_onednn
from evo.training.trainer import Trainer
from tests.command import environment

CLOSE: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-12}
SIZES = st.integers(1, 9)
SEEDS = st.integers(0, 2**32 - 1)
CONFIG = {"hidden_layers": (16,), "learning_rate": 0.5, "batch_size": 64, "steps": 200}


def draw(seed: int, *shape: int) -> npt.NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=shape)


def tensor(array: npt.NDArray[np.float64]) -> torch.Tensor:
    return torch.from_numpy(array.copy()).requires_grad_()


def small_model(widths: tuple[int, ...] = (6, 5), seed: int = 0) -> NumpyMLP:
    """A network of 2×2 images in three classes, whose weights are large enough for every layer to count."""
    torch.manual_seed(seed)
    model = numpy_mlp.build({"hidden_layers": widths}, (1, 2, 2), 3).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    return model


def in_torch(model: NumpyMLP, images: torch.Tensor) -> torch.Tensor:
    """Return the logits of the same network in torch's operators."""
    hidden = images.flatten(1)
    for number, (weight, bias) in enumerate(zip(model.weights, model.biases, strict=True)):
        hidden = functional.linear(hidden.relu() if number else hidden, weight, bias)
    return hidden


# Module by module.


@given(rows=SIZES, inputs=SIZES, outputs=SIZES, seed=SEEDS)
def test_linear(rows: int, inputs: int, outputs: int, seed: int) -> None:
    arrays = draw(seed, rows, inputs), draw(seed + 1, outputs, inputs), draw(seed + 2, outputs)
    gradient = draw(seed + 3, rows, outputs)
    images, weight, bias = map(tensor, arrays)
    output = functional.linear(images, weight, bias)
    expected = torch.autograd.grad(output, (images, weight, bias), torch.from_numpy(gradient))
    module = Linear(arrays[1], arrays[2])
    np.testing.assert_allclose(module.forward(arrays[0]), output.detach().numpy(), **CLOSE)
    found = module.backward(gradient), *module.parameter_gradients(gradient)
    for ours, torchs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, torchs.numpy(), **CLOSE)


@given(rows=SIZES, width=SIZES, seed=SEEDS)
def test_relu_also_at_zero(rows: int, width: int, seed: int) -> None:
    inputs, gradient = draw(seed, rows, width), draw(seed + 1, rows, width)
    inputs[0, 0] = 0.0
    module, images = ReLU(), tensor(inputs)
    output = functional.relu(images)
    np.testing.assert_array_equal(module.forward(inputs), output.detach().numpy())
    [expected] = torch.autograd.grad(output, images, torch.from_numpy(gradient))
    np.testing.assert_array_equal(module.backward(gradient), expected.numpy())


def test_relu_does_not_hide_what_is_not_a_number() -> None:
    np.testing.assert_array_equal(ReLU().forward(np.array([math.nan, math.inf, -math.inf])), [math.nan, math.inf, 0.0])


@given(rows=SIZES, classes=SIZES, seed=SEEDS, scale=st.sampled_from([1.0, 300.0]))
def test_softmax_also_of_large_numbers(rows: int, classes: int, seed: int, scale: float) -> None:
    inputs, gradient = scale * draw(seed, rows, classes), draw(seed + 1, rows, classes)
    module, logits = Softmax(), tensor(inputs)
    output = functional.softmax(logits, dim=1)
    np.testing.assert_allclose(module.forward(inputs), output.detach().numpy(), **CLOSE)
    [expected] = torch.autograd.grad(output, logits, torch.from_numpy(gradient))
    np.testing.assert_allclose(module.backward(gradient), expected.numpy(), **CLOSE)


@given(rows=SIZES, classes=SIZES, seed=SEEDS)
def test_cross_entropy(rows: int, classes: int, seed: int) -> None:
    probabilities = np.abs(draw(seed, rows, classes)) + 0.1
    labels = np.random.default_rng(seed).integers(classes, size=rows)
    module, chances = CrossEntropy(), tensor(probabilities)
    loss = functional.nll_loss(chances.log(), torch.from_numpy(labels))
    assert module.forward(probabilities, labels) == pytest.approx(loss.item(), rel=1e-10)
    [expected] = torch.autograd.grad(loss, chances)
    np.testing.assert_allclose(module.backward(), expected.numpy(), **CLOSE)


@given(rows=SIZES, classes=SIZES, seed=SEEDS)
def test_softmax_and_cross_entropy_have_the_gradient_of_equation_24(rows: int, classes: int, seed: int) -> None:
    labels = np.random.default_rng(seed).integers(classes, size=rows)
    softmax, cross_entropy = Softmax(), CrossEntropy()
    probabilities = softmax.forward(draw(seed, rows, classes))
    cross_entropy.forward(probabilities, labels)
    expected = (probabilities - np.eye(classes)[labels]) / rows
    np.testing.assert_allclose(softmax.backward(cross_entropy.backward()), expected, **CLOSE)


# The whole network.


@given(rows=SIZES, widths=st.lists(SIZES, min_size=2, max_size=5), seed=SEEDS)
def test_the_loss_and_the_gradients_of_the_whole_network(rows: int, widths: list[int], seed: int) -> None:
    # Divided by the root of their number, as many inputs give logits no larger than few do.
    weights = [draw(seed + i, m, n) / math.sqrt(n) for i, (n, m) in enumerate(itertools.pairwise(widths))]
    biases = [draw(seed + 10 + i, m) for i, m in enumerate(widths[1:])]
    images, labels = draw(seed + 20, rows, widths[0]), np.random.default_rng(seed).integers(widths[-1], size=rows)
    loss, *gradients = Network(weights, biases).loss_and_gradients(images, labels)
    tensors = [list(map(tensor, weights)), list(map(tensor, biases))]
    activations = torch.from_numpy(images)
    for number, (weight, bias) in enumerate(zip(*tensors, strict=True)):
        activations = functional.linear(activations.relu() if number else activations, weight, bias)
    expected = functional.cross_entropy(activations, torch.from_numpy(labels))
    assert loss == pytest.approx(expected.item(), rel=1e-10)
    for found, of in zip(gradients, tensors, strict=True):
        for ours, torchs in zip(found, torch.autograd.grad(expected, of, retain_graph=True), strict=True):
            np.testing.assert_allclose(ours, torchs.numpy(), **CLOSE)


def test_its_weights_are_small_and_its_biases_zero() -> None:
    torch.manual_seed(0)
    model = numpy_mlp.build({"hidden_layers": (60, 50)}, (3, 8, 8), 10)
    assert [tuple(weight.shape) for weight in model.weights] == [(60, 192), (50, 60), (10, 50)]
    assert float(torch.cat([weight.detach().flatten() for weight in model.weights]).std()) == pytest.approx(
        1e-4, rel=0.02
    )
    assert [bias.tolist() for bias in model.biases] == [[0.0] * width for width in (60, 50, 10)]


@pytest.mark.parametrize("widths", [(6,), (6, 5), (1, 7, 4)])
def test_behind_autograd_logits_and_all_gradients_are_torchs(widths: tuple[int, ...]) -> None:
    model = small_model(widths)
    images = torch.randn(7, 1, 2, 2, dtype=torch.float64, requires_grad=True)
    of, labels = (images, *model.parameters()), torch.randint(3, (7,))
    torch.testing.assert_close(model(images), in_torch(model, images), **CLOSE)
    found, expected = (
        torch.autograd.grad(functional.cross_entropy(logits, labels), of)
        for logits in (model(images), in_torch(model, images))
    )
    torch.testing.assert_close(found, expected, **CLOSE)


def test_behind_autograd_the_gradients_are_those_of_numpys_own_loss() -> None:
    model = small_model()
    images, labels = torch.randn(7, 1, 2, 2, dtype=torch.float64), torch.randint(3, (7,))
    loss = functional.cross_entropy(model(images), labels)
    loss.backward()
    arrays = [[parameter.detach().numpy() for parameter in part] for part in (model.weights, model.biases)]
    ours, *gradients = Network(*arrays).loss_and_gradients(images.flatten(1).numpy(), labels.numpy())
    assert ours == pytest.approx(loss.item(), rel=1e-10)
    for part, found in zip((model.weights, model.biases), gradients, strict=True):
        for parameter, gradient in zip(part, found, strict=True):
            np.testing.assert_allclose(parameter.grad.numpy(), gradient, **CLOSE)


def test_the_weights_precision_is_that_of_logits_and_gradients() -> None:
    images = torch.randn(7, 1, 2, 2)
    for model in (small_model(), small_model().float()):
        dtype = model.weights[0].dtype
        logits = model(images)
        logits.sum().backward()
        assert logits.dtype == dtype
        assert {parameter.grad.dtype for parameter in model.parameters() if parameter.grad is not None} == {dtype}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model(images).dtype == torch.float32


def test_in_inference_mode_it_gives_the_same_logits() -> None:
    model, images = small_model(), torch.randn(7, 1, 2, 2, dtype=torch.float64)
    with torch.inference_mode():
        logits = model.eval()(images * 1.0)
    assert torch.equal(logits, model.train()(images).detach())


def test_a_weight_that_changes_between_forward_and_backward_is_refused_and_not_wrong() -> None:
    model = small_model()
    logits = model(torch.randn(7, 1, 2, 2, dtype=torch.float64))
    with torch.no_grad():
        model.weights[1] += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        logits.sum().backward()


def test_two_forward_passes_do_not_disturb_each_other() -> None:
    model = small_model()
    first, second = torch.randn(2, 7, 1, 2, 2, dtype=torch.float64)
    expected = torch.autograd.grad(model(first).square().sum(), model.parameters())
    logits = model(first)
    model(second)
    torch.testing.assert_close(torch.autograd.grad(logits.square().sum(), model.parameters()), expected)


def test_it_holds_nothing_but_its_parameters() -> None:
    model = small_model()
    images = torch.randn(7, 1, 2, 2, dtype=torch.float64)
    model(images).sum().backward()
    assert list(model.buffers()) == []
    names = ["weights.0", "weights.1", "weights.2", "biases.0", "biases.1", "biases.2"]
    assert list(model.state_dict()) == names == [name for name, _ in model.named_parameters()]
    copied, other = copy.deepcopy(model), small_model(seed=1)
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        expected = model(images)
        for parameter in model.parameters():
            parameter.zero_()
        assert torch.equal(copied(images), expected)
        assert torch.equal(other(images), expected)


# In evo's training.


def make_trainer(dataset: PreparedDataset, **arguments: Any) -> Trainer:
    settings = TrainingSettings(optimiser="sgd", evaluate_every=50)
    return Trainer(dataset, settings, numpy_mlp.build, **arguments)


def test_training_lowers_the_loss_and_is_the_same_again(digits: PreparedDataset) -> None:
    trainer = make_trainer(digits)
    result = trainer.train(CONFIG, seed=1)
    assert result.status == "complete"
    assert result.train is not None
    assert result.train.accuracy > 0.9
    assert result.curve[-1].values["train_loss"] < 0.5 < 2.0 < result.curve[0].values["train_loss"]
    assert result == trainer.train(CONFIG, seed=1)
    assert result != trainer.train(CONFIG, seed=2)


def test_a_training_that_diverges_says_so_and_does_not_warn(digits: PreparedDataset) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = make_trainer(digits).train(CONFIG | {"learning_rate": 1e30}, seed=1)
    assert result.status == "diverged"


def test_training_goes_as_that_of_torchs_network(digits: PreparedDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(digits)
    config = CONFIG | {"steps": 100}
    ours = trainer.train(config, seed=1)
    monkeypatch.setattr(NumpyMLP, "forward", in_torch)
    torchs = trainer.train(config, seed=1)
    for mine, expected in zip(ours.curve, torchs.curve, strict=True):
        assert mine.values["train_loss"] == pytest.approx(expected.values["train_loss"], rel=1e-3)
        assert mine.values["loss"] == pytest.approx(expected.values["loss"], rel=1e-3)


def test_every_precision_and_engine_of_a_processor_train_it_alike(digits: PreparedDataset) -> None:
    config = CONFIG | {"steps": 50}
    result = make_trainer(digits).train(config, seed=1)
    assert make_trainer(digits, precision="bf16").train(config, seed=1) == result, "NumPy has no bfloat16"
    model = small_model()
    use_onednn(model)
    assert type(model) is NumpyMLP


def test_an_interrupted_training_goes_on_as_if_nothing_had_happened(digits: PreparedDataset, tmp_path: Path) -> None:
    trainer, state, asked = make_trainer(digits), tmp_path / "state.safetensors", itertools.count()
    config = CONFIG | {"steps": 100}
    with pytest.raises(Interrupted):
        trainer.train(config, seed=1, checkpoint=state, interrupted=lambda: next(asked) == 37)
    assert trainer.train(config, seed=1, checkpoint=state) == trainer.train(config, seed=1)


def test_kept_weights_measure_the_same(digits: PreparedDataset, tmp_path: Path) -> None:
    trainer, weights = make_trainer(digits), tmp_path / "weights.safetensors"
    config = CONFIG | {"steps": 50}
    result = trainer.train(config, seed=1, weights=weights)
    model = numpy_mlp.build(config, digits.image_shape, len(digits.classes))
    model.load_state_dict(load_file(weights))
    assert trainer.measure(model, trainer.train_part) == result.train


def test_numpys_products_get_as_many_threads_as_torchs(digits: PreparedDataset) -> None:
    """In a process of its own, as every worker: the number belongs to the process, and other tests leave theirs."""
    program = """
import threadpoolctl, torch
from evo.data import prepare_dataset
from evo.evaluators.base import StopRequest
from evo.evaluators.training_task import TrainingSetup
from evo.space.training_settings import TrainingSettings

def blas_threads():
    return {library["num_threads"] for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"}

for threads in (1, 2):
    threadpoolctl.threadpool_limits(3 - threads, user_api="blas")
    assert blas_threads() == {3 - threads}, "threadpoolctl does not reach this NumPy's BLAS"
    setup = TrainingSetup(prepare_dataset("digits"), TrainingSettings(), "numpy_mlp", device="cpu", threads=threads)
    setup.build(StopRequest())
    print(threads, blas_threads(), torch.get_num_threads())
"""
    variables = environment() | {"EVO_CACHE_DIR": str(digits.directory.parent.parent)}
    finished = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=variables, check=False
    )
    assert finished.stdout.splitlines() == ["1 {1} 1", "2 {2} 2"], finished.stderr
