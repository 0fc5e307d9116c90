"""Records of loggers say where they were logged, though they are made after the graph."""

import logging

import pytest
import torch
from helpers import same

import alternator

X = torch.ones(2)
LOG = logging.getLogger("alternator.tests.loggers")
ADAPTER = logging.LoggerAdapter(LOG, {"who": "adapter"})
FORMAT = logging.Formatter("%(levelname)s %(funcName)s %(lineno)d %(filename)s %(who)s %(message)s", defaults={"who": "-"})


@pytest.fixture(autouse=True)
def printing(capsys):
    """What is logged is output, which ``same`` compares."""

    class Print(logging.Handler):
        def emit(self, record) -> None:
            print(self.format(record))

    handler = Print()
    handler.setFormatter(FORMAT)
    LOG.addHandler(handler)
    level, LOG.level, LOG.propagate = LOG.level, logging.INFO, False
    yield
    LOG.removeHandler(handler)
    LOG.level, LOG.propagate = level, True


def helper(number) -> None:
    LOG.info("helper %s", number)
    LOG.info("caller of helper", stacklevel=2)
    LOG.info("caller of all", stacklevel=3)


def test_place_of_a_record() -> None:
    def f(x):
        LOG.debug("not shown")
        LOG.info("shape %s", x.shape, extra={"who": "me"})
        helper(3)
        LOG.log(logging.WARNING, "values %s", x + 1)
        ADAPTER.error("adapted")
        return x * 2

    report = same(f, X, graphs=1, breaks=0)
    assert "INFO f " in report.outcomes[0].stdout and "INFO helper " in report.outcomes[0].stdout
    assert "INFO _run " in report.outcomes[0].stdout  # the caller of the captured function


def test_place_behind_a_break() -> None:
    def f(x):
        LOG.info("before")
        torch._dynamo.graph_break()
        LOG.info("behind")
        return x + 1

    assert same(f, X, graphs=1).outcomes[0].stdout.count("INFO f ") == 2


def test_exception_and_stack() -> None:
    def f(x):
        try:
            raise ValueError("no")
        except ValueError:
            LOG.exception("failed")
            LOG.error("failed", exc_info=True)
        LOG.error("fine", exc_info=False)
        return x + 1

    report = same(f, X, graphs=1, breaks=["PRINT", "PRINT"])
    assert report.outcomes[0].stdout.count("ValueError: no") == 2


def test_record_with_the_stack(capsys) -> None:
    def f(x):
        LOG.info("stack", stack_info=True)
        return x + 1

    for fn in (f, alternator.compile(f, backend="eager")):
        fn(X)
        shown = capsys.readouterr().out
        assert "Stack (most recent call last)" in shown and ", in f\n" in shown


class Chatty(logging.Logger):
    """Looks at the stack by itself."""

    def findCaller(self, stack_info=False, stacklevel=1):
        name, line, function, stack = super().findCaller(stack_info, stacklevel + 1)
        return name, line, f"<{function}>", stack


def test_logger_with_its_own_way() -> None:
    chatty = Chatty("alternator.tests.chatty")
    chatty.addHandler(LOG.handlers[0])

    def f(x):
        chatty.warning("here")
        return x + 1

    assert "<f>" in same(f, X, breaks=["PRINT"]).outcomes[0].stdout


def test_wrong_call() -> None:
    def f(x):
        try:
            LOG.info("a", nothing=1)
        except TypeError as error:
            return x, str(error)

    same(f, X)
