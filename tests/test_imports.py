"""Who imports whom: one way only, and nothing heavy before it is needed."""

from __future__ import annotations

import ast
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import evo
from benchmarks.structure.__main__ import cycles, module_graph, modules
from tests.command import ROOT, environment

PACKAGE = Path(evo.__file__).resolve().parent
LIGHT = ("torch", "pandas", "matplotlib", "deap", "pydantic", "dask", "distributed")
HELP_SECONDS = 1.0

LEVELS: tuple[tuple[str, ...], ...] = (
    ("control_group",),
    ("errors", "extras", "processes", "plain_text", "models", "search_spaces"),
    ("files", "names", "numbers", "places", "tracebacks"),
    ("confusion",),
    ("individual",),
    ("evaluation",),
    ("ranking", "trial"),
    ("space",),
    ("strategies", "data", "record"),
    ("training",),
    ("evaluators",),
    ("loop",),
    ("display",),
    ("api",),
    ("reports", "tracking"),
    ("report2019",),
    ("cli",),
    ("__main__",),
)
"""Every module and package directly below evo, lowest first: each imports from the levels below its own."""

EXCEPTIONS = {"record": {"reports"}}
"""`Run.plot` imports the figures when it is called."""


def files_of(part: str) -> list[Path]:
    """Return the files of a module or of a package."""
    folder = PACKAGE / part if (PACKAGE / part).is_dir() else PACKAGE.parent / part
    module = PACKAGE / f"{part}.py"
    files = [module] if module.is_file() else sorted(folder.rglob("*.py"))
    assert files, f"no such part: {part}"
    return files


def imports_of(file: Path) -> Iterator[str]:
    """Yield every module that a file imports, inside functions and for type checkers too."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part_of(module: str) -> str:
    """Return the module or package directly below evo that a dotted name lies in; "" for evo itself."""
    return module.split(".")[1] if "." in module else ""


@pytest.mark.parametrize("part", [part for level in LEVELS for part in level])
def test_imports_run_one_way_wherever_they_stand(part: str) -> None:
    """At the top of a module, inside functions and under TYPE_CHECKING alike."""
    place = next(number for number, level in enumerate(LEVELS) if part in level)
    allowed = {other for level in LEVELS[:place] for other in level} | {part}
    used = {name for file in files_of(part) for name in imports_of(file) if name.startswith("evo.")}
    assert {part_of(name) for name in used} - allowed - EXCEPTIONS.get(part, set()) <= {"__version__"}


def test_every_part_has_its_level() -> None:
    parts = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert {part for level in LEVELS for part in level} == parts - {"__init__"} | {"models", "search_spaces"}


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = module_graph(modules(ROOT))
    graph["evo.record.run"] -= {"evo.reports.figures", "evo.reports.training"}  # Run.plot, when it is called
    assert cycles(graph) == []


@pytest.mark.parametrize(("part", "never"), [("training", "deap"), ("evaluators", "deap"), ("strategies", "torch")])
def test_the_halves_of_evo_do_not_know_each_others_library(part: str, never: str) -> None:
    assert never not in {name.partition(".")[0] for file in files_of(part) for name in imports_of(file)}


def test_individuals_need_only_the_standard_library() -> None:
    [file] = files_of("individual")
    packages = {name.partition(".")[0] for name in imports_of(file)}
    assert packages <= {*sys.stdlib_module_names, "evo"}


def test_the_walk_sees_imports_wherever_they_stand(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text("import os.path\ndef f():\n    from evo import training\n    import deap.tools as t\n")
    assert set(imports_of(file)) == {"os.path", "evo", "evo.training", "deap.tools"}


def loaded_after(statement: str) -> set[str]:
    program = f"{statement}\nimport sys\nprint(*sys.modules)"
    finished = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment(), check=True
    )
    return {name.partition(".")[0] for name in finished.stdout.split()}


@pytest.mark.parametrize(
    "statement", ["import evo", "import evo.cli.app", "import evo.models", "import evo.training.hardware"]
)
def test_importing_loads_nothing_heavy(statement: str) -> None:
    assert loaded_after(statement) & set(LIGHT) == set()


def test_proposing_loads_no_torch_and_comparing_loads_neither_torch_nor_a_plotting_library() -> None:
    assert "torch" not in loaded_after("import evo.strategies")
    assert loaded_after("import evo.reports.comparison") & {"torch", "matplotlib"} == set()


@pytest.mark.parametrize("name", evo.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(evo, name).__name__ == name
    assert name in dir(evo)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing_of_that_name"):
        _ = evo.nothing_of_that_name


def test_help_answers_at_once() -> None:
    def processor_seconds() -> float:
        # Not the wall clock's: what else the machine does must not decide a test.
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "evo", "--help"], capture_output=True, env=environment(), check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(processor_seconds() for _ in range(5)) < HELP_SECONDS


def test_models_are_found_from_any_folder(tmp_path: Path) -> None:
    program = (
        "from importlib.util import find_spec; import evo.search_spaces; print(find_spec('evo.models.mlp').origin)"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment(), cwd=tmp_path, check=False
    )
    assert finished.returncode == 0, finished.stderr
    assert Path(finished.stdout.strip()).is_relative_to(ROOT)
