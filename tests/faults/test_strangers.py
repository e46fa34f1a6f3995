"""Files of a stranger or of a hasty hand: refused, or shown as text; nothing executed, nothing written elsewhere."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import pickle
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from typer.testing import CliRunner, Result

import evo
from evo.cli.app import app
from evo.plain_text import is_plain
from evo.record.journal import Journal, _encode
from evo.record.settings import Settings
from tests.conftest import TINY_SPACE, training_in_this_process

COMMANDS = {
    "compare": lambda run: ["compare", str(run), "--csv", str(run / "out.csv")],
    "report": lambda run: ["report", str(run)],
    "replay": lambda run: ["replay", str(run), "0"],
    "watch": lambda run: ["watch", str(run), "--once"],
    "resume": lambda run: ["resume", str(run), "--budget", "4"],
}
"""What a person does with a run folder that came from elsewhere."""

some_commands = pytest.mark.parametrize(
    "commands",
    [("watch", "resume"), pytest.param(("compare", "report", "replay"), marks=pytest.mark.slow)],
    ids="-".join,
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, session_cache: Path) -> Path:
    """Return the folder of a small finished search on the digits."""
    folder = tmp_path_factory.mktemp("stranger")
    (folder / "tiny.toml").write_text(TINY_SPACE)
    with training_in_this_process():
        evo.search(folder / "tiny.toml", strategy="ga", population=2, budget=3, finalists=1, output=folder / "run")
    return folder / "run"


@pytest.fixture
def stranger(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_process: None) -> Iterator[Path]:
    """Give a copy of a run, to be spoilt, in a folder of its own; at the end nothing may lie elsewhere in it."""
    home = tmp_path / "home"
    (home / "work").mkdir(parents=True)
    (home / "work" / "evil_module.py").write_text(f"open({str(home / 'EXECUTED')!r}, 'w')\n\ndef build(*a): ...\n")
    run = home / "work" / "run"
    shutil.copytree(whole, run)
    monkeypatch.chdir(home / "work")
    monkeypatch.setenv("MPLCONFIGDIR", matplotlib.get_configdir())  # it would make its list of fonts again
    monkeypatch.setenv("HOME", str(home))
    before = outside(home)
    yield run
    assert outside(home) == before, "something was written outside the run folder, or executed"


def outside(home: Path) -> dict[str, int]:
    """Return what lies in a folder but not in the run, with its time."""
    run = home / "work" / "run"
    return {
        str(path): path.stat().st_mtime_ns
        for path in home.rglob("*")
        if path.is_file() and not path.is_relative_to(run) and "__pycache__" not in path.parts
    }


def invoke(*arguments: str) -> Result:
    """Run a command; whatever it reads, it ends with an exit code of its own and without a traceback."""
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code in (0, 1, 2), (arguments, result.output)
    assert result.exception is None or isinstance(result.exception, SystemExit), (arguments, result.exception)
    assert "Traceback" not in result.output
    assert is_plain(result.output), "a terminal would obey this"
    assert "--debug shows where" not in result.output, f"{arguments}: no error that was foreseen: {result.output}"
    return result


def set_value(run: Path, place: str, value: Any) -> None:
    """Change one value of settings.json, such as dataset.data_dir, and what the journal says of the settings."""
    path = run / "settings.json"
    values = json.loads(path.read_text())
    *parents, last = place.split(".")
    part = values
    for name in parents:
        part = part[name]
    part[last] = value
    path.write_text(json.dumps(values))
    with contextlib.suppress(evo.RunError):
        digest = Settings.load(run).digest
        change_event(run, "start", lambda event: event.update(settings=digest))


SETTINGS: dict[str, tuple[str, Any]] = {
    "a model that runs a system's function": ("model", "os:system"),
    "a model of the folder that one works in": ("model", "evil_module:build"),
    "a model in the space": ("space.model", "evil_module:build"),
    "a model that is a path": ("model", "../../evil_module"),
    "data elsewhere": ("dataset.data_dir", "/etc"),
    "data that would be downloaded into one's home": ("dataset", {"name": "cifar10", "data_dir": "..", "checksum": ""}),
    "data of no name": ("dataset.name", "../digits"),
    "a strategy that is a module": ("strategy", "os.system"),
    "a strategy that is a path": ("strategy", "../ga"),
    "a device with a command": ("device", "cpu; touch EXECUTED"),
    "a precision of no kind": ("precision", "__import__('os')"),
    "a name that is a path": ("space_name", "../../escaped"),
    "a name with a NUL": ("space_name", "a\0b"),
    "a name that moves the cursor": ("space_name", "\x1b[2J\x1b]0;title\x07"),
    "a name that goes back": ("space_name", "a\b\b\f"),
    "a name of markup": ("space_name", "<script>alert(1)</script>[bold]x[/bold]"),
    "a gene that names a Python object": ("space.genes.learning_rate", {"type": "python/object:os.system"}),
    "a seed that is a text": ("seed", "$(touch EXECUTED)"),
    "a population beyond all memory": ("population", 10**15),
    "a negative budget": ("budget", -5),
    "threads without end": ("threads", 10**9),
    "versions that are none": ("versions", ["\x1b[31m"]),
    "an engine of no kind": ("engine", "evil_module"),
    "known configurations that are none": ("initial", [["os", "system"], 3]),
    "a number beyond all floats": ("space.training.weight_decay", float("inf")),
}


@some_commands
@pytest.mark.parametrize("place", SETTINGS, ids=lambda name: name.replace(" ", "-"))
def test_hostile_settings(stranger: Path, place: str, commands: tuple[str, ...]) -> None:
    set_value(stranger, *SETTINGS[place])
    for command in commands:
        invoke(*COMMANDS[command](stranger))


def test_settings_that_nest_without_end(stranger: Path) -> None:
    (stranger / "settings.json").write_text('{"format": 1, "space": ' + "[" * 100_000 + "]" * 100_000 + "}")
    for arguments in COMMANDS.values():
        assert invoke(*arguments(stranger)).exit_code == 2


def change_event(run: Path, kind: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the first event of a kind in the journal, with the right checksum."""
    path = run / "journal.jsonl"
    events = Journal.read(path).events
    event = next(event for event in events if event["kind"] == kind)
    change(event)
    path.write_bytes(b"".join(map(encode, events)))


