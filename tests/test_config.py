"""Settings."""

from __future__ import annotations

import unittest
from unittest import mock

import pytest

import alternator
from alternator import config


def test_read_and_write() -> None:
    assert config.recompile_limit == 8
    config.recompile_limit = 3
    assert config.recompile_limit == config.cache_size_limit == 3
    config.cache_size_limit = 5
    assert config.recompile_limit == 5


def test_an_unknown_name_is_refused_and_the_nearest_is_named() -> None:
    with pytest.raises(AttributeError, match="recompile_limt.*did you mean 'recompile_limit'"):
        config.recompile_limt
    with pytest.raises(AttributeError, match="did you mean 'suppress_errors'"):
        config.supress_errors = True
    with pytest.raises(AttributeError, match="did you mean 'verbose'"):
        config.patch(verbos=True)
    assert not hasattr(config, "no_such_setting_at_all")


def test_a_value_of_another_kind_is_refused() -> None:
    with pytest.raises(TypeError, match="recompile_limit is an int"):
        config.recompile_limit = "8"
    with pytest.raises(TypeError, match="suppress_errors is True or False"):
        config.suppress_errors = "yes"


def test_patch_as_context_manager() -> None:
    with config.patch(recompile_limit=2, verbose=True):
        assert (config.recompile_limit, config.verbose) == (2, True)
        with config.patch("recompile_limit", 1):
            assert config.recompile_limit == 1
        with config.patch({"cache_size_limit": 7}):
            assert config.recompile_limit == 7
        assert config.recompile_limit == 2
    assert (config.recompile_limit, config.verbose) == (8, False)


def test_patch_restores_after_an_exception() -> None:
    with pytest.raises(KeyError), config.patch(recompile_limit=2):
        raise KeyError
    assert config.recompile_limit == 8


def test_patch_as_function_decorator() -> None:
    @config.patch(recompile_limit=2)
    def recursive(depth: int) -> int:
        return recursive(depth - 1) if depth else config.recompile_limit

    assert recursive(3) == 2
    assert config.recompile_limit == 8


def test_patch_as_class_decorator() -> None:
    @config.patch(recompile_limit=2)
    class Plain:
        def limit(self) -> int:
            return config.recompile_limit

    assert Plain().limit() == 2
    assert config.recompile_limit == 8

    @config.patch(recompile_limit=4)
    class Case(unittest.TestCase):
        def test_limit(self) -> None:
            self.assertEqual(config.recompile_limit, 4)

    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(Case).run(result)
    assert result.wasSuccessful() and result.testsRun == 1
    assert config.recompile_limit == 8


def test_mock_patch_works_on_it() -> None:
    with mock.patch.object(config, "recompile_limit", 3):
        assert config.recompile_limit == 3
    assert config.recompile_limit == 8
    with mock.patch.object(config, "cache_size_limit", 3):
        assert config.recompile_limit == 3
    assert config.recompile_limit == 8


def test_snapshot_is_frozen_and_hashable() -> None:
    before = config.snapshot()
    assert before == config.snapshot() and hash(before) == hash(config.snapshot())
    with pytest.raises(AttributeError):
        before.recompile_limit = 1  # type: ignore[misc]
    config.recompile_limit = 1
    config.traceable_tensor_subclasses.add(int)
    assert config.snapshot() != before
    assert config.snapshot().traceable_tensor_subclasses == frozenset({int})
    config.restore(before)
    assert config.snapshot() == before


def test_a_snapshot_is_made_anew_when_a_set_was_changed_in_place() -> None:
    before = config.snapshot()
    assert config.snapshot() is before
    config.ignore_logger_methods.add(print)
    assert config.snapshot().ignore_logger_methods == {print} and before.ignore_logger_methods == frozenset()
    config.ignore_logger_methods.remove(print)
    assert config.snapshot() == before
    config.recompile_limit += 1
    assert config.snapshot().recompile_limit == before.recompile_limit + 1


def test_cache_key_depends_on_what_changes_a_capture() -> None:
    key = config.cache_key()
    with config.patch(recompile_limit=2, error_on_recompile=True, verbose=True):
        assert config.cache_key() is key
    with config.patch(capture_scalar_outputs=True):
        assert config.cache_key() is not key
    assert config.cache_key() is key


def test_settings_are_listed() -> None:
    assert {"recompile_limit", "cache_size_limit", "patch"} <= set(dir(config))
    assert alternator.config is config
