"""What we know about one type or library, a file each; importing this package fills the tables."""

from alternator.semantics import (  # noqa: F401
    admission,
    autograd_function,
    builtin_functions,
    class_creation,
    classes,
    containers,
    contexts,
    control_flow,
    functorch,
    generators,
    higher_order,
    nn_module,
    numpy_arrays,
    output_calls,
    pytree,
    stdlib,
    tensors,
    torch_functions,
)