def encode(event: dict[str, Any]) -> bytes:
    """Return an event's line, also of values that evo would not write."""
    try:
        return _encode(event)
    except ValueError:
        import hashlib

        body = json.dumps(event, separators=(",", ":")).encode()
        return b'{"checksum":"' + hashlib.sha256(body).hexdigest()[:16].encode() + b'","event":' + body + b"}\n"


def individual(**values: Any) -> tuple[str, Callable[[dict[str, Any]], None]]:
    return "proposal", lambda event: event["individual"].update(values)


def genome(**values: Any) -> tuple[str, Callable[[dict[str, Any]], None]]:
    return "proposal", lambda event: event["individual"]["genome"].update(values)


def evaluation(**values: Any) -> tuple[str, Callable[[dict[str, Any]], None]]:
    return "evaluation", lambda event: event["evaluation"].update(values)


EVENTS: dict[str, tuple[str, Callable[[dict[str, Any]], None]]] = {
    "layers beyond all memory": genome(hidden_layers=[10**12]),
    "a number that is none": genome(learning_rate=float("nan")),
    "a gene of no kind": genome(evil="os.system"),
    "steps without end": genome(steps=10**18),
    "an operator of markup": individual(operator="<img src=x onerror=alert(1)>"),
    "an operator that moves the cursor": individual(operator="\x1b[2J"),
    "parents without end": individual(parents=[10**30]),
    "parameters that nest": individual(strategy_parameters={"rung": {"a": [1]}}),
    "a generation of the past": individual(generation=-(10**20)),
    "an error that is a formula": evaluation(status="failed", fitness=None, error="=cmd|' /C calc'!A0"),
    "an error that moves the cursor": evaluation(status="failed", fitness=None, error="\x1b]8;;http://x\x07click"),
    "a fitness that is none": evaluation(fitness=float("nan")),
    "a fitness beyond all floats": evaluation(fitness=float("inf")),
    "a worker of markup": evaluation(worker="</td><script>alert(1)</script>"),
    "a seed beyond all integers": evaluation(seed=10**40),
    "a start before all time": evaluation(started=-1e300),
    "seconds that are none": evaluation(seconds=float("-inf")),
    "an engine of no kind": evaluation(engine="evil_module"),
    "a replicate beyond all": evaluation(replicate=10**9),
    "a curve without numbers": evaluation(curve=[{"step": 1, "train_loss": float("nan"), "train_accuracy": 0.1}]),
    "a resume that names what is to run": ("finalists", lambda event: event.update(kind="resume", device="x; touch y")),
}


