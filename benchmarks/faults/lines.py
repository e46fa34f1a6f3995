"""Lines that can be changed: which there are, some drawn by chance, and where they are in another checkout."""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

PLUGIN = "planted_faults"
CODE = ("evo", "models")
ARITHMETIC = {"+": "-", "*": "/", "+=": "-=", "*=": "/="}
LOGIC = {"==": "!=", "<": ">=", ">": "<=", "in": "not in", "is": "is not", "and": "or"}
OPPOSITES = ARITHMETIC | LOGIC | {new: old for old, new in (ARITHMETIC | LOGIC).items()}


@dataclass(frozen=True)
class Fault:
    """One changed line.

    Attributes:
        id: Its number in the drawing.
        file: Where it is, relative to the checkout.
        function: Qualified name of the innermost function around it.
        line: The statement's line without its indentation.
        mutated: What takes its place.
        occurrence: How many equal statements the function has before this one.
        kind: What was changed.
    """

    id: int
    file: str
    function: str
    line: str
    mutated: str
    occurrence: int
    kind: str


def statements(path: Path) -> Iterator[tuple[ast.stmt, str]]:
    """Return the statements in a file's functions that begin a line, each with its function's name."""

    def below(node: ast.AST, name: str, inside: bool) -> Iterator[tuple[ast.stmt, str]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield from below(child, f"{name}.{child.name}".lstrip("."), not isinstance(child, ast.ClassDef))
            elif isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case):
                if isinstance(child, ast.stmt) and inside:
                    yield child, name
                yield from below(child, name, inside)

    yield from below(ast.parse(path.read_text()), "", inside=False)


def headers(statement: ast.stmt) -> list[ast.expr]:
    """Return the expressions on a statement's first line; none of an annotation, which only type checkers read."""
    fields = [value for name, value in ast.iter_fields(statement) if name not in ("annotation", "body", "orelse")]
    nodes = [node for field in fields for node in (field if isinstance(field, list) else [field])]
    parts = [part for node in nodes if isinstance(node, ast.withitem) for part in (node.context_expr,)]
    return parts + [node for node in nodes if isinstance(node, ast.expr)]


