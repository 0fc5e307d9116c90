"""Several threads: concurrent first calls compile once, and every call is right."""

import sys
import threading

import pytest
import torch

import alternator


def test_concurrent_first_calls_compile_once():
    net = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 8))
    graphs, errors = [], []
    compiled = alternator.compile(net, backend=lambda gm, inputs: graphs.append(gm) or gm.forward)

    def work():
        try:
            for i in range(40):
                with torch.no_grad():
                    x = torch.randn(2 + i % 3, 8)
                    torch.testing.assert_close(compiled(x), net(x))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(graphs) == 2  # the first size, then any size


def test_threads_that_wait_for_the_same_capture():
    """They use its entry at once, while the text of the graph is made; nobody captures again."""

    def f(x):
        for i in range(12):
            x = (x + i).sin() * x.cos()
        return x

    x, barrier = torch.randn(4), threading.Barrier(8)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(10):
            alternator.reset()
            graphs, results = [], []
            compiled = alternator.compile(f, backend=lambda gm, inputs, made=graphs: made.append(gm) or (lambda *args: gm(*args)))

            def work(compiled=compiled, results=results):
                barrier.wait()
                try:
                    results.append(compiled(x))
                except BaseException as error:
                    results.append(error)

            threads = [threading.Thread(target=work) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len(graphs) == 1
            for result in results:
                torch.testing.assert_close(result, f(x))
    finally:
        sys.setswitchinterval(before)


def test_a_call_while_fx_traces_in_another_thread():
    """Its flag is one for all threads."""
    inside, done = threading.Event(), threading.Event()

    def traced(x):
        inside.set()
        done.wait(60)
        return x + 1

    thread = threading.Thread(target=lambda: torch.fx.symbolic_trace(traced))
    thread.start()
    graphs = []
    try:
        assert inside.wait(60)
        compiled = alternator.compile(lambda x: x * 2, backend=lambda gm, inputs: graphs.append(gm) or gm.forward)
        assert compiled(torch.ones(2)).tolist() == [2, 2]
    finally:
        done.set()
        thread.join()
    assert len(graphs) == 1


@pytest.mark.parametrize("through", ["the front", "the frame hook"])
def test_hits_misses_resets_and_mutations(through):
    """Eight threads call, change what is guarded, and drop entries; every answer is right for some state of the program."""

    class Scale(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.factor = 1

        def forward(self, x, shift=0):
            return x * self.factor + shift

    net = Scale()
    inner = alternator.compile(net, backend="eager", dynamic=False)
    outer = alternator.compile(
        lambda x, shift: [alternator.graph_break(), net(x, shift=shift)][1], backend="eager", dynamic=False
    )
    call = inner if through == "the front" else outer
    errors = []
    done = threading.Event()

    def work(number):
        try:
            with torch.no_grad():
                for i in range(60):
                    x = torch.ones(1 + (i + number) % 4)
                    found = call(x, shift=number)
                    assert found.shape == x.shape
                    assert found[0].item() - number in (1, 2, 3), found
        except BaseException as error:
            errors.append(error)

    def disturb():
        try:
            for i in range(40):
                net.factor = 1 + i % 3
                if i % 10 == 9:
                    alternator.reset()
                done.wait(0.01)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(7)] + [threading.Thread(target=disturb)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    for factor in (5, 6):
        net.factor = factor
        for _ in range(4):
            torch.testing.assert_close(call(torch.ones(2), shift=1), torch.ones(2) * factor + 1)
