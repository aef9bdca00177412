"""Reads from the source what a program can say: the literal parts of its messages, with names for what is filled in."""

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
CODE = ("include/bcda", "plugins", "dags")

_DEPTH = 4
"""How far a text is followed through variables and functions."""

_WORDS = 3
"""What has fewer words is a value that is filled in, not a part of the message."""


@dataclass(frozen=True, slots=True)
class Said:
    """One message.

    Attributes:
        kind: name of the class or function that it is given to, such as `StorageError` or `warning`.
        path: file below the project.
        text: its words; what is filled in stands in braces. Empty when the words come from elsewhere.
    """

    kind: str
    path: str
    text: str


def said(kinds: Mapping[str, int | str], *, keep: Callable[[ast.Call], bool] = lambda _: True) -> list[Said]:
    """Return every message that the code gives to one of the named classes, functions or methods, in order of the files.

    Args:
        kinds: names, each with the position or the keyword of the message among the arguments.
        keep: which calls count.
    """
    found = []
    for path in sources():
        module = _parsed(path)
        name = path.relative_to(PROJECT).as_posix()
        for function, call in _calls(module):
            kind = _name(call.func)
            message = _argument(call, kinds[kind]) if kind in kinds and keep(call) else None
            if message is not None:
                texts = list(dict.fromkeys(_texts(message, module, function, _DEPTH)))
                found += [Said(kind, name, _one_line(text)) for text in texts or [""]]
    return list(dict.fromkeys(found))


def _argument(call: ast.Call, where: int | str) -> ast.expr | None:
    if isinstance(where, int):
        return call.args[where] if len(call.args) > where else None
    return next((keyword.value for keyword in call.keywords if keyword.arg == where), None)


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def sources() -> list[Path]:
    """Return the files of library, provider and DAGs."""
    return [path for folder in CODE for path in sorted((PROJECT / folder).rglob("*.py"))]


def _calls(module: ast.Module) -> Iterator[tuple[ast.AST, ast.Call]]:
    """Yield each call with the function it stands in."""

    def walk(node: ast.AST, function: ast.AST) -> Iterator[tuple[ast.AST, ast.Call]]:
        for child in ast.iter_child_nodes(node):
            inner = child if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) else function
            if isinstance(child, ast.Call):
                yield inner, child
            yield from walk(child, inner)

    return walk(module, module)


def _texts(node: ast.expr, module: ast.Module, function: ast.AST, depth: int) -> Iterator[str]:
    """Yield the texts that an expression can be."""
    if depth == 0:
        return
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield from _joined(node, module, function, depth)
    elif isinstance(node, ast.IfExp):
        yield from _texts(node.body, module, function, depth)
        yield from _texts(node.orelse, module, function, depth)
    elif isinstance(node, ast.BinOp):
        for left in _texts(node.left, module, function, depth):
            for right in _texts(node.right, module, function, depth):
                yield left + right
    else:
        for origin, scope in _origins(node, module, function):
            yield from _texts(origin, module, scope, depth - 1)


def _origins(node: ast.expr, module: ast.Module, function: ast.AST) -> Iterator[tuple[ast.expr, ast.AST]]:
    """Yield the expressions that a name, an entry of a table or a call of this module stands for."""
    if isinstance(node, ast.Name):
        for scope in dict.fromkeys((function, module)):
            yield from ((value, scope) for value in _assigned(node.id, scope))
    elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
        tables = (value for value in _assigned(node.value.id, module) if isinstance(value, ast.Dict))
        yield from ((entry, module) for table in tables for entry in table.values)
    elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.GeneratorExp):
        yield from ((text, module) for text in _listed(node.args[0].generators[0].iter, module))
    elif isinstance(node, ast.Call):
        yield from _returned(_name(node.func), module)


def _listed(listed: ast.expr, module: ast.Module) -> Iterator[ast.expr]:
    """Yield the sentences of a table that is gone through, as in `next(text for … in _TABLE)`."""
    for value in _assigned(listed.id, module) if isinstance(listed, ast.Name) else ():
        texts = (part for part in ast.walk(value) if isinstance(part, ast.Constant))
        yield from (text for text in texts if len(str(text.value).split()) > _WORDS)


def _returned(name: str, module: ast.Module) -> Iterator[tuple[ast.expr, ast.AST]]:
    """Yield what a function of the module returns."""
    for called in ast.walk(module):
        if isinstance(called, ast.FunctionDef) and called.name == name:
            returns = (part for part in ast.walk(called) if isinstance(part, ast.Return))
            yield from ((part.value, called) for part in returns if part.value is not None)


def _assigned(name: str, scope: ast.AST) -> Iterator[ast.expr]:
    """Yield what a scope assigns to a name, functions inside of it left out."""
    for child in ast.iter_child_nodes(scope):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        targets = child.targets if isinstance(child, ast.Assign) else [getattr(child, "target", None)]
        value = getattr(child, "value", None)
        if isinstance(child, ast.Assign | ast.AnnAssign) and value is not None:
            yield from (value for target in targets if isinstance(target, ast.Name) and target.id == name)
        yield from _assigned(name, child)


def _joined(node: ast.JoinedStr, module: ast.Module, function: ast.AST, depth: int) -> Iterator[str]:
    """Yield an f-string with its placeholders named."""
    texts = [""]
    for part in node.values:
        if isinstance(part, ast.Constant):
            fills = [str(part.value)]
        else:
            value = part.value if isinstance(part, ast.FormattedValue) else part
            fills = _fills(value, module, function, depth) or [f"{{{_placeholder(value)}}}"]
        texts = [text + fill for text in texts for fill in fills]
    yield from texts


def _fills(value: ast.expr, module: ast.Module, function: ast.AST, depth: int) -> list[str]:
    """Return the words that can be filled in where they are part of the message; none where it is a value."""
    found = list(dict.fromkeys(_texts(value, module, function, depth)))
    if isinstance(value, ast.IfExp | ast.Subscript):
        return found
    if not found or any(len(text.split()) < _WORDS for text in found):
        return []
    return found if len(found) == 1 else [f"[{' / '.join(found)}]"]


def _placeholder(node: ast.expr) -> str:
    """Return a name for what is filled in: that of what the expression is about."""
    if isinstance(node, ast.Attribute):
        return "kind of error" if node.attr == "__name__" else _words(node.attr)
    if isinstance(node, ast.Name):
        return _words(node.id)
    if isinstance(node, ast.Constant):
        return _words(str(node.value))
    if isinstance(node, ast.BoolOp):
        return _placeholder(node.values[0])
    if isinstance(node, ast.Call):
        if node.args:
            return _placeholder(next((a for a in node.args if not isinstance(a, ast.Constant)), node.args[0]))
        return _placeholder(node.func.value) if isinstance(node.func, ast.Attribute) else _words(_name(node.func))
    inner = next((child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)), None)
    return _placeholder(inner) if inner is not None else "…"


def _words(name: str) -> str:
    return name.strip("_").replace("_", " ").lower()


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()