@some_commands
@pytest.mark.parametrize("place", EVENTS, ids=lambda name: name.replace(" ", "-"))
def test_hostile_journals(stranger: Path, place: str, commands: tuple[str, ...]) -> None:
    change_event(stranger, *EVENTS[place])
    for command in commands:
        invoke(*COMMANDS[command](stranger))
    for table in stranger.glob("*.csv"):
        check_inert(table)
    check_page(stranger)


PAYLOADS = (
    "=1+1",
    "+1+1",
    "-1+1",
    "@SUM(1,1)",
    "\t=1+1",
    "\r=1+1",
    '=HYPERLINK("http://x","click")',
    "=cmd|' /C calc'!A0",
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7 * 7 }}{% for x in y %}",
    "</table></body><!-- ",
)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("payload", PAYLOADS)
def test_payloads_stay_text(tmp_path: Path, payload: str) -> None:
    """In a choice, an error and the space's name; a gene's name is refused."""
    with pytest.raises(evo.ConfigurationError, match="a name consists of letters"):
        evo.SearchSpace({payload: evo.Boolean()})
    space = evo.SearchSpace({"x": evo.Float(0, 1), "choice": evo.Categorical([payload, "other"])}, name=payload)

    def objective(config: dict[str, Any]) -> float:
        if config["x"] > 0.7:
            raise ValueError(payload)
        return float(config["x"])

    run = evo.search(space, objective, strategy="random", budget=12, seed=2, output=tmp_path / "run")
    assert {e.status for e in run.search_evaluations} == {"complete", "failed"}
    for arguments in (COMMANDS["compare"], COMMANDS["report"]):
        assert invoke(*arguments(run.path)).exit_code == 0
    for table in (tmp_path / "run").glob("*.csv"):
        check_inert(table)
    check_page(tmp_path / "run")


def check_inert(table: Path) -> None:
    """No cell of a table begins as a formula does; numbers may have a sign."""
    with table.open(newline="", encoding="utf-8") as file:
        for row in csv.reader(file):
            for cell in row:
                assert not cell.startswith(("=", "@", "\t", "\r")), cell
                if cell.startswith(("+", "-")):
                    float(cell)


def check_page(run: Path) -> None:
    """The report has no element that a run's text has brought in."""
    page = run / "report.html"
    if page.exists():
        text = page.read_text(encoding="utf-8")
        assert not any(part in text for part in ("<script>alert", "<img src=x", "</body><!--")), "markup is obeyed"


