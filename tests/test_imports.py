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
from tests.command import ROOT, environment

PACKAGE = Path(evo.__file__).resolve().parent
LIGHT = ("torch", "pandas", "matplotlib", "deap", "pydantic", "dask", "distributed")
HELP_SECONDS = 1.0


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


def imports_at_once(body: list[ast.stmt]) -> Iterator[str]:
    """Yield what is imported when a module is: not what functions import, nor what only a type checker reads."""
    for node in body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for part in ("body", "orelse", "finalbody", "handlers"):
                if part != "body" or "TYPE_CHECKING" not in ast.unparse(getattr(node, "test", ast.Constant(0))):
                    yield from imports_at_once(getattr(node, part, []))


def modules() -> dict[str, Path]:
    """Return every module of evo by its dotted name; a package by its own."""
    found = {}
    for root, files in ((PACKAGE.parent, files_of(".")), (files_of("models")[0].parents[1], files_of("models"))):
        for file in files:
            parts = [part for part in file.relative_to(root).with_suffix("").parts if part != "evo"]
            found[".".join(["evo", *parts]).removesuffix(".__init__")] = file
    return found


def graph() -> dict[str, set[str]]:
    """Return which modules of evo every module imports at once."""
    known = modules()

    def module(name: str) -> str:
        return name if name in known else name.rpartition(".")[0]

    return {
        name: {module(used) for used in imports_at_once(ast.parse(file.read_text(encoding="utf-8")).body)}
        & known.keys() - {name}
        for name, file in known.items()
    }


def is_under(name: str, parents: tuple[str, ...]) -> bool:
    return any(name == parent or name.startswith(f"{parent}.") for parent in parents)


def test_no_modules_import_each_other_in_a_circle() -> None:
    uses = graph()
    while leaves := {name for name, used in uses.items() if not used}:
        uses = {name: used - leaves for name, used in uses.items() if name not in leaves}
    assert uses == {}


def test_the_walk_of_what_is_imported_at_once_leaves_out_functions_and_what_type_checkers_read() -> None:
    text = (
        "import a\ndef f():\n    import b\nif TYPE_CHECKING:\n    import c\nelse:\n    import d\n"
        "try:\n    import e\nexcept ImportError:\n    import g\nclass X:\n    from h import i\n"
        "    def m(self):\n        import j\nwith x:\n    import k\n"
    )
    assert set(imports_at_once(ast.parse(text).body)) == {"a", "d", "e", "g", "h.i", "k"}


def test_individuals_need_the_standard_library_alone() -> None:
    [file] = files_of("individual")
    packages = {name.partition(".")[0] for name in imports_of(file)}
    assert packages <= set(sys.stdlib_module_names)


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


@pytest.mark.parametrize("statement", ["import evo", "import evo.cli.app", "import evo.models"])
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
