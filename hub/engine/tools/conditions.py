"""Conditions on the arguments of a call, in a small closed form: `amount > 100 and currency != "eur"`.

The form is Python's, and nothing else of Python: arguments by name (`to.country` inside an object), texts, numbers,
true, false, null and lists of them, `== != < <= > >= in not in`, `and or not`, brackets. Nothing is called.
"""

import ast
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hub.domain.team import ArgumentRule

MAX_CHARACTERS = 500
MAX_NODES = 100

_WORDS = {"true": True, "false": False, "null": None}


COMPARISONS: Mapping[str, type[ast.cmpop]] = {
    "==": ast.Eq,
    "!=": ast.NotEq,
    "<": ast.Lt,
    "<=": ast.LtE,
    ">": ast.Gt,
    ">=": ast.GtE,
    "in": ast.In,
    "not in": ast.NotIn,
}


class _Undecided(Exception):
    """An argument is missing, or is not of the kind it is compared with."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition that was read."""

    text: str
    _body: ast.expr

    @classmethod
    def read(cls, text: str) -> "Condition":
        """Raises ValueError with what is wrong with it."""
        if len(text) > MAX_CHARACTERS:
            raise ValueError(f"the condition has more than {MAX_CHARACTERS} characters")
        try:
            body = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, RecursionError, MemoryError, ValueError):
            raise ValueError(f"{text!r} is no condition, like: amount > 100") from None
        if sum(1 for _ in ast.walk(body)) > MAX_NODES:
            raise ValueError("the condition is too long")
        _check(body)
        return cls(text, body)

    @classmethod
    def any_of(cls, rules: Iterable[ArgumentRule]) -> "Condition":
        """That one of these holds, of which there is at least one; nothing is parsed."""
        bodies, texts = list[ast.expr](), list[str]()
        for rule in rules:
            first, *inner = rule.argument.split(".")
            side: ast.expr = ast.Name(id=first, ctx=ast.Load())
            for name in inner:
                side = ast.Attribute(value=side, attr=name, ctx=ast.Load())
            bodies.append(ast.Compare(left=side, ops=[COMPARISONS[rule.comparison]()], comparators=[_data(rule.value)]))
            texts.append(f"{rule.argument} {rule.comparison} {rule.value!r}")
        return cls(" or ".join(texts), ast.BoolOp(op=ast.Or(), values=bodies))

    def __or__(self, other: "Condition") -> "Condition":
        return Condition(f"({self.text}) or ({other.text})", ast.BoolOp(op=ast.Or(), values=[self._body, other._body]))

    @property
    def arguments(self) -> frozenset[str]:
        """The names of arguments it looks at."""
        names = {node.id for node in ast.walk(self._body) if isinstance(node, ast.Name)}
        return frozenset(names - _WORDS.keys())

    def holds(self, arguments: Mapping[str, object]) -> bool:
        """Whether it holds; also when it cannot be decided, for what nobody foresaw is for people to look at."""
        try:
            return _truth(self._body, arguments)
        except _Undecided:
            return True


def _data(value: object) -> ast.expr:
    if isinstance(value, tuple):
        return ast.List(elts=[_data(item) for item in value], ctx=ast.Load())
    assert value is None or isinstance(value, str | int | float)
    return ast.Constant(value=value)


def _check(node: ast.expr) -> None:
    """Raises ValueError for what is not of the form."""
    match node:
        case ast.BoolOp(values=values):
            for value in values:
                _check(value)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            _check(operand)
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            for side in (left, *comparators):
                _check_operand(side)
            if any(isinstance(op, ast.Is | ast.IsNot) for op in ops):
                raise ValueError("`is` is not of the form: use ==")
        case ast.Name() | ast.Attribute():
            _check_operand(node)  # an argument that is true or false
        case _:
            raise ValueError(f"`{ast.unparse(node)}` is no condition: compare an argument with a value")


def _check_operand(node: ast.expr) -> None:
    match node:
        case ast.Name():
            pass
        case ast.Attribute(value=ast.Name() | ast.Attribute() as value):
            _check_operand(value)
        case ast.Constant(value=str() | int() | float() | None):
            pass
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float())):
            pass
        case ast.List(elts=items) | ast.Tuple(elts=items):
            for item in items:
                _check_operand(item)
        case _:
            raise ValueError(f"`{ast.unparse(node)}` is neither an argument nor a value")


def _truth(node: ast.expr, arguments: Mapping[str, object]) -> bool:
    match node:
        case ast.BoolOp(op=ast.And(), values=values):
            return all(_truth(value, arguments) for value in values)
        case ast.BoolOp(values=values):
            return any(_truth(value, arguments) for value in values)
        case ast.UnaryOp(operand=operand):
            return not _truth(operand, arguments)
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            sides = [_value(side, arguments) for side in (left, *comparators)]
            return all(_compare(a, op, b) for a, op, b in zip(sides, ops, sides[1:], strict=False))
        case _:
            value = _value(node, arguments)
            if not isinstance(value, bool):
                raise _Undecided
            return value


def _value(node: ast.expr, arguments: Mapping[str, object]) -> object:
    match node:
        case ast.Name(id=name) if name in _WORDS:
            return _WORDS[name]
        case ast.Name(id=name):
            return _member(arguments, name)
        case ast.Attribute(value=inner, attr=name):
            return _member(_value(inner, arguments), name)
        case ast.Constant(value=value):
            return value
        case ast.UnaryOp(operand=ast.Constant(value=int() | float() as number)):
            return -number
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_value(item, arguments) for item in items]
        case _:
            raise _Undecided


def _member(holder: object, name: str) -> object:
    if not isinstance(holder, Mapping) or name not in holder:
        raise _Undecided
    return holder[name]


def _compare(left: object, op: ast.cmpop, right: object) -> bool:
    match op:
        case ast.In() | ast.NotIn():
            return _contains(left, right) is isinstance(op, ast.In)
        case ast.Eq():
            return _equal(left, right)
        case ast.NotEq():
            return not _equal(left, right)
    if not (_is_number(left) and _is_number(right)) and not (isinstance(left, str) and isinstance(right, str)):
        raise _Undecided
    match op:
        case ast.Lt():
            return left < right  # type: ignore[operator,no-any-return]
        case ast.LtE():
            return left <= right  # type: ignore[operator,no-any-return]
        case ast.Gt():
            return left > right  # type: ignore[operator,no-any-return]
        case _:
            return left >= right  # type: ignore[operator,no-any-return]


def _contains(item: object, holder: object) -> bool:
    if isinstance(holder, str):
        if not isinstance(item, str):
            raise _Undecided
        return item in holder
    if not isinstance(holder, Sequence):
        raise _Undecided
    alike = [other for other in holder if other is None or item is None or _kind(other) == _kind(item)]
    if item in alike:
        return True
    if len(alike) < len(holder):
        raise _Undecided
    return False


def _equal(left: object, right: object) -> bool:
    if left is not None and right is not None and _kind(left) != _kind(right):
        raise _Undecided  # "5" and 5: whoever wrote the condition did not think of it
    return left == right


def _kind(value: object) -> str:
    match value:
        case bool():
            return "truth"
        case float() if not math.isfinite(value):
            raise _Undecided  # models do send NaN, which is not more than 100, nor less, nor equal to itself
        case int() | float():
            return "number"
        case str():
            return "text"
        case Mapping():
            return "object"
        case _:
            return "list"


def _is_number(value: object) -> bool:
    return _kind(value) == "number"
