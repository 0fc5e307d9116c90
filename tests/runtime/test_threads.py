"""Several threads: concurrent first calls compile once, and every call is right."""

import threading

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
