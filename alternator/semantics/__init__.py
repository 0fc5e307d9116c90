"""What we know about one type or library, a file each; importing this package fills the tables."""

from alternator.semantics import (  # noqa: F401
    admission,
    arity,
    autograd_function,
    builtin_functions,
    class_creation,
    classes,
    containers,
    contexts,
    control_flow,
    copying,
    enums,
    functorch,
    generators,
    higher_order,
    identity,
    iterators,
    memoizing,
    nn_module,
    numpy_arrays,
    output_calls,
    pytree,
    resuming,
    scope,
    stdlib,
    tensors,
    text,
    torch_functions,
    weakrefs,
)

arity.install()
