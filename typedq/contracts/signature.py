"""From a function to the type of its payload."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import msgspec

from typedq.contracts.encoded_types import encoded_type
from typedq.contracts.foreign import is_pydantic, is_pydantic_dataclass
from typedq.contracts.fragments import CopyOf
from typedq.contracts.records import record_kind
from typedq.contracts.type_tree import NoSchema, in_our_words, name_of, tree_of
from typedq.errors import ContractError

_Kind = inspect.Parameter
_EMPTY = inspect.Parameter.empty
_MAX_WRAPPERS = 100
_STARRED = {
    _Kind.VAR_POSITIONAL: "*args has no contract; take a list",
    _Kind.VAR_KEYWORD: "**kwargs has no contract; take a dict or a Struct",
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a task, its annotation resolved."""

    name: str
    kind: Any
    place: Any  # inspect.Parameter.kind
    default: Any

    @property
    def required(self) -> bool:
        return self.default is _EMPTY


@dataclass(frozen=True, slots=True)
class TaskSignature:
    """What a task takes. `lone`: its one parameter's type is the payload."""

    parameters: tuple[Parameter, ...]
    payload: Any
    lone: bool
    takes_context: bool
    is_async: bool
    text: str


def read_signature(fn: Callable[..., Any], *, task: str, context: type) -> TaskSignature:
    """Raises `ContractError` for a function that can have no contract."""
    plain = _plain_function(fn, task)
    try:
        signature = inspect.signature(plain)
    except (NameError, TypeError, ValueError) as error:
        raise ContractError(task, None, str(error)) from error
    found = list(signature.parameters.values())
    hints = {p.name: _resolved(plain, p, task) for p in found}
    takes_context = bool(found) and hints[found[0].name] is context
    if takes_context and found[0].kind is _Kind.KEYWORD_ONLY:
        raise ContractError(task, found[0].name, "the context comes first, and not by keyword")
    taken = [
        Parameter(p.name, hints[p.name], p.kind, p.default)
        for p in found[1 if takes_context else 0 :]
    ]
    for parameter in taken:
        _check(parameter, task, context)
    lone = len(taken) == 1 and taken[0].required and _is_record(taken[0].kind)
    return TaskSignature(
        parameters=tuple(taken),
        payload=taken[0].kind if lone else _object_of(plain, taken, task),
        lone=lone,
        takes_context=takes_context,
        is_async=inspect.iscoroutinefunction(fn),
        text=_shown(signature, taken),
    )


def _plain_function(fn: Any, task: str) -> types.FunctionType:
    is_static = isinstance(fn, staticmethod)
    # A decorator that injects a parameter says in `__signature__` what it takes itself.
    levels: list[Any] = [fn.__func__ if is_static else fn]
    while not hasattr(levels[-1], "__signature__") and hasattr(levels[-1], "__wrapped__"):
        if len(levels) > _MAX_WRAPPERS:
            raise ContractError(task, None, "its __wrapped__ never ends; unwrap it")
        levels.append(levels[-1].__wrapped__)
    plain = levels[-1]
    if not isinstance(plain, types.FunctionType):
        raise ContractError(task, None, f"a task is a plain function, not {type(fn).__name__}")
    if any(map(_is_generator_function, levels)):
        raise ContractError(task, None, "a generator only runs when iterated; return instead")
    owner = plain.__qualname__.rpartition(".")[0]
    if owner and not owner.endswith("<locals>") and not is_static:
        hint = "a worker has no instance to call it on; use a function, or @staticmethod below"
        raise ContractError(task, None, f"it is a method of {owner}: {hint}")
    return plain


def _is_generator_function(level: object) -> bool:
    call = inspect.getattr_static(type(level), "__call__", None)  # a decorator may be a class
    return any(
        inspect.isgeneratorfunction(each) or inspect.isasyncgenfunction(each)
        for each in (level, call)
    )


def _resolved(fn: types.FunctionType, parameter: inspect.Parameter, task: str) -> Any:
    """The annotation as a type. Resolved one by one: the return annotation is no contract."""
    name = parameter.name
    if parameter.kind in _STARRED:
        raise ContractError(task, name, _STARRED[parameter.kind])
    if parameter.annotation is _EMPTY:
        hint = "; a task is no method" if name in ("self", "cls") else "; write its type"
        raise ContractError(task, name, "it has no annotation" + hint)
    holder: Any = types.SimpleNamespace(__annotations__={name: parameter.annotation})
    try:
        scope = inspect.unwrap(fn).__globals__
        return typing.get_type_hints(holder, scope, include_extras=True)[name]
    except NameError as error:
        _unresolved(task, name, error)
    except Exception as error:
        raise ContractError(task, name, f"{parameter.annotation!r}: {error}") from error


def _unresolved(task: str, name: str, error: NameError) -> NoReturn:
    hint = "import it outside `if TYPE_CHECKING:`, and define it at the top of a module"
    raise ContractError(task, name, f"{error}; {hint}") from error


def _check(parameter: Parameter, task: str, context: type) -> None:
    kind, name = parameter.kind, parameter.name
    if kind is context:
        raise ContractError(task, name, "the context can only be the first parameter")
    if context in typing.get_args(kind):
        raise ContractError(task, name, "annotate the context as such, without anything around")
    try:
        tree_of(encoded_type(kind).kind)
    except NameError as error:
        _unresolved(task, name, error)
    except NoSchema as error:
        raise ContractError(task, name, str(error)) from error
    except Exception as error:
        raise ContractError(task, name, in_our_words(str(error))) from error


def _is_record(kind: Any) -> bool:
    """Whether a type is the whole payload, where it is that of the only parameter."""
    while typing.get_origin(kind) is typing.Annotated:
        kind = kind.__origin__
    cls = typing.get_origin(kind) or kind
    if is_pydantic(cls) or is_pydantic_dataclass(cls):
        return True
    return record_kind(cls) in ("struct", "dataclass", "attrs", "typeddict")


def _object_of(fn: types.FunctionType, taken: list[Parameter], task: str) -> Any:
    """A Struct with a field per parameter."""
    fields = [(p.name, p.kind, _field(p)) for p in taken]
    try:
        return msgspec.defstruct(fn.__name__, fields, kw_only=True, module=fn.__module__)
    except Exception as error:
        raise ContractError(task, None, str(error)) from error


def _field(parameter: Parameter) -> Any:
    default: Any = parameter.default
    if parameter.required:
        return msgspec.field()
    if type(default).__hash__ is None or isinstance(default, msgspec.Struct):
        return msgspec.field(default_factory=CopyOf(default))
    return msgspec.field(default=default)


def _shown(signature: inspect.Signature, taken: list[Parameter]) -> str:
    shown: Mapping[str, Any] = {
        p.name: signature.parameters[p.name].replace(annotation=_Name(p.kind)) for p in taken
    }
    returns = signature.return_annotation
    named = returns if returns is _EMPTY else _Name(returns)
    return str(inspect.Signature(list(shown.values()), return_annotation=named))


class _Name:
    """An annotation that `inspect` shows without the modules it comes from."""

    __slots__ = ("_text",)

    def __init__(self, kind: Any) -> None:
        self._text = name_of(kind)

    def __repr__(self) -> str:
        return self._text
