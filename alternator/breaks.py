"""Everything that breaks a graph: a code, what it is, why, and what the user can do.

A row has a title (a few words, the same for every occurrence: ``utils.counters["graph_break"]`` counts by it and the
detail), a reason (one or two sentences) and a cure (what to change).  ``raise Break(CODE, detail)`` uses a row;
:func:`describe` makes the text for people.
"""

from __future__ import annotations

import dataclasses
import traceback
from typing import Any, Sequence

from alternator.exc import Break, Unsupported
from alternator.registry import Table


@dataclasses.dataclass(frozen=True)
class BreakKind:
    """One row of the table."""

    code: str
    title: str
    reason: str
    cure: str


BREAKS: Table[str, BreakKind] = Table("break codes")


def add(code: str, title: str, reason: str, cure: str) -> BreakKind:
    """Add a row."""
    return BREAKS.register(code, BreakKind(code, title, reason, cure))


def lookup(code: str) -> BreakKind:
    """The row of a code; an unknown code is a bug."""
    return BREAKS[code]


def reason_of(broken: Break) -> str:
    """One line that says what broke: the key of ``counters["graph_break"]``."""
    title = lookup(broken.code).title
    return f"{title}: {broken.detail}" if broken.detail else title


def describe(broken: Break, stack: Sequence[traceback.FrameSummary] = ()) -> str:
    """What broke, why, what to do, and the user's lines."""
    kind = lookup(broken.code)
    lines = [f"{reason_of(broken)}  [{kind.code}]", f"  reason: {kind.reason}", f"  cure: {broken.info.get('cure') or kind.cure}"]
    if stack:
        lines += ["", "from user code:", "".join(traceback.format_list(list(stack))).rstrip()]
    return "\n".join(lines)


def text_of(error: BaseException) -> str:
    """The text of a user's exception, without its arguments where code of the user's would say what they look like."""
    plain = all(type(arg) in (str, int, float, type(None)) for arg in error.args) and not type(error).__flags__ & 0x200
    return f"{type(error).__name__}: {error}" if plain else type(error).__name__


def unsupported(broken: Break, stack: Sequence[traceback.FrameSummary] = ()) -> Unsupported:
    """The exception that a break becomes where none is allowed."""
    kind = lookup(broken.code)
    cls: Any = broken.info.get("raises", Unsupported)
    text = describe(broken, stack)
    error: Unsupported = cls(text)
    error.code, error.detail, error.cure = kind.code, broken.detail, broken.info.get("cure") or kind.cure
    error.real_stack = traceback.StackSummary.from_list(list(stack))
    return error


_REWRITE = "Move it out of the compiled function, or write it with torch operations."
_MOVE = "Move it out of the compiled function, or into a function of its own under @alternator.disable: one break for all of it."
_ALLOW = (
    "If it does tensor work that a backend can take as it is, register it with alternator.allow_in_graph; if its result "
    "never changes, with alternator.assume_constant_result; else keep it out of the compiled region with "
    "alternator.disable."
)
_REPORT = "Nothing is wrong with the program; please report this so that it can be supported."

