"""Backends by name."""

from __future__ import annotations

import importlib.metadata
from typing import Any

import pytest
import torch

import alternator
from alternator import exc
from alternator.backends import registry

X = torch.ones(3)


@pytest.fixture
def name() -> Any:
    yield "my_backend"
    registry.BACKENDS.remove("my_backend")


def my_backend(gm: Any, inputs: Any, **kwargs: Any) -> Any:
    my_backend.kwargs = kwargs  # type: ignore[attr-defined]
    return gm.forward


def test_list() -> None:
    assert {"aot_eager", "eager", "inductor"} <= set(alternator.list_backends())
    assert "print" not in alternator.list_backends() and "print" in alternator.list_backends(None)
    assert {"aot_eager_decomp_partition", "pre_dispatch_eager", "ts"} <= set(alternator.list_backends(None))
    assert alternator.compiler.list_backends() == alternator.list_backends()


@pytest.mark.parametrize("name", list(registry.OURS))
def test_every_name_of_ours_is_registered(name: str) -> None:
    assert callable(alternator.lookup_backend(name))
    shown = name in alternator.list_backends()
    assert shown == (name in registry.SHOWN) == (not registry._tags[name])


def test_register(name: str) -> None:
    assert alternator.register_backend(my_backend) is my_backend
    assert alternator.lookup_backend(name) is my_backend and name in alternator.list_backends()
    assert alternator.compile(lambda x: x + 1, backend=name)(X).equal(X + 1)
    with pytest.raises(KeyError, match="already registered"):
        alternator.register_backend(lambda gm, inputs: gm, name=name)
    alternator.register_backend(my_backend)  # the same one again is none


def test_register_as_decorator(name: str) -> None:
    @alternator.register_backend(name=name, tags=("debug",))
    def other(gm: Any, inputs: Any) -> Any:
        return gm.forward

    assert name not in alternator.list_backends() and name in alternator.list_backends(())
    assert alternator.lookup_backend(name) is other


def test_bad_backends() -> None:
    with pytest.raises(exc.InvalidBackend, match="aot_eager.*inductor"):
        alternator.lookup_backend("nothing")
    with pytest.raises(TypeError, match="callable"):
        alternator.register_backend(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="name"):
        alternator.lookup_backend(3)  # type: ignore[arg-type]
    with pytest.raises(exc.BackendCompilerFailed, match="cannot be called"):
        alternator.compile(lambda x: x + 1, backend=lambda gm, inputs: 3)(X)


def test_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    point = importlib.metadata.EntryPoint("from_a_package", f"{__name__}:my_backend", registry.ENTRY_POINTS)
    registry._entry_points.cache_clear()
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [point] if group == registry.ENTRY_POINTS else [])
    try:
        assert "from_a_package" in alternator.list_backends()
        assert alternator.compile(lambda x: x + 1, backend="from_a_package")(X).equal(X + 1)
    finally:
        registry._entry_points.cache_clear()
        registry.BACKENDS.remove("from_a_package")


def test_default_backend() -> None:
    assert alternator.compiler.get_default_backend() == "inductor"
    alternator.compiler.set_default_backend(my_backend)
    try:
        assert alternator.compile(lambda x: x + 1)(X).equal(X + 1)
    finally:
        alternator.compiler.set_default_backend(None)
    with pytest.raises(exc.InvalidBackend):
        alternator.compiler.set_default_backend("nothing")


def test_mode_and_options_reach_the_backend() -> None:
    alternator.compile(lambda x: x + 1, backend=my_backend, mode="max-autotune")(X)
    assert my_backend.kwargs == {"mode": "max-autotune"}  # type: ignore[attr-defined]
    alternator.compile(lambda x: x + 1, backend=my_backend, options={"a": 1})(X)
    assert my_backend.kwargs == {"options": {"a": 1}}  # type: ignore[attr-defined]
    alternator.compile(lambda x: x + 1, backend=my_backend, mode="default")(X)
    assert my_backend.kwargs == {}  # type: ignore[attr-defined]
