"""``contextvars``: what a variable holds is guarded where it is read, and set after the graph, in order with output and calls.

A token is made by the real ``set()``, which generated code calls; while tracing a stand-in is the token.
"""

from __future__ import annotations

import contextvars
import gc
from typing import Any

from alternator.exc import Break
from alternator.interpreter import attributes
from alternator.interpreter.tables import GETATTR, REBUILD, RULES
from alternator.provenance.ends import is_observed
from alternator.provenance.source import Source
from alternator.provenance.world import ADMIT, MISSING, SCALARS, Unread, World

_Var, _Token = contextvars.ContextVar, contextvars.Token


@ADMIT.register(_Var)
def admit_variable(world: World, obj: Any, source: Source) -> Any:
    """One that has a name is itself; another one is any."""
    if source.root().access in ("object", "globals"):
        return world.by_identity(obj, source)
    source.guard("TYPE", _Var)
    world.vm.compared.add(_Var)  # so that two of them are two
    world.record(obj, source)
    return obj


# ---- tokens


def _shown(self: Any, *args: Any) -> Any:
    """Its text names its address."""
    raise Break("UNSUPPORTED_OPERATION", "the text of a token of a context variable")


class TracedToken:
    """Stands for what ``variable.set(value)`` gives; ``before``: what the variable held."""

    def __init__(self, variable: Any, value: Any, before: "_Held") -> None:
        self.variable, self.value, self.before = variable, value, before
        self.used = self.made = False

    __repr__ = __str__ = __format__ = __reduce_ex__ = _shown  # type: ignore[assignment]


attributes.show_as(TracedToken, _Token)
RULES.put(_shown, lambda vm, args, kwargs: _shown(*args))


def _token_attr(vm: Any, token: TracedToken, name: str) -> Any:
    if name == "var":
        return token.variable
    if name == "old_value":
        before = token.before.look(vm)
        return _Token.MISSING if before is MISSING else before
    raise Break("UNSUPPORTED_ATTRIBUTE", f"{name} of a token of a context variable")


GETATTR.put(TracedToken, _token_attr)


@REBUILD.rule(TracedToken)
def rebuild_token(b: Any, token: TracedToken) -> str:
    """Sets the variable: that comes at its place among the effects."""
    if not token.made:
        raise Break("UNREBUILDABLE_OUTPUT", "a token of a context variable that a container from outside is to hold")
    made = b.assign(f"{b.constant(_Var.set, 'set_variable')}({b.value(token.variable)}, {b.value(token.value)})", "t")
    b.register(token, made)
    return str(made)


class _Setting:
    """The place where a token is made."""

    def __init__(self, token: TracedToken) -> None:
        self.token = token


@REBUILD.rule(_Setting)
def rebuild_setting(b: Any, setting: _Setting) -> str:
    setting.token.made = True
    return str(b.value(setting.token))


def _keep(token: Any) -> None:
    """Mentioning the token has set the variable."""


# ---- what variables hold