# ---- the language
add("OPCODE", "unsupported bytecode", "Alternator has no handler for this instruction.", _REPORT)
add(
    "ASYNC",
    "async code",
    "Coroutines and async generators are driven by an event loop that cannot be traced.",
    "Compile the synchronous functions that the coroutine calls.",
)
add(
    "GENERATOR_STATE",
    "use of a generator",
    "This use of a generator (its frame, throw, a half-run generator that leaves the function) cannot be traced.",
    "Use the generator up inside of the function, for example with list(...).",
)
add(
    "OUTSIDE_ITERATOR",
    "iterator from outside",
    "An iterator that was made outside of the captured function cannot be advanced while tracing.",
    "Pass the collection and call iter() inside of the function.",
)
add(
    "FUNCTION_CACHE",
    "function behind a cache",
    "A function behind functools.lru_cache computes a result that its cache does not hold yet, after other effects of the "
    "program; or the program looks into the cache.",
    "Call it once before the compiled function is called, or earlier in it.",
)
add("EXEC", "exec, eval or compile", "Code that is made at run time cannot be followed.", _MOVE)
add(
    "IMPORT",
    "import",
    "An import that really has to load a module runs arbitrary code.",
    "Import the module at the top of the file.",
)
add(
    "CLASS_CREATION",
    "class statement",
    "This class statement cannot be traced (metaclass, decorators, keyword arguments).",
    "Define the class outside of the compiled function.",
)
add(
    "FRAME_INTROSPECTION",
    "look at the call stack or locals",
    "Frames, locals() and globals() of code that is being traced are not those that Python would show.",
    "Don't inspect frames in compiled code, or keep the function out with alternator.disable.",
)
add(
    "LONG_LOOP",
    "long loop without tensor work",
    "A loop that goes round some ten thousand times with nothing to compile takes seconds to follow.",
    "Run the loop outside of the compiled function, or keep its function out with alternator.disable; config.idle_steps_limit.",
)
add(
    "RECURSION",
    "recursion too deep",
    "Inlining this chain of calls exceeds the recursion limit.",
    "Make the recursion shallower, or keep the recursive function out with alternator.disable.",
)
add(
    "UNSUPPORTED_ATTRIBUTE",
    "attribute access",
    "This attribute is computed in a way that cannot be traced.",
    "Read the attribute outside of the compiled function and pass its value.",
)
add(
    "UNSUPPORTED_EFFECT",
    "write to outside state",
    "This kind of write to an object from outside cannot be delayed until the graph has run.",
    "Do the write outside of the compiled function.",
)
add(
    "UNREBUILDABLE_OUTPUT",
    "value that cannot be rebuilt",
    "A value that was made while tracing, and that lives on, cannot be made again by generated code.",
    "Don't return or store such a value from the compiled function.",
)
add(
    "RAISED_IN_CAPTURE",
    "exception that the program does not raise",
    "The function raised something while it was captured; it then ran plainly, as what raises does, and raised nothing.",
    "If the program asks whether it is being compiled, and raises where it is, take that out; else this is a bug of Alternator: "
    "please report it.",
)
add(
    "EXCEPTION_STATE",
    "use of the current exception",
    "The exception that is being handled (or its traceback) is used in a way that cannot be traced.",
    "Handle the exception without looking at its traceback or at sys.exc_info().",
)
add(
    "FINALIZER",
    "object with __del__",
    "An object that is made while tracing dies when tracing ends, which would run its __del__ at the wrong time.",
    "Make the object outside of the compiled function, or clean up in a with statement.",
)
add(
    "LIFETIME",
    "end of an object that shows",
    "The program drops what may be the last reference to an object with __del__, one that is weakly referred to, or a generator "
    "that has to clean up: that happens at its place in the program.",
    "Keep the object alive until the compiled function has returned.",
)
add("WEAKREF", "weak reference", "Weak references to values that only exist while tracing cannot be made.", _MOVE)
add(
    "IDENTITY",
    "identity of a traced value",
    "id() or hash() of a value that only exists while tracing has no meaning afterwards.",
    "Use another key, such as an index or a name.",
)
add("THREAD", "threads and locks", "Starting threads, and taking a lock from outside, cannot be traced.", _MOVE)
add("UNSUPPORTED_CALL", "call", "This callable, or this way to call it, cannot be traced.", _ALLOW)
add("UNSUPPORTED_OPERATION", "operation", "This operation on these types cannot be traced.", _REWRITE)
add(
    "UNSUPPORTED_TYPE",
    "object from outside",
    "An object of this type cannot be read while tracing.",
    "Read what is needed of it outside of the compiled function, and pass that.",
)

# ---- calls
add(
    "UNKNOWN_C_FUNCTION",
    "call of an unknown C function",
    "A function written in C may read or write anything, and cannot be looked into.",
    _ALLOW,
)
add(
    "DISABLED_FUNCTION",
    "call of a disabled function",
    "The function is marked with alternator.disable or torch.compiler.disable.",
    "Remove the mark, or move the call out of the compiled function.",
)
add(
    "TORCH_DISABLED",
    "call of a function that torch keeps out",
    "PyTorch itself keeps this function away from compilers: what it does cannot be delayed, or is no work for a graph.",
    "Move the call out of the compiled function.",
)
add(
    "DISALLOWED",
    "call of a disallowed function",
    "The function was registered with alternator.disallow_in_graph.",
    "Remove the registration, or move the call out of the compiled function.",
)
add("GRAPH_BREAK_CALL", "graph_break() was called", "The program asks for a break here.", "Remove the call of graph_break().")
add(
    "IO",
    "input or output",
    "Files, sockets, processes and the like are touched at the time of the call, which tracing would change.",
    _MOVE,
)
add(
    "PRINT",
    "print or logging",
    "Output has to appear in the program's order, between the parts of the graph.",
    "Remove it, or add the function to config.reorderable_logging_functions: it then runs after the graph.",
)
add(
    "WARNING",
    "warnings.warn",
    "The state of the warning filters decides at run time whether something is shown.",
    "Warn outside of the compiled function.",
)
add(
    "TIME",
    "clock",
    "The time has to be read when the program is at this point, not when it is traced.",
    "Measure outside of the compiled function.",
)
add("BREAKPOINT", "breakpoint", "The debugger needs the real frame.", "Remove the breakpoint, or debug with alternator.disable.")
add(
    "RNG",
    "random number state",
    "This use of a random generator cannot be traced.",
    "Use torch's random functions, or draw outside of the compiled function.",
)
add(
    "NUMPY",
    "NumPy call",
    "This NumPy function or object has no equivalent in torch._numpy.",
    "Use the torch function of the same meaning, or call NumPy outside of the compiled function.",
)
add(
    "JIT",
    "scripted or traced function",
    "A function of torch.jit is a node of the graph, and runs on fakes while it is traced: what it prints would show twice.",
    "Call the original Python function, or take the output out of it.",
)

