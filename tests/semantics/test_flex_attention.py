"""``flex_attention`` with functions of the program's."""

import pytest
import torch
from helpers import ops, same
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

import alternator

QUERY = torch.linspace(-1, 1, 256).reshape(1, 2, 16, 8)
MASK = create_block_mask(lambda b, h, i, j: i >= j, 1, 1, 16, 16, device="cpu")


def test_a_score_and_a_mask_are_bodies_of_one_operator() -> None:
    def f(q, bias, scale):
        def score(s, b, h, i, j):
            return s * scale + bias[h, i] - bias[0, j]

        return flex_attention(q, q, q, score_mod=score, block_mask=MASK)

    report = same(f, QUERY, torch.linspace(0, 1, 32).reshape(2, 16), 0.5, fullgraph=True, graphs=1)
    assert "flex_attention" in str(ops(report.graphs[0]))


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_options(backend) -> None:
    def f(q, k):
        out, lse = flex_attention(q, k, k, enable_gqa=True, scale=0.3, return_lse=True)
        return out + 1, lse, flex_attention(q, q, q, score_mod=lambda s, b, h, i, j: s + (i - j))

    same(f, QUERY, QUERY[:, :1].clone(), fullgraph=True, backend=backend)


def test_gradients() -> None:
    def f(q, k):
        return flex_attention(q, k, k, score_mod=lambda s, b, h, i, j: s * 2, block_mask=MASK)

    same(f, QUERY.clone().requires_grad_(), (QUERY * 2).requires_grad_(), fullgraph=True, grad=True, backend="aot_eager")


def test_what_the_bodies_use_is_guarded() -> None:
    factor = 2

    def f(q):
        return flex_attention(q, q, q, score_mod=lambda s, b, h, i, j: s * factor)

    compiled = alternator.compile(f, backend="eager", fullgraph=True)
    for factor in (2, 3, 4):
        assert torch.allclose(compiled(QUERY), f(QUERY))


def test_a_block_mask_made_inside():
    def fn(x, documents):
        q = x[None, None]

        def visible(batch, head, row, column):
            return (documents[row] == documents[column]) & (row >= column)

        mask = create_block_mask(visible, None, None, q.shape[2], q.shape[2], device="cpu")
        return flex_attention(q, q, q, block_mask=mask)

    documents = torch.tensor([0] * 8 + [1] * 8)
    same(fn, torch.randn(16, 16), documents, then=[(torch.randn(16, 16), documents * 0)], graphs=1, fullgraph=True, recompiles=0)
