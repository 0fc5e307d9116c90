"""The machine: state of one capture, and the one boundary between the interpreter and native code."""

from __future__ import annotations

import operator
import sys
import types
import weakref
from typing import Any, Callable

import torch
from torch._subclasses.fake_tensor import FakeTensor

from alternator import interrupts
from alternator._C.eval_frame import call_redirected
from alternator.exc import Break, InternalError, Restart, SkipFrame, UserRaise
from alternator.interpreter import assertions, attributes, calls, formulas, global_names, overrides, tensor_ops, unread
from alternator.interpreter.frame import NULL, Frame
from alternator.interpreter.generators import TracedGenerator
from alternator.interpreter.identity import OF_ADDRESSES, TracedId, as_number, hashable
from alternator.interpreter.lookahead import Ahead
from alternator.interpreter.loops import Lazy
from alternator.interpreter.outside_generators import HandedOver
from alternator.interpreter.pending import LOOKED_INTO, PendingText, seen_natively
from alternator.interpreter.places import Places
from alternator.interpreter.tables import DEEP, SHALLOW
from alternator.interpreter.tracebacks import made_here, trace_of
from alternator.interpreter.type_facts import TypeFacts
from alternator.provenance import storage
from alternator.provenance.keys import special
from alternator.provenance.source import Source
from alternator.provenance.world import ADMIT, MISSING, SCALARS, Outside, Unread, World, class_space, is_heap, mro_of
from alternator.tensors.dynamic import DynamicPolicy
from alternator.tensors.fake import Fakes
from alternator.tensors.graph import SYMBOLIC, Recorder
from alternator.tensors.memo import FakeMemo

OURS = (Break, InternalError, SkipFrame, UserRaise)
_ATOMS = SCALARS | frozenset(
    {
        type,
        types.FunctionType,
        types.BuiltinFunctionType,
        types.ModuleType,
        torch.dtype,
        torch.device,
        torch.Size,
        slice,
        range,
        types.CellType,
        type(Ellipsis),
    }
)
_CONTAINERS = (list, tuple, dict, set, frozenset)
MAX_NESTING = 300
MOST_NUMBERS, TOO_MANY = 500, "too many numbers vary"


