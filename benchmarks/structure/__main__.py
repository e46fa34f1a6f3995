"""Count the structure of a checkout of evo; several checkouts are printed side by side.

    python -m benchmarks.structure [CHECKOUT ...]

A part is a module or a package directly below `evo`. Imports count wherever they stand: at the top of a module, inside
functions, and under TYPE_CHECKING. A line of code holds something that runs: no blank line, comment or docstring.
"""

from __future__ import annotations

import argparse
import ast
import io
import tokenize
from collections.abc import Iterator, Mapping
from pathlib import Path

Graph = Mapping[str, set[str]]
NO_CODE = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)


def modules(checkout: Path) -> dict[str, Path]:
    """Return the files of evo and of its models by dotted name; a package stands for its `__init__`."""
    found = {}
    for folder, prefix in ((checkout / "evo", "evo"), (checkout / "models", "evo.models")):
        for file in sorted(folder.rglob("*.py")):
            parts = file.relative_to(folder).with_suffix("").parts
            found[".".join((prefix, *parts)).removesuffix(".__init__")] = file
    return found


def imported_names(tree: ast.Module) -> Iterator[str]:
    """Yield every name that a module imports, wherever the import stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module_graph(files: Mapping[str, Path]) -> dict[str, set[str]]:
    """Return the modules of evo that each module imports; its own packages do not count."""
    graph: dict[str, set[str]] = {}
    for name, file in files.items():
        used = imported_names(ast.parse(file.read_text(encoding="utf-8")))
        homes = {other if other in files else other.rpartition(".")[0] for other in used}
        graph[name] = {other for other in homes & files.keys() if other != "evo" and not name.startswith(f"{other}.")}
        graph[name].discard(name)
    return graph


def part_of(name: str) -> str:
    """Return the part of evo that a module belongs to."""
    return ".".join(name.split(".")[:2])


def part_graph(graph: Graph) -> dict[str, set[str]]:
    """Return the parts that each part imports."""
    parts: dict[str, set[str]] = {part_of(name): set() for name in graph if name != "evo"}
    for name, used in graph.items():
        if name != "evo":
            parts[part_of(name)] |= {part_of(other) for other in used} - {part_of(name)}
    return parts


def cycles(graph: Graph) -> list[list[str]]:
    """Return the groups of nodes that import each other, directly or through others (Tarjan, 1972), largest first."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(graph[node]):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                groups.append(sorted(group))

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return sorted(groups, key=len, reverse=True)


def levels(graph: Graph) -> int:
    """Return the nodes of the longest chain of imports; the members of a cycle share one level."""
    home = {node: node for node in graph} | {node: group[0] for group in cycles(graph) for node in group}
    below: dict[str, set[str]] = {place: set() for place in home.values()}
    for node, used in graph.items():
        below[home[node]] |= {home[other] for other in used} - {home[node]}
    height: dict[str, int] = {}

    def measure(node: str) -> int:
        if node not in height:
            height[node] = 1 + max((measure(other) for other in below[node]), default=0)
        return height[node]

    return max((measure(node) for node in below), default=0)


def code_lines(file: Path) -> int:
    """Return the lines of a file that hold code."""
    text = file.read_text(encoding="utf-8")
    documented: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        # A text that stands by itself documents the module, class, function or name before it.
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            documented |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in NO_CODE:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return len(lines - documented)


def counted(checkout: Path) -> dict[str, int]:
    """Return every figure of a checkout by name."""
    files = modules(checkout)
    fine = module_graph(files)
    coarse = part_graph(fine)
    tests = [file for file in sorted((checkout / "tests").rglob("*.py")) if "releases" not in file.parts]
    return {
        "parts directly below evo": len(coarse),
        "imports between parts": sum(map(len, coarse.values())),
        "levels of parts": levels(coarse),
        "parts in cycles": sum(map(len, cycles(coarse))),
        "modules": len(fine),
        "imports between modules": sum(map(len, fine.values())),
        "levels of modules": levels(fine),
        "modules in cycles": sum(map(len, cycles(fine))),
        "largest cycle of modules": max(map(len, cycles(fine)), default=0),
        "lines of code, evo/": sum(code_lines(file) for name, file in files.items() if "models" not in name),
        "lines of code, models/": sum(code_lines(file) for name, file in files.items() if "models" in name),
        "lines of code, tests/": sum(map(code_lines, tests)),
        "lines of code, benchmarks/": sum(map(code_lines, sorted((checkout / "benchmarks").rglob("*.py")))),
    }


def main() -> None:
    """Print the figures of each checkout, and the cycles of the last."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.structure", description=(__doc__ or "").partition("\n")[0]
    )
    here = Path(__file__).resolve().parents[2]
    parser.add_argument("checkouts", nargs="*", type=Path, default=[here], help="default: this one")
    checkouts = parser.parse_args().checkouts
    for checkout in checkouts:
        if not (checkout / "evo" / "__init__.py").is_file():
            parser.error(f"{checkout}: holds no evo/; give the root of a checkout")
    columns = [counted(checkout) for checkout in checkouts]
    for name in columns[0]:
        print(f"{name:<28}" + "".join(f"{column[name]:>10,}" for column in columns))
    for group in cycles(module_graph(modules(checkouts[-1]))):
        print(f"cycle: {', '.join(group)}")


if __name__ == "__main__":
    main()