# ---- tensors
add(
    "DATA_DEPENDENT_BRANCH",
    "branch on the value of a tensor",
    "Which way the program goes depends on data that only exists when the graph runs.",
    "Use torch.where or torch.cond, or compute the condition outside of the compiled function.",
)
add(
    "DATA_DEPENDENT_VALUE",
    "value of a tensor is read",
    "item(), tolist(), int(), float() and the like need data that only exists when the graph runs.",
    "Keep it a tensor; for a number that is only used in the graph, set config.capture_scalar_outputs = True.",
)
add(
    "DYNAMIC_OUTPUT_SHAPE",
    "size depends on data",
    "The size of the result (nonzero, unique, a boolean mask) depends on data that only exists when the graph runs.",
    "Use an operation of fixed size, such as torch.where(c, a, b), or set config.capture_dynamic_output_shape_ops = True.",
)
add(
    "DATA_DEPENDENT_GUARD",
    "condition on an unbacked size",
    "The program, or the operation, has to know something about a size that depends on data.",
    "Tell it with torch._check(...).",
)
add(
    "NO_FAKE_RULE",
    "operation without a fake rule",
    "The result's shape cannot be known without running the operation.",
    "Register one with torch.library.register_fake.",
)
add(
    "OVERLAPPING_WRITE",
    "operation that writes into a part of the memory that it reads",
    "Kernels refuse it, each in its own way; what a compiler would make of it computes something.",
    "Read from a copy: `x[1:] += x[:-1].clone()`.",
)
add(
    "NOT_COMPLIANT",
    "operator that is not PT2 compliant",
    "config.only_allow_pt2_compliant_ops is set, and the operator's author does not say that compilers can handle it.",
    "Define it with tags=torch.Tag.pt2_compliant_tag, once torch.library.opcheck passes; or unset the option.",
)
add(
    "TENSOR_SUBCLASS",
    "tensor subclass",
    "This tensor subclass, or this use of it, cannot be traced.",
    "Give it __tensor_flatten__ and __tensor_unflatten__ if it wraps tensors, let __torch_function__ do what its special methods "
    "do, or unwrap it outside.",
)
add("TENSOR_ATTRIBUTE", "attribute of a tensor", "This attribute of a tensor cannot be traced.", _REWRITE)
add(
    "TENSOR_DATA",
    "raw data of a tensor",
    "data_ptr(), storage, NumPy views and other ways to the memory need real data.",
    "Read it outside of the compiled function, and pass what is needed of it.",
)
add(
    "TENSOR_EFFECT",
    "change of a tensor's identity or metadata",
    "set_(), .data = ..., requires_grad_() between two uses of a tensor and the like cannot be put into a graph.",
    "Do it outside of the compiled function, or compute a new tensor and go on with that.",
)
add(
    "TENSOR_HOOK",
    "hook on a tensor",
    "This hook on a tensor cannot be traced.",
    "Register the hook outside of the compiled function.",
)
add(
    "SPARSE",
    "sparse or otherwise laid out tensor",
    "Tensors of this layout cannot be traced.",
    "Convert it to a strided tensor first.",
)
add(
    "BACKWARD",
    "backward pass",
    "backward() runs the autograd engine over all that was computed, and so does autograd.grad() where what it goes back "
    "through was computed before, has hooks, or is used afterwards.",
    "Call it outside of the compiled function; or use autograd.grad() on what the compiled function computes itself.",
)
add(
    "AUTOGRAD_FUNCTION",
    "torch.autograd.Function",
    "This autograd.Function, or this use of its context, cannot be traced.",
    "Keep forward and backward to tensor operations and ctx.save_for_backward.",
)
add(
    "HOP_BODY",
    "body of a higher-order operator",
    "The function given to cond, map, checkpoint or the like must be captured as a whole, and something in it cannot be.",
    "Change the line that is named, or call the operator outside of the compiled function.",
)
add("FUNC_TRANSFORM", "torch.func transform", "This use of vmap, grad, jvp or the like cannot be traced.", _REWRITE)
add(
    "MODE",
    "mode",
    "This torch function or dispatch mode cannot be traced.",
    "Enter the mode outside of the compiled function, or remove it.",
)
add(
    "GLOBAL_STATE",
    "change of global state",
    "This change of torch's global state cannot be traced.",
    "Change it outside of the compiled function.",
)
