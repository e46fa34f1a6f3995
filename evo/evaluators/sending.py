"""Sending a setup to workers: functions of a script or a notebook travel whole, those of other modules by their names.

Only evo's own processes, and the workers of a cluster that its user has named, get what is packed here.
"""

from __future__ import annotations

import functools
import linecache
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from types import BuiltinMethodType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, TypeAlias

from evo.errors import ConfigurationError
from evo.evaluators.base import Setup, ends_the_search
from evo.plain_text import cell_text, reason_of, shown

Part: TypeAlias = tuple[str, Any]
"""What something is called, and the thing."""
SCRIPT = "__main__"
"""The module of a script, a notebook or a prompt, which no worker can import."""
DYNAMIC = "<dynamic-code>"
"""What cloudpickle calls the file of every function that travels whole."""
DEPTH, MOST_PARTS = 6, 1000
"""How deep, and among how many parts of one thing, the cause of a failure is looked for."""


def packed(setup: Setup, remedy: str) -> bytes:
    """Return a setup as bytes for workers.

    Args:
        setup: What to send.
        remedy: How else to do without sending, such as "leave workers at 1".

    Raises:
        ConfigurationError: It cannot be sent; the text names the part that cannot.
    """
    import cloudpickle

    try:
        content: bytes = cloudpickle.dumps((setup, _sources(setup)))
    except BaseException as problem:  # what pickle or the objects' own methods raise
        if ends_the_search(problem):
            raise
        name, value = _culprit(setup, cloudpickle.dumps)
        what = f"{name} is {shown(value)}" if name else "it refuses"
        raise ConfigurationError(
            f"the objective cannot be sent to workers: {what} ({reason_of(problem)}); "
            f"make it inside the function, or {remedy}"
        ) from None
    return content


def received(content: bytes) -> Setup:
    """Return the setup that `packed` has made into bytes, in a worker.

    Raises:
        ConfigurationError: A module that it is from is not there, or an object cannot be made again.
    """
    try:
        setup: Setup
        setup, sources = pickle.loads(content)  # noqa: S301  # from the search that has started this worker
    except BaseException as problem:
        if ends_the_search(problem):
            raise
        raise ConfigurationError(
            f"the objective was sent and cannot be made again in a worker ({reason_of(problem)}); "
            "its modules must be where every Python process finds them (an installed package, or PYTHONPATH)"
        ) from None
    _restore_sources(setup, sources)
    return setup


Sources: TypeAlias = "dict[tuple[str, int], tuple[str, list[str]]]"
"""By name and first line of a function: its file, and the lines of that where there is no such file (a notebook)."""


def _sources(setup: Setup) -> Sources:
    """Return where the functions of a setup are from: cloudpickle leaves it out, and tracebacks would be blind."""
    found: Sources = {}
    for _, value in _walk(("", setup), depth=DEPTH):
        if isinstance(value, FunctionType):
            code, file = value.__code__, value.__code__.co_filename
            lines = [] if os.path.exists(file) else linecache.getlines(file, value.__globals__)
            found[code.co_qualname, code.co_firstlineno] = file, lines
    return found


def _restore_sources(setup: Setup, sources: Sources) -> None:
    for _, value in _walk(("", setup), depth=DEPTH):
        if isinstance(value, FunctionType) and value.__code__.co_filename == DYNAMIC:
            key = value.__code__.co_qualname, value.__code__.co_firstlineno
            if key in sources:
                file, lines = sources[key]
                value.__code__ = _with_file(value.__code__, file)
                if lines:  # without a time, which says that they are not to be looked up
                    linecache.cache[file] = sum(map(len, lines)), None, lines, file


def _with_file(code: CodeType, file: str) -> CodeType:
    constants = (_with_file(one, file) if isinstance(one, CodeType) else one for one in code.co_consts)
    return code.replace(co_filename=file, co_consts=tuple(constants))


def publish(setup: Setup) -> None:
    """Make what was sent of the user's script part of this process's `__main__`.

    Processes that an objective starts find its helpers there, where their names say that they are.
    """
    main = vars(sys.modules[SCRIPT])
    for _, value in _walk(("", setup), depth=DEPTH):
        kind = value if isinstance(value, type) else type(value)
        if isinstance(value, FunctionType) and value.__module__ == SCRIPT:
            main.setdefault(value.__name__, value)
            for name, other in value.__globals__.items():
                main.setdefault(name, other)
        elif kind.__module__ == SCRIPT:
            main.setdefault(kind.__name__, kind)


def _culprit(setup: Setup, dumps: Callable[[Any], bytes]) -> Part:
    """Return the innermost part of a setup that cannot be sent by itself."""
    found, depth = ("", setup), 0
    while depth < DEPTH:
        inner = next((part for part in _parts(found[1]) if not _can_be_sent(part[1], dumps)), None)
        if inner is None:
            break
        found, depth = inner, depth + 1
    return found if depth else ("", None)


def _can_be_sent(value: Any, dumps: Callable[[Any], bytes]) -> bool:
    try:
        dumps(value)
    except BaseException as problem:
        if ends_the_search(problem):
            raise
        return False
    return True


def _walk(part: Part, depth: int) -> Iterator[Part]:
    seen: set[int] = set()
    left = [(part, depth)]
    while left:
        one, further = left.pop()
        if id(one[1]) not in seen:
            seen.add(id(one[1]))
            yield one
            left += [(inner, further - 1) for inner in _parts(one[1])] if further else []


def _parts(value: Any) -> list[Part]:
    """Return what a value is made of and takes with it when it is sent; of many parts the first."""
    try:
        return list(islice(_all_parts(value), MOST_PARTS))
    except BaseException as problem:  # attributes of user code may do anything
        if ends_the_search(problem):
            raise
        return []


def _all_parts(value: Any) -> Iterator[Part]:
    if isinstance(value, FunctionType):
        yield from _parts_of_function(value)
    elif isinstance(value, MethodType | BuiltinMethodType):
        yield f"the object of {cell_text(value.__name__)}", value.__self__
        if isinstance(value, MethodType):
            yield f"the method {cell_text(value.__name__)}", value.__func__
    elif isinstance(value, functools.partial):
        yield "the function of functools.partial", value.func
        yield from ((f"argument {number} of functools.partial", one) for number, one in enumerate(value.args, 1))
        yield from ((f"the argument {name} of functools.partial", one) for name, one in value.keywords.items())
    elif isinstance(value, dict):
        yield from ((f"the entry {shown(key)}", one) for key, one in value.items())
    elif isinstance(value, list | tuple | set | frozenset):
        yield from (("an entry", one) for one in value)
    elif not isinstance(value, ModuleType | type):
        if isinstance(attributes := getattr(value, "__dict__", None), dict):
            yield from ((f"its attribute {cell_text(str(name))}", one) for name, one in attributes.items())
        if type(value).__module__ == SCRIPT:
            methods = ((name, one) for name, one in vars(type(value)).items() if isinstance(one, FunctionType))
            yield from ((f"the method {name}", one) for name, one in methods)


def _parts_of_function(function: FunctionType) -> Iterator[Part]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        try:
            yield f'"{name}", which the function uses,', cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    for value in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
        yield "a default of a parameter", value
    for name in sorted(_names_in(function.__code__)):
        if name in function.__globals__:
            yield f'"{name}", which the function uses,', function.__globals__[name]


def _names_in(code: CodeType) -> set[str]:
    inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return set(code.co_names).union(*map(_names_in, inner))