class Marker:
    """An object whose unpickling leaves a file behind."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.slow
def test_no_file_is_read_as_a_pickle(stranger: Path, tmp_path: Path) -> None:
    marker = tmp_path / "EXECUTED"
    hostile = pickle.dumps(Marker(marker))
    pickle.loads(hostile)  # to show that it does what it says
    marker.rmdir()
    (stranger / "checkpoints").mkdir(exist_ok=True)
    cache = [path for path in Path(os.environ["EVO_CACHE_DIR"]).rglob("*") if path.is_file()]
    kept = {path: path.read_bytes() for path in cache}
    files = [path for path in stranger.rglob("*") if path.is_file()] + [stranger / "checkpoints" / "3-0.safetensors"]
    files += [stranger / "weights" / "0-101.safetensors", stranger / "states" / "1.safetensors", *cache]
    try:
        for path in files:
            before = path.read_bytes() if path.exists() else None
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(hostile)
            for arguments in COMMANDS.values():
                invoke(*arguments(stranger))
            if before is not None and path.exists():
                path.write_bytes(before)
    finally:
        for path, content in kept.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    assert not marker.exists()
    assert len(files) > 8


def test_a_link_in_a_strangers_folder_is_not_written_through(stranger: Path, tmp_path: Path) -> None:
    """The tables, the report and the states take the place of a link: what it leads to stays."""
    target = tmp_path / "precious"
    target.mkdir()
    (target / "file").write_text("mine")
    for name in ("evaluations.csv", "report.html", "settings.json"):
        content = (stranger / name).read_text() if name == "settings.json" else ""
        (stranger / name).unlink(missing_ok=True)
        (target / name).write_text(content or "mine")
        (stranger / name).symlink_to(target / name)
    (stranger / "figures").symlink_to(target, target_is_directory=True)
    before = {path.name: path.read_bytes() for path in target.iterdir()}
    for arguments in COMMANDS.values():
        invoke(*arguments(stranger))
    assert {path.name: path.read_bytes() for path in target.iterdir()} == before


BROKEN = {
    "nothing": "",
    "no toml": "model = ",
    "a tag of yaml": "!!python/object/apply:os.system ['true']",
    "a list": "[[genes]]\n",
    "genes that are a number": 'model = "mlp"\ndataset = "digits"\ngenes = 3\n',
    "no genes": 'model = "mlp"\ndataset = "digits"\n',
    "an unknown key": TINY_SPACE.replace('dataset = "digits"', 'dataset = "digits"\ncolour = "red"'),
    "an unknown model": TINY_SPACE.replace('"mlp"', '"mpl"'),
    "a model of one's own": TINY_SPACE.replace('"mlp"', '"os:system"'),
    "an unknown dataset": TINY_SPACE.replace('"digits"', '"digit"'),
    "a dataset that is a path": TINY_SPACE.replace('"digits"', '"../../etc"'),
    "an unknown kind of gene": TINY_SPACE.replace('"float"', '"double"'),
    "a gene that names an object": TINY_SPACE.replace('"float"', '"numpy.float64"'),
    "a range upside down": TINY_SPACE.replace("low = 1e-3", "low = 1.0"),
    "a log of zero": TINY_SPACE.replace("low = 1e-3", "low = 0.0"),
    "a log of a negative": TINY_SPACE.replace("low = 1e-3", "low = -1.0"),
    "a bound that is a text": TINY_SPACE.replace("low = 1e-3", 'low = "small"'),
    "a bound that is none": TINY_SPACE.replace("low = 1e-3", "low = nan"),
    "a bound without end": TINY_SPACE.replace("high = 1e-1", "high = inf"),
    "a missing bound": TINY_SPACE.replace("low = 1e-3\n", ""),
    "a negative width": TINY_SPACE.replace("width = [4, 16]", "width = [-4, 16]"),
    "a depth of three numbers": TINY_SPACE.replace("depth = [1, 2]", "depth = [1, 2, 3]"),
    "a depth below nothing": TINY_SPACE.replace("depth = [1, 2]", "depth = [-1, 2]"),
    "steps that are negative": TINY_SPACE.replace("low = 20", "low = -20"),
    "steps that are a fraction": TINY_SPACE.replace("low = 20", "low = 20.5"),
    "an unknown setting": TINY_SPACE.replace("batch_size = 64", "batchsize = 64"),
    "a batch of nothing": TINY_SPACE.replace("batch_size = 64", "batch_size = 0"),
    "a condition on an unknown gene": TINY_SPACE.replace("log = true", "log = true\nwhen = { dropout = true }"),
    "a condition on itself": TINY_SPACE.replace("log = true", "log = true\nwhen = { learning_rate = 1.0 }"),
    "an unknown strategy": TINY_SPACE + '\n[search]\nstrategy = "genetic"\n',
    "an empty population": TINY_SPACE + "\n[search]\npopulation = 0\n",
    "a known configuration out of bounds": TINY_SPACE + "\n[[initial]]\nlearning_rate = 7.0\n",
    "a duplicate key": TINY_SPACE + '\nmodel = "cnn"\n',
    "bytes": "\udcff\udcfe",
}


@pytest.mark.parametrize("fault", BROKEN, ids=lambda name: name.replace(" ", "-"))
def test_broken_space_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "space.toml"
    path.write_bytes(BROKEN[fault].encode("utf-8", "surrogateescape"))
    for command in ("check", "search"):
        began = time.process_time()
        result = invoke(command, "space.toml")
        assert result.exit_code == 2, result.output
        assert "space.toml" in result.output or "space" in result.output
        assert time.process_time() - began < 2
    assert os.listdir(tmp_path) == ["space.toml"]