def expressions(roots: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Return nodes and what is in them, but not the inside of f-strings: its positions are wrong before Python 3.12."""
    for root in roots:
        yield root
        if not isinstance(root, ast.JoinedStr):
            yield from expressions(ast.iter_child_nodes(root))


def mutations(statement: ast.stmt, line: bytes) -> Iterator[tuple[str, bytes]]:
    """Return what can be changed in a line that holds a statement: the kind of change, and the changed line."""

    def put(first: ast.expr, last: ast.expr, new: bytes) -> bytes:
        return line[: first.col_offset] + new + line[last.end_col_offset :]

    def text(node: ast.expr) -> bytes:
        return line[node.col_offset : node.end_col_offset]

    def swap(left: ast.expr, right: ast.expr) -> Iterator[tuple[str, bytes]]:
        between = line[left.end_col_offset : right.col_offset]
        old = between.strip(b" ()").decode()
        kinds = [type(node.value) if isinstance(node, ast.Constant) else type(node) for node in (left, right)]
        joined = str in kinds or ast.JoinedStr in kinds  # texts and paths, of which another operator says nothing
        if old in OPPOSITES and not (joined and old[0] in "+-*/"):
            new = between.replace(old.encode(), OPPOSITES[old].encode(), 1)
            yield f"{old} to {OPPOSITES[old]}", put(left, right, text(left) + new + text(right))

    def negate(condition: ast.expr) -> tuple[str, bytes]:
        return "condition negated", put(condition, condition, b"not (" + text(condition) + b")")

    match statement:
        case ast.If(test=test) | ast.While(test=test):
            yield negate(test)
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant) or value.value is not None:
            yield "nothing returned", put(value, value, b"None")
        case ast.Expr(value=ast.Call() as call):
            yield "call left out", put(call, call, b"pass")
        case ast.AugAssign(target=target, value=value):
            yield from swap(target, value)
    for node in expressions(headers(statement)):
        match node:
            case ast.Compare(left=first, comparators=operands) | ast.BoolOp(values=[first, *operands]):
                for left, right in zip([first, *operands], operands, strict=False):
                    yield from swap(left, right)
            case ast.BinOp(left=left, right=right):
                yield from swap(left, right)
            case ast.IfExp():
                yield negate(node.test)
            case ast.UnaryOp(op=ast.Not()):
                yield "not left out", put(node, node, text(node.operand))
            case ast.Constant(value=bool()):
                yield "truth flipped", put(node, node, str(not node.value).encode())
            case ast.Constant(value=int() | float() as number):
                yield "one more", put(node, node, repr(number + 1).encode())
            case ast.Call(func=ast.Name(id="min" | "max") | ast.Attribute(attr="min" | "max") as function):
                other = {b"min": b"max", b"max": b"min"}[name := text(function)[-3:]]
                yield f"{name.decode()} to {other.decode()}", put(function, function, text(function)[:-3] + other)


def one_line(statement: ast.stmt, line: str) -> bool:
    """Whether a statement, or a compound statement's first line, is a line of its own that may be changed."""
    ends = [node.end_lineno for node in headers(statement)]
    return (
        set(ends) <= {statement.lineno}
        and (statement.end_lineno == statement.lineno or bool(re.search(r":\s*(#.*)?$", line)))
        and line.encode()[: statement.col_offset].isspace()
        and not re.match(r"\s*(elif|raise|assert)\b|.*\b(TYPE_CHECKING|logg(er|ing))\b", line)
        and not isinstance(statement, ast.Import | ast.ImportFrom | ast.Match)
    )


def places(repo: Path) -> dict[tuple[str, str, str], list[tuple[ast.stmt, str]]]:
    """Return the statements of a checkout that may be changed and their lines, by file, function and stripped line."""
    found: dict[tuple[str, str, str], list[tuple[ast.stmt, str]]] = {}
    for path in sorted(path for folder in CODE for path in (repo / folder).rglob("*.py")):
        lines = path.read_text().split("\n")
        for statement, function in statements(path):
            if one_line(statement, line := lines[statement.lineno - 1]):
                key = (path.relative_to(repo).as_posix(), function, line.strip())
                found.setdefault(key, []).append((statement, line))
    return found


def draw(repo: Path, seed: int, count: int) -> list[Fault]:
    """Draw faults uniformly, at most one a line; a larger count only adds some at the end."""
    candidates = []
    for (file, function, text), equal in places(repo).items():
        for occurrence, (statement, line) in enumerate(equal):
            changed = {new.decode().strip(): kind for kind, new in mutations(statement, line.encode())}
            candidates += [Fault(0, file, function, text, new, occurrence, kind) for new, kind in changed.items()]
    print(f"{len(candidates)} possible faults in {len({fault.file for fault in candidates})} files")
    random.Random(seed).shuffle(candidates)
    faults: dict[tuple[object, ...], Fault] = {}
    for fault in candidates:
        faults.setdefault((fault.file, fault.function, fault.line, fault.occurrence), fault)
    return [replace(fault, id=number) for number, fault in enumerate(list(faults.values())[:count], 1)]


def locate(faults: list[Fault], repo: Path, count: int) -> list[Fault]:
    """Find faults in a checkout whose code has moved: by line and function, or by a long line that is there once."""

    def words(name: str) -> set[str]:
        return set(re.findall(r"[a-z0-9]+", name.lower()))

    def likeness(fault: Fault, key: tuple[str, str, str]) -> tuple[int, int, int]:
        shared = words(Path(key[0]).stem) & words(Path(fault.file).stem)
        return key[1] == fault.function, len(shared), len(words(key[0]) & words(fault.file))

    there, found = places(repo), []
    for fault in faults:
        keys = [key for key in there if key[2] == fault.line]
        name = fault.function.rpartition(".")[2].lstrip("_")
        named = [key for key in keys if key[1].rpartition(".")[2].lstrip("_") == name]
        if not named and len(keys) == 1 and len(there[keys[0]]) == 1 and len(fault.line) >= 25:
            named = keys
        best = sorted(named, key=lambda key: likeness(fault, key))[-2:]
        if not best or len(there[best[-1]]) <= fault.occurrence:
            print(f"{fault.id}: not found: {fault.file}, {fault.function}: {fault.line}")
        elif len(best) == 2 and likeness(fault, best[0]) == likeness(fault, best[1]):
            print(f"{fault.id}: not found, because it may be {best[0][:2]} or {best[1][:2]}: {fault.line}")
        else:
            found.append(replace(fault, file=best[-1][0], function=best[-1][1]))
            print(f"{fault.id}: {fault.file}, {fault.function} is {best[-1][0]}, {best[-1][1]}")
    print(f"{len(found)} of {len(faults)} are there, of which the first {min(count, len(found))} are kept")
    return found[:count]


def planted(repo: Path, faults: list[Fault], probe: bool) -> dict[Path, str]:
    """Return the texts of files with faults, or with probes before them."""
    there, changes = places(repo), {}
    for fault in faults:
        statement, line = there[fault.file, fault.function, fault.line][fault.occurrence]
        indentation = line[: len(line) - len(line.lstrip())]
        before = f'{indentation}__import__("{PLUGIN}").hit({fault.id})\n{line}'
        changes[fault.file, statement.lineno] = before if probe else indentation + fault.mutated
    texts = {}
    for file in {file for file, _ in changes}:
        lines = (repo / file).read_text().split("\n")
        texts[repo / file] = "\n".join(changes.get((file, number), line) for number, line in enumerate(lines, 1))
        compile(texts[repo / file], file, "exec")
    return texts
