"""The flat form of a tree: what moves between calls, again and again, and what dies, never changes the answer.

`Checked.passes` checks often enough for the flat form to be made and used.
"""

import collections
import functools
import gc
import types

import pytest
import torch
from native_helpers import Checked, Table, Thing


class Slotted:
    __slots__ = ("x", "other", "__dict__")


def thing(**attributes):
    made = Thing()
    made.__dict__.update(attributes)
    return made


def tensor_guard(example):
    return ("TENSOR", example, tuple(example.shape), tuple(example.stride()))


def attribute_table(name, *guards, root=("TYPE", Thing)):
    table = Table()
    top = table.local(0, root)
    table.node(table.node(top, "dict"), "dictitem", name, *guards)
    return table


CHANGES = {
    "resize_": lambda t: t.detach_().requires_grad_(False).resize_(5),
    "data of another dtype": lambda t: setattr(t, "data", torch.zeros(4, dtype=torch.float64)),
    "data of another shape": lambda t: setattr(t, "data", torch.zeros(2, 2)),
    "requires_grad_": lambda t: t.requires_grad_(not t.requires_grad),
    "set_": lambda t: t.detach_().requires_grad_(False).set_(torch.zeros(6)),
    "unsqueeze_": lambda t: t.detach_().requires_grad_(False).unsqueeze_(0),
    "as_strided_": lambda t: t.detach_().requires_grad_(False).as_strided_((4,), (0,)),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("requires_grad", [False, True])
def test_a_tensor_that_stays_and_changes(change, requires_grad):
    weight = torch.zeros(4, requires_grad=requires_grad)
    holder = thing(weight=weight)
    checked = Checked(attribute_table("weight", ("TYPE", torch.Tensor), tensor_guard(weight)), None, [holder])
    weight.add_(1) if not requires_grad else weight.data.add_(1)
    checked.passes()  # values are not guarded
    CHANGES[change](weight)
    checked.fails("tensor")


LAYOUTS = {
    "scalar": ((), ()),
    "vector": ((4,), (1,)),
    "matrix": ((2, 3), (3, 1)),
    "transposed": ((2, 3), (1, 2)),
    "one row": ((1, 3), (3, 1)),
    "batch": ((2, 3, 2), (6, 2, 1)),
    "channels last": ((2, 3, 2, 2), (12, 1, 6, 3)),
    "five": ((2, 2, 2, 2, 2), (16, 8, 4, 2, 1)),
    "six": ((2, 1, 2, 1, 2, 1), (4, 4, 2, 2, 1, 1)),
    "empty": ((0, 3), (3, 1)),
}


def _other_layouts(size, stride):
    """All that differ in one size or in one stride, and one with a dimension more."""
    for i in range(len(size)):
        yield (*size[:i], size[i] + 1, *size[i + 1 :]), stride
        yield size, (*stride[:i], stride[i] + 1, *stride[i + 1 :])
    yield (*size, 1), (*stride, 1)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("requires_grad", [False, True])
def test_each_size_and_each_stride_of_a_tensor_that_stays(layout, requires_grad):
    size, stride = LAYOUTS[layout]
    memory = torch.zeros(200)
    for other_size, other_stride in _other_layouts(size, stride):
        tensors = [torch.as_strided(memory, size, stride).detach().requires_grad_(requires_grad) for _ in range(3)]
        for tensor in tensors:  # no views
            tensor.data = torch.empty_strided(size, stride)
        holder = thing(tensors=tuple(tensors))
        table = Table()
        top = table.node(table.node(table.local(0, ("TYPE", Thing)), "dict"), "dictitem", "tensors", ("TYPE", tuple))
        for i, tensor in enumerate(tensors):
            table.node(top, "index", i, tensor_guard(tensor))
        checked = Checked(table, None, [holder])
        checked.passes()
        for tensor in tensors:
            tensor.data = torch.empty_strided(other_size, other_stride)
            checked.fails("tensor")
            tensor.data = torch.empty_strided(size, stride)
            checked.passes()


@pytest.mark.parametrize("wide", [torch.nn.Parameter, type("Mine", (torch.nn.Parameter,), {})])
def test_a_tensor_that_becomes_one_of_another_class(wide):
    weight = torch.nn.Parameter(torch.zeros(3))
    other = type("Other", (torch.nn.Parameter,), {})
    weight.__class__ = wide
    holder = thing(weight=weight)
    checked = Checked(attribute_table("weight", ("TYPE", wide), tensor_guard(weight)), None, [holder])
    checked.passes()
    weight.__class__ = other
    checked.fails("type")
    weight.__class__ = wide
    checked.passes()


def test_tensors_that_are_swapped():
    one, two = torch.nn.Parameter(torch.zeros(3)), torch.nn.Parameter(torch.zeros(4))
    holder = thing(weight=one)
    checked = Checked(attribute_table("weight", ("TYPE", torch.nn.Parameter), tensor_guard(one)), None, [holder])
    checked.passes()
    torch.utils.swap_tensors(one, two)
    checked.fails("tensor")


def test_requires_grad_of_a_view_of_a_leaf():
    base = torch.zeros(4)
    view = base[:2]
    holder = thing(view=view)
    checked = Checked(attribute_table("view", tensor_guard(view)), None, [holder])
    base.requires_grad_()
    assert checked.tree.check(None, [holder]) == (checked.tree.explain(None, [holder]) is None)


def test_attributes_that_change_at_each_call_are_looked_up():
    weight = torch.zeros(3)
    holder = thing(weight=weight, count=0, gone=None)
    table = Table()
    top = table.local(0, ("TYPE", Thing))
    space = table.node(top, "dict")
    node = table.node(space, "dictitem", "weight", ("TYPE", torch.Tensor), tensor_guard(weight))
    table.node(space, "dictitem", "missing", ("ABSENT",))
    checked = Checked(table, None, [holder])
    for i in range(30):
        holder.count = i
        assert checked.tree.check(None, [holder])
        assert checked.tree.values(None, [holder])[node] is weight
    for i in range(30):  # a new tensor each time: walked
        holder.weight = torch.ones(3)
        assert checked.tree.check(None, [holder])
        assert checked.tree.values(None, [holder])[node] is holder.weight
    holder.missing = 1
    checked.fails("missing")
    del holder.missing
    holder.weight = torch.zeros(4)
    checked.fails("sizes")


def test_class_attributes_that_change_at_each_call_are_looked_up():
    class Counter:
        limit = (3,)

    table = Table()
    kind = table.node(table.local(0), "type")
    table.node(kind, "typeattr", "limit", ("EQ", (3,)))
    table.node(kind, "typeattr", "other", ("ABSENT",))
    one = Counter()
    checked = Checked(table, None, [one])
    for i in range(30):
        Counter.count = i
        Counter.limit = (int("3"),)
        assert checked.tree.check(None, [one])
    Counter.limit = (4,)
    checked.fails("limit")
    Counter.limit = (3,)
    checked.passes()
    Counter.other = 1
    checked.fails("other")


def test_two_objects_in_turns():
    shared = torch.zeros(2)
    pair = [thing(weight=shared, number=1), thing(weight=torch.zeros(2), number=1)]
    table = Table()
    space = table.node(table.local(0, ("TYPE", Thing)), "dict")
    node = table.node(space, "dictitem", "weight", tensor_guard(shared))
    table.node(space, "dictitem", "number", ("EQ", 1))
    checked = Checked(table, None, [pair[0]])
    for i in range(40):
        mine = pair[i % 2]
        assert checked.tree.check(None, [mine])
        assert checked.tree.values(None, [mine])[node] is mine.weight
    pair[1].number = 2
    for _ in range(5):
        assert checked.tree.check(None, [pair[0]])
        assert not checked.tree.check(None, [pair[1]])
        assert checked.tree.values(None, [pair[0]])[node] is shared


def test_an_item_that_comes_back_at_the_same_address_is_not_the_same_item():
    for attempt in range(200):
        holder = [thing()]
        table = Table()
        table.node(table.local(0, ("TYPE", list)), "index", 0, ("IS", holder[0]))
        checked = Checked(table, None, [holder])
        address = id(holder[0])
        holder[0] = None
        holder[0] = thing()
        assert not checked.tree.check(None, [holder])
        if id(holder[0]) == address:
            break  # what it is about; in the other rounds the answer must be the same


def test_a_number_in_a_list_that_comes_back_at_the_same_address():
    for attempt in range(200):
        number = 1000 + attempt
        holder = [int(str(number))]
        table = Table()
        table.node(table.local(0, ("TYPE", list)), "index", 0, ("EQ", number))
        checked = Checked(table, None, [holder])
        holder[0] = None
        holder[0] = int(str(number + 1))
        checked.fails("expected")
        holder[0] = int(str(number))
        checked.passes()


def test_a_class_that_is_gone():
    made = type("Made", (), {})
    one = made()
    table = Table()
    table.node(table.local(0), "index", 0, ("TYPE", made))
    checked = Checked(table, None, [[one]])
    values = [[Thing()]]
    checked.values[:] = values
    del made, one, table
    gc.collect()
    checked.fails("gone")


@pytest.mark.parametrize("kind", [list, tuple])
def test_sequences(kind):
    items = [thing(), thing(), 7]
    outer = thing(items=kind(items))
    table = Table()
    space = table.node(table.local(0), "dict")
    seq = table.node(space, "dictitem", "items", ("TYPE", kind), ("LEN", 3))
    table.node(seq, "index", 0, ("IS", items[0]))
    table.node(seq, "index", 2, ("EQ", 7))
    table.node(seq, "index", 3, ("ABSENT",))
    checked = Checked(table, None, [outer])
    outer.items = kind([items[0], items[0], 7])
    checked.passes()  # item 1 was not read
    outer.items = kind([items[1], items[0], 7])
    checked.fails()
    outer.items = kind(items)
    checked.passes()
    if kind is list:
        outer.items.append(1)
        checked.fails()
        outer.items.pop()
        checked.passes()
        outer.items[2] = True
        checked.fails()
        outer.items[2] = 7
        for i in range(1000):
            outer.items.append(i)
        del outer.items[3:]
        checked.passes()  # the list has moved its items


def test_dicts_without_instance_dict_and_back():
    one = Slotted()
    table = Table()
    space = table.node(table.local(0, ("TYPE", Slotted)), "dict")
    table.node(space, "dictitem", "y", ("ABSENT",))
    checked = Checked(table, None, [one])
    one.x = 1
    checked.passes()
    one.z = 1
    checked.passes()
    one.y = 1
    checked.fails("expected nothing")
    del one.y
    one.__dict__ = {}
    checked.passes()
    plain = Thing()
    other = Checked(attribute_table("y", ("ABSENT",)), None, [plain])
    plain.y = 1
    other.fails()


def test_another_dict_and_another_class():
    one = thing(x=1)
    checked = Checked(attribute_table("x", ("EQ", 1)), None, [one])
    old = one.__dict__
    one.__dict__ = {"x": 2}
    checked.fails()
    one.__dict__ = old
    checked.passes()
    one.__class__ = type("Other", (Thing,), {})
    checked.fails("type")
    one.__class__ = Thing
    checked.passes()


def test_order_of_an_ordered_dict():
    one = thing(d=collections.OrderedDict(a=1, b=2))
    checked = Checked(attribute_table("d", ("KEYS", ("a", "b"))), None, [one])
    one.d.move_to_end("a")
    checked.fails("keys")
    one.d.move_to_end("b")
    checked.passes()


def function_of(cell):
    def inner(a, b=1, *, c=2):
        return cell

    return inner


FIELDS = {
    "code": ("__code__", lambda f: function_of(2).__code__.replace(co_name="other")),
    "defaults": ("__defaults__", lambda f: (5,)),
    "kwdefaults": ("__kwdefaults__", lambda f: {"c": 5}),
}


@pytest.mark.parametrize("field", FIELDS)
def test_fields_of_functions(field):
    fn = function_of(1)
    name, make = FIELDS[field]
    one = thing(fn=fn)
    table = Table()
    node = table.node(table.node(table.local(0), "dict"), "dictitem", "fn", ("TYPE", types.FunctionType))
    old = getattr(fn, name)
    table.node(node, "func", field, ("IS", old))
    checked = Checked(table, None, [one])
    setattr(fn, name, make(fn))
    checked.fails()
    setattr(fn, name, old)
    checked.passes()


def test_cells_of_new_functions_of_the_same_code():
    table = Table()
    table.node(table.node(-1, "closure", 0), "cell", None, ("EQ", 5))
    first = function_of(5)
    checked = Checked(table, first, [])
    for i in range(20):
        assert checked.tree.check(function_of(5), [])
        assert not checked.tree.check(function_of(6), [])
    first.__closure__[0].cell_contents = 6
    checked.fails()
    del first.__closure__[0].cell_contents
    checked.fails()


def test_globals_that_change_at_each_call():
    space = {"__builtins__": __builtins__, "limit": 3}
    exec("def f():\n    return limit", space)
    table = Table()
    table.node(table.node(-1, "globals"), "dictitem", "limit", ("EQ", 3))
    checked = Checked(table, space["f"], [])
    for i in range(30):
        space["counter"] = i
        assert checked.tree.check(space["f"], [])
    space["limit"] = 4
    checked.fails("limit")


def test_python_in_the_middle_that_changes_what_was_checked():
    one = thing(x=1, y=1)
    armed = []

    def predicate(value):
        if armed:
            one.x = 2
        return True

    table = Table()
    space = table.node(table.local(0, ("TYPE", Thing)), "dict")
    table.node(space, "dictitem", "x", ("EQ", 1))
    table.node(space, "dictitem", "y", ("PY", predicate, "fine"))
    checked = Checked(table, None, [one])
    armed.append(1)
    assert not checked.tree.check(None, [one])
    armed.clear()
    one.x = 1
    checked.passes()


def test_python_in_the_middle_that_drops_what_comes_next():
    one = thing(parts=[thing(n=i) for i in range(4)])
    armed = []

    def predicate(value):
        if armed:
            one.parts.clear()
            gc.collect()
        return True

    table = Table()
    parts = table.node(table.node(table.local(0), "dict"), "dictitem", "parts")
    for i in range(4):
        item = table.node(parts, "index", i, ("PY", predicate, "fine"))
        table.node(table.node(item, "dict"), "dictitem", "n", ("EQ", i))
    checked = Checked(table, None, [one])
    armed.append(1)
    assert not checked.tree.check(None, [one])


def test_arguments_that_are_other_objects_at_each_call():
    example = torch.zeros(2, 3)
    table = Table()
    first = table.local(0, ("TYPE", torch.Tensor), tensor_guard(example))
    items = table.local(1, ("TYPE", list), ("LEN", 2))
    second = table.node(items, "index", 1, ("TYPE", torch.Tensor), tensor_guard(example))
    table.tail.append(("DISTINCT", (first, second)))
    checked = Checked(table, None, [torch.zeros(2, 3), [0, torch.zeros(2, 3)]])
    for i in range(30):
        a, b = torch.zeros(2, 3), torch.zeros(2, 3)
        assert checked.tree.check(None, [a, [i, b]])
        values = checked.tree.values(None, [a, [i, b]])
        assert values[first] is a and values[second] is b
        assert not checked.tree.check(None, [a, [i, a]])
        assert not checked.tree.check(None, [torch.zeros(3, 2), [i, b]])
        assert not checked.tree.check(None, [a, [i, torch.zeros(2)]])
        assert not checked.tree.check(None, [a, [i]])


def test_tensors_that_must_differ_from_many_that_stay():
    holder = thing(**{f"w{i}": torch.zeros(2) for i in range(40)})
    table = Table()
    x = table.local(0, ("TYPE", torch.Tensor))
    space = table.node(table.local(1), "dict")
    nodes = [table.node(space, "dictitem", f"w{i}", ("TYPE", torch.Tensor)) for i in range(40)]
    table.tail.append(("DISTINCT", (x, *nodes)))
    checked = Checked(table, None, [torch.zeros(2), holder])
    for _ in range(10):
        assert checked.tree.check(None, [torch.zeros(2), holder])
        assert not checked.tree.check(None, [holder.w17, holder])
    holder.w3 = holder.w4
    checked.fails("different objects")


def slotted_table(obj, *guards):
    table = Table()
    table.node(table.node(-1, "object", obj, ("TYPE", type(obj))), "attr", "x", *guards)
    return table


@pytest.mark.parametrize(
    "change",
    [
        lambda obj: setattr(obj, "x", 4),
        lambda obj: delattr(obj, "x"),
        lambda obj: setattr(type(obj), "x", 4),
        lambda obj: setattr(type(obj), "x", property(lambda self: 4)),
        lambda obj: setattr(type(obj), "__getattribute__", lambda self, name: 4),
        lambda obj: setattr(type(obj), "x", Slotted.__dict__["other"]),
    ],
)
def test_a_slot_is_read_as_a_field_while_it_is_one(change):
    kind = type("Kind", (Slotted,), {})
    obj = kind()
    obj.x, obj.other = 3, 5
    checked = Checked(slotted_table(obj, ("EQ", 3)), None, [])
    assert checked.tree._scan["loose"] == 0
    obj.other = 4
    checked.passes()
    change(obj)
    checked.fails()


def test_slots_that_are_empty_and_members_of_c_types():
    obj = Slotted()
    checked = Checked(slotted_table(obj, ("ABSENT",)), None, [])
    obj.x = 1
    checked.fails()
    del obj.x
    checked.passes()

    made = functools.partial(print, 1)
    table = Table()
    table.node(table.local(0, ("TYPE", functools.partial)), "attr", "func", ("IS", print))
    checked = Checked(table, None, [made])
    checked.passes()
    checked.values = [functools.partial(len, 1)]
    checked.fails()


def test_an_object_that_is_compared_by_itself_is_not_asked():
    class Same:
        asked = 0

        def __eq__(self, other):
            Same.asked += 1
            return type(other) is Same and self.mark == other.mark

        __hash__ = None

        def __init__(self, mark):
            self.mark = mark

    kept = Same(1)
    holder = thing(value=kept)
    checked = Checked(attribute_table("value", ("EQ", kept)), None, [holder])
    checked.passes()
    assert Same.asked == 0 and checked.tree._scan["python checks"] == 0
    holder.value = Same(1)  # the address of another one does not mean it
    checked.passes()
    assert Same.asked > 0
    holder.value.mark = 2
    checked.fails()


@pytest.mark.parametrize("in_the_same_place", [False, True])
def test_objects_that_are_made_anew_are_looked_into_without_a_dict(in_the_same_place):
    class Made:
        def __init__(self, **attributes):
            for name, value in attributes.items():
                setattr(self, name, value)

    kept = object()
    table = Table()
    space = table.node(table.local(0, ("TYPE", Made)), "dict", None, ("TYPE", dict))
    for name, guard in {"x": ("EQ", 3), "y": ("ABSENT",), "z": ("IS", kept), 5: ("ABSENT",)}.items():
        table.node(space, "dictitem", name, guard)
    checked = Checked(table, None, [Made(x=3, z=kept)])

    def holds(made):
        if not in_the_same_place:
            checked.values.append(made)
        return checked.tree.check(None, [made])

    assert all(holds(Made(x=3, z=kept)) for _ in range(20))
    made = Made(z=kept, a=1, x=3)
    assert holds(made) and not any(type(one) is dict for one in gc.get_referents(made))
    assert checked.tree._scan["loose"] == 1
    assert not holds(Made(x=4, z=kept)) and not holds(Made(x=3, z=3)) and not holds(Made(x=3)) and not holds(Made())
    assert not holds(Made(x=3, z=kept, y=1))
    made = Made(x=3, z=kept)
    del made.x
    assert not holds(made)
    made.x = 3
    assert holds(made)
    made.__dict__["".join("y")] = 1  # it has a dict now
    assert not holds(made)
    del made.y
    assert holds(made)
    made.__dict__[5] = 1
    assert not holds(made)


def test_names_of_inline_attributes_need_not_be_the_same_objects():
    class Made:
        pass

    name = "".join(["long", " name"])
    table = Table()
    space = table.node(table.local(0, ("TYPE", Made)), "dict")
    table.node(space, "dictitem", name, ("EQ", 1))

    def made(value):
        one = Made()
        one.__dict__  # the name comes into the keys that instances share as it is
        one.__dict__["".join(["long", " ", "name"])] = 1
        one = Made()
        setattr(one, "".join(["long", " n", "ame"]), value)
        return one

    checked = Checked(table, None, [made(1)])
    for _ in range(20):
        assert checked.tree.check(None, [made(1)]) and not checked.tree.check(None, [made(2)])
    assert not checked.tree.check(None, [Made()])


def test_a_dict_that_is_asked_for_is_made():
    table = Table()
    space = table.node(table.local(0, ("TYPE", Thing)), "dict")
    table.node(space, "dictitem", "x", ("EQ", 1))
    checked = Checked(table, None, [thing(x=1)])
    for _ in range(20):
        made = Thing()
        made.x = 1
        assert checked.tree.values(None, [made]) == [made, made.__dict__, 1]
