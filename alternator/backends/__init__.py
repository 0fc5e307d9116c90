"""What runs the captured graphs.  A backend is any callable ``(graph_module, example_inputs)`` that returns a callable."""

from alternator.backends.registry import (
    list_backends,
    lookup_backend,
    register_backend,
    register_debug_backend,
    register_experimental_backend,
)

__all__ = [
    "list_backends",
    "lookup_backend",
    "register_backend",
    "register_debug_backend",
    "register_experimental_backend",
]
