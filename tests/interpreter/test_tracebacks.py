"""Tracebacks of what captured code raises, where the program looks into them."""

import sys

import torch
from helpers import same

import alternator


def fails():
    raise ValueError("no")


def the_traceback():
    try:
        fails()
    except ValueError as error:
        return error.__traceback__


def test_who_looks_into_a_traceback_finds_the_frames_of_the_program():
    def fn(x):
        secret = 3
        try:
            fails()
        except ValueError as error:
            trace = error.__traceback__
        frame = trace.tb_frame
        return x + secret, frame is sys._getframe(), frame.f_locals["secret"], trace.tb_next.tb_frame.f_code.co_name

    same(fn, torch.ones(2))


def test_other_calls_of_who_may_look_into_a_traceback_are_captured():
    def fn(x, wrong):
        y = x + 1
        try:
            if wrong:
                fails()
        except ValueError as error:
            return y, error.__traceback__.tb_lineno
        return y * 2

    x = torch.ones(2)
    same(fn, x, True, then=[(x, False), (x, True), (x, False)])
    graphs = []
    compiled = alternator.compile(fn, backend=lambda gm, inputs: graphs.append(gm) or gm.forward)
    compiled(x, True)
    compiled(x, False)
    assert len(graphs) == 1


def test_an_entry_is_the_same_in_all_tracebacks_that_end_with_it():
    def fn(x):
        trace = the_traceback()
        try:
            raise IndexError().with_traceback(trace)
        except IndexError as error:
            print("break")
            return x + 1, error.__traceback__ is trace, error.__traceback__.tb_next is trace

    assert same(fn, torch.ones(2)).outcomes[0].result[1:] == (False, True)
