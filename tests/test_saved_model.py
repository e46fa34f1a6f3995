"""A network that was saved is the network that was trained, in any process; a file that is none is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import evo
from evo.cli.app import app
from evo.data.tensors import Preprocessing
from evo.errors import ConfigurationError
from evo.loop.replay import replay_individual
from evo.models import mlp
from evo.training.saved_model import FACTS, load_model, loading_code, save_model
from evo.training.tensor_file import read_tensors, write_tensors
from tests.command import environment, run_command

FACTS_OF_TWO_LAYERS = {
    "model": "mlp",
    "config": {"hidden_layers": [5, 4], "batch_norm": True},
    "input_shape": [1, 4, 4],
    "classes": ["no", "yes"],
}


def network() -> torch.nn.Sequential:
    torch.manual_seed(1)
    return mlp.build({"hidden_layers": (5, 4), "batch_norm": True}, (1, 4, 4), 2)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    preprocessing = Preprocessing(torch.full((1, 1, 1), 7.0), torch.full((1, 1, 1), 0.5))
    save_model(path, network().state_dict(), preprocessing, FACTS_OF_TWO_LAYERS)
    return path


def test_what_is_loaded_is_what_was_saved_behind_its_preprocessing(saved: Path) -> None:
    model, facts = load_model(saved)
    images = torch.randint(0, 256, (9, 1, 4, 4), dtype=torch.uint8)
    wanted = network().eval()((images.float() - 7) * 0.5)
    assert torch.equal(model(images), wanted)
    floats = images.float()
    assert torch.equal(model(floats), wanted)
    assert torch.equal(floats, images.float())  # the caller's images stay as they are
    assert not model.training
    assert facts["classes"] == ["no", "yes"]


def test_a_network_that_was_measured_with_mirror_images_is_used_with_them(tmp_path: Path) -> None:
    path, preprocessing = tmp_path / "model.safetensors", Preprocessing(torch.zeros(1, 1, 1), None)
    save_model(path, network().state_dict(), preprocessing, FACTS_OF_TWO_LAYERS | {"training": {"test_flip": True}})
    images, plain = torch.randint(0, 256, (9, 1, 4, 4), dtype=torch.uint8), network().eval()
    wanted = (plain(images.float()) + plain(images.flip(3).float())) / 2
    assert torch.equal(load_model(path)[0](images), wanted)


def test_loading_leaves_other_random_numbers_as_they_are(saved: Path) -> None:
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    load_model(saved)
    assert torch.equal(torch.rand(3), wanted)


def test_a_file_that_is_no_saved_model_is_refused(saved: Path, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("no tensors")
    plain = tmp_path / "plain.safetensors"
    write_tensors(plain, {"weight": torch.zeros(2)}, {})
    damaged = tmp_path / "damaged.safetensors"
    content = bytearray(saved.read_bytes())
    content[-3] ^= 1
    damaged.write_bytes(bytes(content))
    for path in (text, plain, damaged):
        with pytest.raises(ConfigurationError, match=r"damaged, or was not written by evo replay --save"):
            load_model(path)
    with pytest.raises(ConfigurationError, match="no such file"):
        load_model(tmp_path / "nothing")


def test_a_file_names_no_code_that_is_run(saved: Path, tmp_path: Path) -> None:
    tensors, header = read_tensors(saved)
    facts = json.loads(header[FACTS]) | {"model": "os:system"}
    other = tmp_path / "other.safetensors"
    write_tensors(other, tensors, {FACTS: json.dumps(facts)})
    with pytest.raises(ConfigurationError, match=r"os:system.*evo\.load_model\(.*build="):
        load_model(other)
    model, _ = load_model(other, build=mlp.build)
    assert model(torch.zeros(1, 1, 4, 4)).shape == (1, 2)


def test_weights_of_another_network_are_refused(saved: Path) -> None:
    with pytest.raises(ConfigurationError, match="do not fit the network"):
        load_model(saved, build=lambda config, shape, classes: torch.nn.Linear(3, 3))


@pytest.mark.parametrize("config", [{}, {"hidden_layers": [-5, 4]}, {"hidden_layers": "five"}])
def test_a_configuration_of_which_nothing_can_be_built_is_refused(saved: Path, config: dict[str, object]) -> None:
    tensors, header = read_tensors(saved)
    write_tensors(saved, tensors, {FACTS: json.dumps(json.loads(header[FACTS]) | {"config": config})})
    with pytest.raises(ConfigurationError, match="mlp builds no network of its configuration"):
        load_model(saved)


def test_the_code_that_is_printed_imports_a_model_of_ones_own() -> None:
    code = loading_code(Path("it's.safetensors"), "my_model:build")
    assert "from my_model import build\n" in code
    assert 'evo.load_model("it\'s.safetensors", build=build)' in code
    compile(code, "example", "exec")
    rows = loading_code(Path("best.safetensors"), "mlp", tables=True)
    assert "logits = model(rows)" in rows
    assert "images" not in rows


@pytest.mark.usefixtures("in_process")
def test_a_network_saved_by_replay_has_its_accuracy_in_a_fresh_process(
    uninterrupted: Path, tmp_path: Path, cli: CliRunner
) -> None:
    path = tmp_path / "best model.safetensors"
    result = cli.invoke(app, ["replay", str(uninterrupted), "5", "--save", str(path)])
    assert result.exit_code == 0, result.output
    _, _, code = result.stdout.partition("load it with\n")
    theirs = [line for line in code.splitlines() if line.startswith("images = ")]
    assert len(theirs) == 1
    own = code.replace(theirs[0], "images = part.images[part.indices]")
    program = (
        f"{code}\n"  # as it is printed
        "from evo.data import prepare_dataset\nfrom evo.data.tensors import load_part\n"
        f"part = load_part(prepare_dataset('digits'), 'validation', torch.device('cpu'))\n{own}\n"
        "right = sum(name == str(int(label)) for name, label in zip(names, part.labels[part.indices]))\n"
        "print(right / len(part), facts['measured']['validation_accuracy'])\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment(), cwd=tmp_path, check=False
    )
    assert finished.returncode == 0, finished.stderr
    recorded = evo.load(uninterrupted).evaluations[5, 0].validation_accuracy
    assert [float(text) for text in finished.stdout.split()] == [recorded, recorded]


def test_replay_refuses_a_file_that_is_there_before_it_trains(uninterrupted: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_text("precious")
    with pytest.raises(ConfigurationError, match="exists; choose another name, or give --overwrite"):
        replay_individual(uninterrupted, 0, save=path)
    with pytest.raises(ConfigurationError, match="there is no folder"):
        replay_individual(uninterrupted, 0, save=tmp_path / "nowhere" / "model.safetensors")
    assert path.read_text() == "precious"


@pytest.mark.usefixtures("in_process")
def test_with_free_steps_the_weights_are_those_of_the_checkpoint_that_counted(tiny_space: Path, tmp_path: Path) -> None:
    run = evo.search(
        tiny_space, free_steps=True, strategy="random", budget=4, population=4, finalists=0, output=tmp_path / "run"
    )
    number = min(run.evaluations, key=lambda key: run.evaluations[key].steps_trained or 0)[0]
    recorded = run.evaluations[number, 0]
    path = tmp_path / "model.safetensors"
    replay = replay_individual(tmp_path / "run", number, save=path)
    assert replay.same
    _, facts = load_model(path)
    assert facts["config"]["steps"] == recorded.steps_trained
    assert facts["measured"]["validation_accuracy"] == recorded.validation_accuracy


@pytest.mark.slow
def test_a_network_that_needs_the_state_of_its_module_is_not_saved(tmp_path: Path) -> None:
    own = "tests.global_model:build"
    space = evo.SearchSpace(
        {"learning_rate": evo.Float(1e-3, 1e-2)},
        model=own,
        dataset="digits",
        training={"batch_size": 64, "steps": 60, "evaluate_every": 30},
    )
    run = tmp_path / "run"
    evo.search(space, model=own, budget=1, finalists=0, strategy="random", workers=1, output=run)
    path = tmp_path / "model.safetensors"
    arguments = ["replay", str(run), "0", "--save", str(path), "--model", own]
    finished = run_command(*arguments)
    assert finished.returncode == 1
    assert "in a new process, the file of its weights does not bring the network back" in finished.stderr
    assert not path.exists()