class _Held:
    """What a variable holds as far as captured code knows: a value, MISSING, or an ``Unread`` one of these."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def look(self, vm: Any) -> Any:
        """The value, guarded; MISSING if there is none."""
        if type(self.value) is Unread:
            value, source = self.value.obj, self.value.source
            if value is MISSING:
                source.guard_predicate(_is_unset, "it is unset")
            self.value = value if value is MISSING else vm.world.admit(value, source)
        return self.value


def _is_unset(value: Any) -> bool:
    return value is MISSING


def held(variable: Any) -> Any:
    """What the variable has been set to in this context, or MISSING."""
    return variable.get(MISSING)


def default(variable: Any) -> Any:
    """What an unset variable gives, or MISSING."""
    try:
        return contextvars.Context().run(variable.get)
    except LookupError:
        return MISSING


def _quiet(variable: Any) -> bool:
    return not is_observed(held(variable))


def _state(vm: Any, variable: Any) -> tuple[Any, dict[int, _Held]]:
    """The record of a variable, and the table of what such hold."""
    rec = vm.records.get(id(variable))
    if rec is None or type(variable) is not _Var:
        raise Break("UNSUPPORTED_OPERATION", "a context variable that captured code makes")
    table: dict[int, _Held] = vm.states.setdefault("context variables", {})
    if id(variable) not in table:
        table[id(variable)] = _Held(Unread(held(variable), rec.inner.child("call", held)))
    return rec, table


def _arguments(vm: Any, method: Any, names: tuple[str, ...], args: Any, kwargs: Any) -> list[Any]:
    """The arguments behind ``self``; a wrong call is refused as the method refuses it."""
    if kwargs or not len(names) <= len(args) - 1 <= len(names) + (method is _Var.get):
        vm.plain(lambda: contextvars.Context().run(method, _PROBE, *args[1:], **kwargs))
        raise Break("UNSUPPORTED_OPERATION", f"such a call of ContextVar.{method.__name__}()")
    return list(args[1:])


@RULES.rule(_Var.get)
def rule_get(vm: Any, args: Any, kwargs: Any) -> Any:
    given = _arguments(vm, _Var.get, (), args, kwargs)
    rec, table = _state(vm, args[0])
    value = table[id(args[0])].look(vm)
    if value is not MISSING:
        return value
    if given:
        return given[0]
    value, source = default(rec.obj), rec.inner.child("call", default)
    if value is MISSING:
        raise vm.user_raise(LookupError(args[0]))
    return vm.world.admit(value, source)


def _replace(vm: Any, variable: Any, becomes: _Held) -> _Held:
    """The variable holds something else from now on, and nobody is told when that dies which it held; what that was."""
    rec, table = _state(vm, variable)
    before = table[id(variable)]
    if type(before.value) is Unread:
        if is_observed(before.value.obj):
            raise Break("LIFETIME", "the end of what a context variable holds")
        rec.inner.guard_predicate(_quiet, "nobody is told when dies what it holds")
    table[id(variable)] = becomes
    vm.ticks += 1
    return before


@RULES.rule(_Var.set)
def rule_set(vm: Any, args: Any, kwargs: Any) -> Any:
    (value,) = _arguments(vm, _Var.set, ("value",), args, kwargs)
    token = TracedToken(args[0], value, _replace(vm, args[0], _Held(value)))
    vm.world.effects.append(("call", _keep, (_Setting(token),), {}))
    return token


@RULES.rule(_Var.reset)
def rule_reset(vm: Any, args: Any, kwargs: Any) -> None:
    (token,) = _arguments(vm, _Var.reset, ("token",), args, kwargs)
    known = token if type(token) is TracedToken else _outside_token(vm, token)
    if known.used or known.variable is not args[0]:
        raise Break("UNSUPPORTED_OPERATION", "reset() with a token that is used, or of another context variable")
    _replace(vm, args[0], known.before)
    known.used = True
    vm.world.effects.append(("call", _Var.reset, (args[0], token), {}))


# ---- tokens from outside

_PROBE: Any = _Var("alternator's probe")


def _old_value(token: Any) -> Any:
    return MISSING if token.old_value is _Token.MISSING else token.old_value


def _outside_token(vm: Any, token: Any) -> TracedToken:
    """A token that was made before the captured code began: rely on it that it can still be used here."""
    rec = vm.records.get(id(token))
    if rec is None or type(token) is not _Token or not can_reset(token):
        raise Break("UNSUPPORTED_OPERATION", "reset() with no token of this context that is still to be used")
    known: dict[int, TracedToken] = vm.states.setdefault("context tokens", {})
    if id(token) not in known:
        source = rec.source
        source.guard("TYPE", _Token)
        source.guard_predicate(can_reset, "can be used to reset")
        vm.compared.add(_Token)  # so that two of them are two
        variable = vm.world.admit(token.var, source.child("attr", "var"))
        known[id(token)] = TracedToken(variable, None, _Held(Unread(_old_value(token), source.child("call", _old_value))))
    return known[id(token)]


def can_reset(token: Any) -> bool:
    """Whether a token was made in the context at hand, and was not used yet: only its text tells."""
    if not all(type(one) in SCALARS for one in gc.get_referents(token.var)):
        return False  # the text shows the variable's default
    probe = _PROBE.set(None)
    _PROBE.reset(probe)
    here = _context_of(probe)
    return here is not None and _context_of(token) is here and not repr(token).startswith("<Token used ")


def _context_of(token: Any) -> Any:
    return next((one for one in gc.get_referents(token) if type(one) is contextvars.Context), None)