class RecordingMode(torch.overrides.TorchFunctionMode):
    """Catches tensor operations that native code performs on our behalf (``sum`` over fakes), and records them."""

    def __init__(self, vm: "Machine") -> None:
        super().__init__()
        self.vm = vm

    def __torch_function__(self, func: Any, kinds: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.vm.overrides.active:
            return overrides.dispatch(self.vm, func, args, kwargs, len(kinds))
        return tensor_ops.from_native(self.vm, func, args, kwargs or {})


_ASKED = """
__new__ __init__ __iter__ __len__ __contains__ __getitem__ __setitem__ __delitem__ __missing__ __eq__ __hash__ keys items copy
""".split()
"""What C code of containers asks a class that is derived from one for."""


class Machine:
    """Everything that one capture of one frame needs."""

    retried: Any = None
    """The function in C that is called again with numbers, should it take no symbols."""

    def __init__(
        self, world: World, fakes: Fakes, recorder: Recorder, request: Any, dynamic: DynamicPolicy, root_globals: dict[str, Any]
    ) -> None:
        self.world = world
        world.vm = self
        world.opaque[PendingText] = LOOKED_INTO
        self.dynamic = dynamic
        self.records = world.records
        self.fakes = fakes
        self.recorder = recorder
        self.request = request
        self.root_state: dict[Any, Any] = {}
        self.config = request.config
        self.frame: Any = None
        self.depth = 0
        self.handled: BaseException | None = None
        self.handled_below: BaseException | None = None
        self.generators: list[TracedGenerator] = []
        self.outside_generators: list[Outside] = []
        self.handed_over = HandedOver()
        self.compared: set[type] = set()
        self._closing: set[int] = set()
        self._nesting = 0
        self._of_members = False
        self.mode = RecordingMode(self)
        self.native_function: Any = None
        self.places = Places(self)
        self.outside_modes = torch._C._len_torch_function_stack() > 0
        self.overrides = overrides.Overrides()
        self.spaces: dict[int, dict[str, Any]] = {}  # attributes of tensors that the program made
        self.root_globals = root_globals
        self.shadow_globals: dict[int, dict[str, Any]] = {}
        self.global_sources: dict[int, Source] = {}
        self._globals_memo: dict[tuple[int, str], Any] = {}
        self.attr_memo: dict[tuple[int, str], Any] = {}
        self.type_facts: dict[type, TypeFacts] = {}
        self.entered: set[int] = set()
        self.careful = False
        self.has_handlers = False  # some function that was entered handles exceptions, or a manager may
        self.careful_frames = 0
        self.stop = (-1, -1)
        self.module_stack: dict[str, tuple[str, Any]] = {}
        self.inlined: set[types.CodeType] = set()
        self.cells: dict[int, Any] = {}
        self.numbers: dict[int, Any] = {}
        self.raised: set[int] = set()
        self.hashed_by_address: set[int] = set()
        self.handled_outside = sys.exc_info()[1]
        self.ticks = 0
        self.states: dict[Any, Any] = {}
        self.module_reads: dict[int, list[str]] = {}
        self.quiet_state = False
        self.tensor_subscripts = False  # in the bodies of operators that never ask for their values
        self.inference_mode = torch.is_inference_mode_enabled()
        self.changed_state = False
        self.memo = FakeMemo(fakes.mode)
        self.broken: Frame | None = None
        self.lifetimes: Any = None
        self.watch: Any = None  # what looks behind each instruction for what was lost, if something is known to be
        self._all_patience = request.config.idle_steps_limit * (100 if request.fullgraph else 1)
        self._patience = self._all_patience
        self._calls_before = 0

    def release(self) -> None:
        """The capture is over: let go of the user's objects."""
        self.lifetimes = self.watch = self.frame = self.broken = self.handled = self.handled_below = self.handled_outside = None
        for generator in self.generators:
            generator.frame = None
        tables: list[Any] = [self.generators, self.outside_generators, self.handed_over, self.compared, self.shadow_globals]
        tables += [self.global_sources, self._globals_memo, self.attr_memo, self.type_facts, self.module_stack, self.inlined]
        for table in [*tables, self.cells, self.numbers, self.states, self.spaces, self.hashed_by_address]:
            table.clear()
        self.fakes.inputs.clear()
        self.overrides.release()
        self.world.release()

    # ---- bookkeeping of an instruction in progress

    def mark(self) -> tuple[int, int, int]:
        """How far the world has come."""
        return self.recorder.calls, len(self.world.effects), self.ticks

    def unmoved(self, frame: Frame) -> bool:
        """Nothing has happened since the frame's instruction began: the state before it still stands."""
        return frame.marked == self.mark()

    def step(self) -> None:
        """A loop goes round, or a function is called: not too often without tensor work, for interpreting it is slow."""
        self._patience -= 1
        if self._patience > 0:
            return
        self._patience = self._all_patience
        calls, self._calls_before = self._calls_before, self.recorder.calls
        if calls == self._calls_before:
            raise Break("LONG_LOOP", self.frame.code.co_qualname if self.frame is not None else "")

    def weigh(self, calls: int = 0, steps: int = formulas.STEPS) -> None:
        """An operation that takes as long as many steps, as those on symbolic numbers do; what it recorded is no tensor work."""
        self._patience -= steps
        self._calls_before += calls

    def state_changed(self) -> None:
        """Global state of torch was switched: it has to be switched in generated code too."""
        self.changed_state = True
        self.memo.forget()
        self.ticks += 1

    # ---- symbolic inputs

    def symbolic_input(self, value: int | float, source: Source) -> Any:
        """An outside number that varies from call to call, as a symbolic scalar."""
        kind = type(value)
        made = self.numbers.get(id(source))
        if made is not None:
            return made
        if kind is int and not -(2**63) <= value < 2**63 or TOO_MANY in self.root_state:
            source.guard("EQ", value)
            return value
        if len(self.numbers) >= MOST_NUMBERS:  # not sizes, but data: a symbol each would take seconds
            raise Restart(lambda: self.root_state.setdefault(TOO_MANY, True))
        source.guard("TYPE", kind)
        made = self.fakes.symint(int(value), source) if kind is int else self.fakes.symfloat(value, source)
        if not issubclass(type(made), SYMBOLIC):
            source.guard("EQ", value)
            return made
        self.fakes.sources[made.node.expr] = (source, kind.__name__, -1)
        self.recorder.symbol_input(made.node.expr, source, kind.__name__, -1, made)
        self.numbers[id(source)] = made
        return made

    # ---- native code

    def plain(self, fn: Callable[..., Any], *args: Any) -> Any:
        """Run native code that cannot call back into Python; its exception is the user's."""
        try:
            return fn(*args)
        except OURS:
            raise
        except Exception as error:
            raise self._raised(fn, error) from None

    def _raised(self, fn: Any, error: Exception) -> BaseException:
        """What an exception of native code is: the program's, unless only symbols would raise it."""
        shown = fn is not self.retried and type(error) is TypeError and formulas.SHOWS_SYMBOL.search(str(error))
        if not shown and not formulas.only_symbols_raise(error):
            return UserRaise(self.adopt(error))
        self.ticks += 1  # it may have taken from iterators that the program made: the break is one before it began
        return Break("DATA_DEPENDENT_VALUE", _name_of(fn))

    def native(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> Any:
        """Run native code that may call Python: each such frame is interpreted, each tensor operation recorded."""
        for value in (getattr(fn, "__self__", None), *args):
            kind = value if issubclass(type(value), type) else type(value)
            if is_heap(kind):
                self._guard_asked(kind)
        torch._C._push_on_torch_function_stack(self.mode)
        caller, running = self.frame, self.native_function
        self.native_function = fn
        try:
            return call_redirected(self.redirected, fn, args, kwargs)
        except OURS:
            self.ticks += 1
            raise
        except Exception as error:
            raise self._raised(fn, error) from None
        finally:
            self._leave_mode()
            self.frame, self.native_function = caller, running

    def _leave_mode(self) -> None:
        """Take the machine's mode off torch's stack again; native code may have pushed one of its own, which must not stay."""
        above = torch._C._pop_torch_function_stack()
        if above is not self.mode:
            while torch._C._pop_torch_function_stack() is not self.mode:
                pass
            raise Break("MODE", f"native code that enters {type(above).__name__}")

    def redirected(self, func: types.FunctionType, values: list[Any]) -> Any:
        """Native code on our behalf wants to run a Python function: interpret it."""
        pop = torch._C._pop_torch_function_stack
        mode = None
        if (
            torch._C._len_torch_function_stack()
            and torch._C._get_function_stack_at(torch._C._len_torch_function_stack() - 1) is self.mode
        ):
            mode = pop()
        try:
            if func.__code__ in OWN_CODES or values and issubclass(type(values[0]), SYMBOLIC) and func.__module__ in _OF_SYMBOLS:
                values = values[: func.__code__.co_argcount]
                if func.__name__ == "__repr__" and issubclass(type(values[0]), SYMBOLIC):
                    return repr(hashable(self, values[0]))  # not the name of the symbol
                return seen_natively(self, formulas.asked(self, func, values))
            self.ticks += 1
            if values:
                self._guard_names(func, type(values[0]))
            result = seen_natively(self, calls.run_bound(self, func, values))
            if type(result) is TracedId:
                self.hashed_by_address.add(id(values[0]))
            return as_number(self, func, values[0], result) if type(result) in SYMBOLIC and values else result
        except UserRaise as raised:
            error = raised.exc
        finally:
            if mode is not None:
                torch._C._push_on_torch_function_stack(mode)
        raise error  # here, where nothing is being handled that would become its context

    def _guard_asked(self, kind: type) -> None:
        """Native code asks classes derived from containers for methods, and goes another way where they have own ones."""
        seen = self.states.setdefault("asked by native code", {})
        if id(kind) not in seen and mro_of(kind) and storage.container_base(kind) is not None:
            seen[id(kind)] = kind
            for name in _ASKED:
                self.world.class_attr(kind, name)

    def _guard_names(self, func: types.FunctionType, kind: type) -> None:
        """Native code has found the function in the class, if it is there: it would not find it if another one stood there."""
        seen = self.states.setdefault("called by native code", {})
        if (id(func), id(kind)) not in seen:
            seen[id(func), id(kind)] = func, kind
            for name in [name for base in mro_of(kind) for name, raw in class_space(base).items() if raw is func]:
                self.world.class_attr(kind, name)

    def adopt(self, error: BaseException) -> BaseException:
        """Make an exception that native code raised look as if the user's frame had raised it."""
        interrupts.check(error)
        if id(error) not in self.records:  # one from outside, which native code raised again, keeps its own
            BaseException.with_traceback(error, made_here(trace_of(error)))
        handled = self.current_error()
        before = storage.context_of(error)
        if before is not None and (before is self.handled_outside or issubclass(type(before), OURS)):
            storage.set_context(error, None)  # CPython saw our frames where the program has its own
        if handled is None:
            self.raised.add(id(error))
        elif handled is not error and storage.context_of(error) is None:
            storage.set_context(error, handled)
        return error

    def current_error(self) -> BaseException | None:
        """The exception that is being handled: in this generator's frames, or else in those that wait for it."""
        return self.handled if self.handled is not None else self.handled_below

    def user_raise(self, error: BaseException) -> UserRaise:
        """The carrier of an exception that the user's program raises."""
        formulas.as_shown(error)
        return UserRaise(self.adopt(error))

    def check_abandoned(self, lives_on: Callable[[Any], bool]) -> None:
        """A generator that was given up while it waited inside of try or with has not run its cleanup; one that goes on living
        outside of the capture will."""
        for generator in self.generators:
            if generator.must_be_closed() and not lives_on(generator):
                raise Break("GENERATOR_STATE", "a generator given up inside of try or with")

    def context_of(self, error: BaseException) -> BaseException | None:
        """``error.__context__`` of an exception that the program made: where it was raised while none was handled, that is the
        exception that a caller of the captured function is handling."""
        context = storage.context_of(error)
        if context is None and id(error) in self.raised:
            self.nothing_handled_outside()
        return context

    def nothing_handled_outside(self) -> None:
        """Rely on the callers of the captured function not being in the middle of handling an exception."""
        if sys.exc_info()[1] is not None:
            raise Break("EXCEPTION_STATE", "the exception that a caller is handling")
        if "exc_info" not in self.states:
            self.states["exc_info"] = True
            self.world.tree.tail.append(("PY", (), _nothing_is_handled, "sys.exc_info() == (None, None, None)"))

    # ---- containers

    def fill(self, rec: Outside) -> Any:
        """Read a whole outside container, with guards, into its stand-in."""
        if not rec.filled:
            rec.filled = True
            rec.state(self, rec)
        if rec.disordered and not self._of_members:
            raise Break("UNSUPPORTED_TYPE", "the order of a set from outside")
        return rec.standin

    def fill_value(self, value: Any) -> Any:
        """The stand-in of a container, with its contents."""
        rec = self.records.get(id(value))
        return self.fill(rec) if rec is not None else value

    def close(self, value: Any, depth: int = DEEP) -> Any:
        """Make what native code is about to read of ``value`` read already."""
        if (kind := type(value)) in _ATOMS:
            return value
        if kind is FakeTensor:
            if depth >= DEEP:
                self.compare(value)
            return value
        if kind in self.world.opaque:
            raise Break("DATA_DEPENDENT_VALUE", self.world.opaque[kind])
        rec = self.records.get(id(value))
        if rec is not None and (rec.disordered or not rec.filled):
            self.fill(rec)
        if depth >= DEEP:
            if issubclass(kind, _CONTAINERS):  # isinstance() would ask a __class__ of the program's
                self._close_items(value)
            elif rec is not None:
                self.compared.add(type(rec.obj))
                attributes.check_readable(self, value)
            elif issubclass(kind, weakref.ref) and (rec := self.records.get(id(weakref.ref.__call__(value)))) is not None:
                rec.source.guard("IS", rec.obj)  # it is hashed and compared by what it refers to
        elif (
            rec is not None
            and depth == SHALLOW
            and not issubclass(type(value), _CONTAINERS)
            and special(kind, "__iter__") is not MISSING
        ):
            attributes.check_readable(self, value)
        return value

    def close_members(self, value: Any, depth: int) -> None:
        """The same for what asks which members a set has, or changes that."""
        before, self._of_members = self._of_members, True
        try:
            self.close(value, depth)
        finally:
            self._of_members = before

    def _close_items(self, value: Any) -> None:
        closing = self._closing  # what this walk has come by: it may meet itself, or meet the same one again and again
        if id(value) in closing:
            return
        if self._nesting > MAX_NESTING:  # native code would meet the limit on recursion, which is another one here
            raise Break("RECURSION", "containers in containers")
        closing.add(id(value))
        self._nesting += 1
        try:
            items = storage.items(value)
            if issubclass(type(value), dict):
                items = [*dict.values(value), *items]
            for item in items:
                if type(item) not in _ATOMS:
                    self.close(item, DEEP)
        finally:
            self._nesting -= 1
            if not self._nesting:
                closing.clear()

    def compare(self, *values: Any) -> None:
        """Native code compares or hashes these: outside objects that differ now must differ in the next call."""
        for value in values:
            if type(value) not in _ATOMS and (rec := self.records.get(id(value))) is not None:
                self.compared.add(type(rec.obj))

    def close_all(self, args: Any, kwargs: dict[str, Any] | None, depth: int) -> None:
        for value in args:
            if type(value) not in _ATOMS:
                self.close(value, depth)
        if kwargs:
            for value in kwargs.values():
                self.close(value, depth)

    def length(self, value: Any) -> Any:
        """``len(value)`` as the user's program sees it."""
        rec = self.records.get(id(value))
        if rec is not None and not rec.filled:
            if unread.has_length(rec):
                self.world.class_attr(type(value), "__len__")
                return unread.length(self, rec)
            self.fill(rec)
        if issubclass(type(value), torch.Tensor) and tensor_ops.has_own(self, value, "__len__"):
            if self.overrides.active and self.overrides.apply(self, (value,)):
                return calls.inline(self, torch.Tensor.__len__, (value,), {})
            if value.dim() == 0:
                raise self.user_raise(TypeError("len() of a 0-d tensor"))
            return value.shape[0]
        found = self.world.class_attr(type(value), "__len__")
        if type(found) is types.FunctionType:
            return calls.call(self, found, (value,), {})
        self._check_readable(rec, value)
        return self.native(len, (value,))

    def _check_readable(self, rec: Any, value: Any) -> None:
        if rec is not None and rec.standin is rec.obj:
            attributes.check_readable(self, value)

    def truth(self, value: Any) -> bool:
        """``bool(value)``, with the guard or the break that it takes."""
        kind = type(value)
        if kind is bool:
            return value
        if value is None:
            return False
        if kind in (int, str, float, bytes, complex, types.FunctionType, types.ModuleType, types.MethodType):
            return bool(value)
        if issubclass(type(value), torch.Tensor):
            return tensor_ops.truth(self, value)
        if issubclass(type(value), SYMBOLIC):
            known = assertions.passing_value(self, value) if assertions.is_unbacked(value) else None
            if known is None and kind is torch.SymFloat:  # bool() of one takes it for a constant
                return self.symbolic(bool, self.symbolic(operator.ne, value, 0.0))
            return self.symbolic(bool, value) if known is None else known
        if issubclass(type(value), type):
            found = self.world.class_attr(type(value), "__bool__")
            if found is MISSING:
                return True if self.world.class_attr(type(value), "__len__") is MISSING else bool(self.native(bool, (value,)))
        found = self.world.class_attr(kind, "__bool__")
        if found is not MISSING:
            if type(found) is types.FunctionType:
                answer = calls.call(self, found, (value,), {})
                if type(answer) is not bool and not issubclass(type(answer), torch.SymBool):
                    kind = attributes.type_of(self, answer)
                    raise self.user_raise(TypeError(f"__bool__ should return bool, returned {kind.__name__}"))
                return self.truth(answer)
            if value is NotImplemented:
                raise Break("UNSUPPORTED_OPERATION", "NotImplemented as a condition, of which Python warns each time")
            self._check_readable(self.records.get(id(value)), value)
            return self.native(bool, (value,))
        if self.world.class_attr(kind, "__len__") is not MISSING:
            count = self.length(value)
            return count != 0 if type(count) is int else self.truth(self.symbolic(operator.ne, count, 0))
        return True

    def symbolic(self, fn: Callable[..., Any], *args: Any) -> Any:
        """Run an operation on symbolic scalars; what it decides becomes a guard of the shape environment."""
        return formulas.run(self, fn, args)

    # ---- names

    globals_source = global_names.source_of
    load_global = global_names.load
    load_global_or = global_names.load_or
    store_global = global_names.store

    def load_cell(self, cell: types.CellType, name: str, free: bool) -> Any:
        rec = self.records.get(id(cell))
        if rec is not None:
            if rec.attrs is not None:
                value = rec.attrs["cell_contents"]
            else:
                source = rec.source.child("cell")
                try:
                    contents = cell.cell_contents
                except ValueError:
                    source.guard("UNSET")
                    value = MISSING
                else:
                    return self.world.admit(contents, source)
        else:
            try:
                value = cell.cell_contents
            except ValueError:
                value = MISSING
            if type(value) is Unread:
                value = cell.cell_contents = self.world.admit(value.obj, value.source)
        if value is MISSING:
            if free:
                text = f"cannot access free variable '{name}' where it is not associated with a value in enclosing scope"
                raise self.user_raise(NameError(text, name=name))
            raise self.user_raise(
                UnboundLocalError(f"cannot access local variable '{name}' where it is not associated with a value")
            )
        return value

    def store_cell(self, cell: types.CellType, value: Any) -> None:
        rec = self.records.get(id(cell))
        if rec is not None:
            self.world.write_attr(rec, "cell_contents", value, "cell")
        elif value is MISSING:
            del cell.cell_contents
        else:
            cell.cell_contents = value

    # ---- short names for what the handlers use most

    def call(self, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> Any:
        return calls.call(self, fn, args, kwargs or {})

    def graph_call(self, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call of a torch function as one node of the graph, whatever rule there is for it."""
        return tensor_ops.call(self, fn, args, kwargs)

    def getattr(self, obj: Any, name: str) -> Any:
        return attributes.load(self, obj, name)

    def setattr(self, obj: Any, name: str, value: Any) -> None:
        attributes.store(self, obj, name, value)


_OF_SYMBOLS = frozenset({"torch", "torch.fx.experimental.sym_node"})
"""Where the special methods of symbolic numbers are defined: they run as they are."""


def _name_of(fn: Any) -> str:
    name = getattr(fn, "__name__", None)
    return name if isinstance(name, str) else type(fn).__name__


def _nothing_is_handled() -> bool:
    return sys.exc_info()[1] is None


OWN_CODES = {
    *OF_ADDRESSES,
    RecordingMode.__torch_function__.__code__,
    TracedGenerator.__next__.__code__,
    TracedGenerator.__iter__.__code__,
    TracedGenerator.send.__code__,
    TracedGenerator.throw.__code__,
    TracedGenerator.close.__code__,
    Ahead.__iter__.__code__,
    Ahead.__next__.__code__,
    Lazy.__iter__.__code__,
    Lazy.__next__.__code__,
}

__all__ = ["ADMIT", "Frame", "Machine", "NULL"]
