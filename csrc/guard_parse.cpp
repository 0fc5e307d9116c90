// From the table of guards (docs/native.md) to the tree.
#include "guard_tree.h"

#include <algorithm>
#include <array>

namespace alt {

namespace {

struct AccessName {
  const char* name;
  const char* key;  // for accesses that are told apart by their key
  Access access;
  bool root;
};

constexpr AccessName kAccesses[] = {
    {"local", nullptr, Access::local, true},
    {"globals", nullptr, Access::globals, true},
    {"closure", nullptr, Access::closure, true},
    {"object", nullptr, Access::object, true},
    {"dict", nullptr, Access::dict, false},
    {"dictitem", nullptr, Access::dictitem, false},
    {"attr", nullptr, Access::attr, false},
    {"index", nullptr, Access::index, false},
    {"type", nullptr, Access::type, false},
    {"typeattr", nullptr, Access::typeattr, false},
    {"cell", nullptr, Access::cell, false},
    {"func", "code", Access::code, false},
    {"func", "defaults", Access::defaults, false},
    {"func", "kwdefaults", Access::kwdefaults, false},
    {"func", "closure", Access::func_closure, false},
    {"func", "globals", Access::func_globals, false},
    {"method", "self", Access::method_self, false},
    {"method", "func", Access::method_func, false},
    {"call", nullptr, Access::call, false},
    {"generator", "function", Access::gen_function, false},
    {"generator", "handled", Access::gen_handled, false},
    {"slot", nullptr, Access::gen_slot, false},
};

bool text_is(PyObject* obj, const char* text) {
  return PyUnicode_Check(obj) && PyUnicode_CompareWithASCIIString(obj, text) == 0;
}

bool bad(PyObject* item, const char* what) {
  PyErr_Format(PyExc_ValueError, "GuardTree: %s: %R", what, item);
  return false;
}

bool node_number(PyObject* item, size_t count, uint32_t* out) {
  Py_ssize_t id = PyLong_AsSsize_t(item);
  if (id == -1 && PyErr_Occurred()) return false;
  if (id < 0 || static_cast<size_t>(id) >= count) return bad(item, "there is no such node");
  *out = static_cast<uint32_t>(id);
  return true;
}

bool node_numbers(PyObject* items, size_t count, std::vector<uint32_t>* out) {
  if (!PyTuple_Check(items)) return bad(items, "expected a tuple of nodes");
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(items); ++i) {
    uint32_t id;
    if (!node_number(PyTuple_GET_ITEM(items, i), count, &id)) return false;
    out->push_back(id);
  }
  return true;
}

}  // namespace

bool GuardTree::parse(PyObject* nodes, PyObject* tail) {
  Own list = Own::steal(PySequence_Fast(nodes, "GuardTree: nodes must be a sequence"));
  Own tail_list = Own::steal(list ? PySequence_Fast(tail, "GuardTree: tail must be a sequence") : nullptr);
  if (!tail_list) return false;
  const Py_ssize_t count = PySequence_Fast_GET_SIZE(list.get());
  nodes_.resize(static_cast<size_t>(count));
  live_nodes += count;
  for (Py_ssize_t i = 0; i < count; ++i)
    if (!parse_node(PySequence_Fast_GET_ITEM(list.get(), i), static_cast<uint32_t>(i))) return false;
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(tail_list.get()); ++i)
    if (!parse_tail(PySequence_Fast_GET_ITEM(tail_list.get(), i))) return false;
  // What Python code drops is not looked at by the others any more.
  std::stable_partition(tail_.begin(), tail_.end(), [](const TailGuard& guard) {
    return guard.kind != TailGuard::Kind::py && guard.kind != TailGuard::Kind::unregistered;
  });
  lay_out();
  state_ = std::make_unique<TreeState>(*this);
  return true;
}

bool GuardTree::parse_node(PyObject* item, uint32_t id) {
  if (!PyTuple_Check(item) || PyTuple_GET_SIZE(item) != 4)
    return bad(item, "a node must be a tuple (parent, access, key, guards)");
  PyObject* parent = PyTuple_GET_ITEM(item, 0);
  PyObject* access = PyTuple_GET_ITEM(item, 1);
  PyObject* key = PyTuple_GET_ITEM(item, 2);
  PyObject* guards = PyTuple_GET_ITEM(item, 3);
  Node& node = nodes_[id];
  long number = PyLong_AsLong(parent);
  if (number == -1 && PyErr_Occurred()) return false;
  if (number < -1 || number >= static_cast<long>(id)) return bad(item, "the parent must come before its child");
  node.parent = static_cast<int>(number);

  const AccessName* found = nullptr;
  for (const AccessName& name : kAccesses)
    if (text_is(access, name.name) && (!name.key || text_is(key, name.key))) found = &name;
  if (!found) return bad(item, "unknown access");
  if (found->root != (node.parent == -1)) return bad(item, found->root ? "not a root" : "a root cannot be read like this");
  node.access = found->access;

  switch (node.access) {
    case Access::local:
    case Access::closure:
    case Access::index:
    case Access::gen_slot:
      node.index = PyLong_AsSsize_t(key);
      if (node.index == -1 && PyErr_Occurred()) return false;
      if (node.index < 0) return bad(item, "the index must not be negative");
      break;
    case Access::object:
      if (!Ref::make(key, &node.root)) return false;
      break;
    case Access::dictitem:
      if (!Key::make(key, &node.key)) return false;
      break;
    case Access::attr:
    case Access::typeattr:
      if (!PyUnicode_CheckExact(key)) return bad(item, "the name must be a str");
      node.object = Own::share(key);
      break;
    case Access::call:
      if (!PyCallable_Check(key)) return bad(item, "the key must be callable");
      node.object = Own::share(key);
      break;
    default: break;
  }
  if (node.object && PyUnicode_CheckExact(key)) {  // attribute lookups are quick for interned names only
    PyObject* name = node.object.release();
    PyUnicode_InternInPlace(&name);
    node.object = Own::steal(name);
  }
  node.python = node.access == Access::attr || node.access == Access::call || node.key.may_run_python;

  if (!PyTuple_Check(guards)) return bad(item, "the guards must be a tuple");
  if (PyTuple_GET_SIZE(guards) > 64) return bad(item, "more than 64 guards on one node");
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(guards); ++i)
    if (!parse_guard(PyTuple_GET_ITEM(guards, i), static_cast<int>(i), &node)) return false;
  return true;
}

// The class in whose namespace a class attribute was found; null: it is none.
PyTypeObject* GuardTree::found_in(const Node& node, PyObject* obj) const {
  if (node.access != Access::typeattr) return nullptr;
  PyObject* cls = nodes_[static_cast<size_t>(node.parent)].root.get();
  if (!cls || !PyType_Check(cls)) return nullptr;
  PyObject* mro = reinterpret_cast<PyTypeObject*>(cls)->tp_mro;
  for (Py_ssize_t i = 0; mro && i < PyTuple_GET_SIZE(mro); ++i) {
    auto base = reinterpret_cast<PyTypeObject*>(PyTuple_GET_ITEM(mro, i));
    PyObject* found = PyDict_GetItemWithError(base->tp_dict, node.object.get());
    if (found == obj) return base;
    PyErr_Clear();
  }
  return nullptr;
}

bool GuardTree::parse_guard(PyObject* item, int position, Node* node) {
  if (!PyTuple_Check(item) || PyTuple_GET_SIZE(item) < 1) return bad(item, "a guard must be a tuple (kind, ...)");
  PyObject* kind = PyTuple_GET_ITEM(item, 0);
  const Py_ssize_t size = PyTuple_GET_SIZE(item);
  auto arg = [&](Py_ssize_t i) { return PyTuple_GET_ITEM(item, i); };
  if ((text_is(kind, "ABSENT") || text_is(kind, "UNSET")) && size == 1) {
    node->may_be_missing = true;
    node->missing_position = position;
    return true;
  }
  Guard guard{};
  guard.position = position;
  if (text_is(kind, "TYPE") && size == 2) {
    if (!PyType_Check(arg(1))) return bad(item, "TYPE needs a class");
    guard.kind = Kind::type;
    if (!Ref::make(arg(1), &guard.ref)) return false;
  } else if (text_is(kind, "IS") && size == 2) {
    guard.kind = Kind::is;
    if (!Ref::make(arg(1), &guard.ref, found_in(*node, arg(1)))) return false;
  } else if (text_is(kind, "EQ") && size == 2) {
    guard.kind = Kind::eq;
    guard.object = Own::share(arg(1));
    guard.plain = is_plain_constant(arg(1));
  } else if (text_is(kind, "VALUE") && size == 2) {
    guard.kind = Kind::value;
    guard.object = Own::share(arg(1));
    if (!same_value(arg(1), arg(1))) return bad(item, "VALUE needs a str, int, float, complex or bytes");
  } else if (text_is(kind, "ITEMS") && size == 3) {
    guard.kind = Kind::items;
    guard.object = Own::share(arg(1));
    guard.layout = Own::share(arg(2));
    if (!PyTuple_CheckExact(arg(1)) || !is_plain_constant(arg(1))) return bad(item, "ITEMS needs a tuple of plain constants");
    if (!is_set_layout(arg(2))) return bad(item, "ITEMS needs what set_layout() gives");
  } else if (text_is(kind, "LEN") && size == 2) {
    guard.kind = Kind::len;
    guard.length = PyLong_AsSsize_t(arg(1));
    if (guard.length == -1 && PyErr_Occurred()) return false;
    node->versioned = true;
  } else if (text_is(kind, "KEYS") && size == 2) {
    guard.kind = Kind::keys;
    if (!PyTuple_Check(arg(1))) return bad(item, "KEYS needs a tuple");
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(arg(1)); ++i) {
      Key key;
      if (!Key::make(PyTuple_GET_ITEM(arg(1), i), &key)) return false;
      guard.keys.push_back(std::move(key));
    }
    node->versioned = true;
  } else if (text_is(kind, "TENSOR") && size == 4) {
    guard.kind = Kind::tensor;
    guard.tensor = make_tensor_spec(arg(1), arg(2), arg(3));
    if (!guard.tensor) return false;
  } else if (text_is(kind, "NOT_NONE") && size == 1) {
    guard.kind = Kind::not_none;
  } else if (text_is(kind, "WAITS") && size == 3) {
    guard.kind = Kind::waits;
    guard.length = PyLong_AsSsize_t(arg(2));
    if (guard.length == -1 && PyErr_Occurred()) return false;
    if ((arg(1) == Py_None) != (guard.length < 0)) return bad(item, "WAITS needs a code object and a place in it, or (None, -1)");
    if (arg(1) != Py_None && !Ref::make(arg(1), &guard.ref)) return false;
  } else if (text_is(kind, "PY") && (size == 2 || size == 3)) {
    guard.kind = Kind::py;
    guard.object = Own::share(arg(1));
    guard.text = size == 3 && PyUnicode_Check(arg(2)) ? PyUnicode_AsUTF8(arg(2)) : short_repr(arg(1));
  } else {
    return bad(item, "unknown guard");
  }
  node->python |= guard_may_run_python(guard);
  node->guards.push_back(std::move(guard));
  return true;
}

bool GuardTree::parse_tail(PyObject* item) {
  if (!PyTuple_Check(item) || PyTuple_GET_SIZE(item) < 1) return bad(item, "a guard must be a tuple (kind, ...)");
  PyObject* kind = PyTuple_GET_ITEM(item, 0);
  const Py_ssize_t size = PyTuple_GET_SIZE(item);
  auto arg = [&](Py_ssize_t i) { return PyTuple_GET_ITEM(item, i); };
  auto text = [&](Py_ssize_t i) {
    return size > i && PyUnicode_Check(arg(i)) ? std::string(PyUnicode_AsUTF8(arg(i))) : short_repr(item);
  };
  TailGuard guard{};
  guard.position = static_cast<int>(tail_.size());
  if (text_is(kind, "GLOBAL_STATE") && size == 1) {
    guard.kind = TailGuard::Kind::global_state;
    guard.state = snapshot_global_state();
    if (!guard.state) return false;
  } else if (text_is(kind, "ALIAS") && size == 3) {
    guard.kind = TailGuard::Kind::alias;
    guard.nodes.resize(2);
    for (size_t i = 0; i < 2; ++i)
      if (!node_number(arg(static_cast<Py_ssize_t>(i) + 1), nodes_.size(), &guard.nodes[i])) return false;
  } else if (text_is(kind, "DISTINCT") && size == 2) {
    guard.kind = TailGuard::Kind::distinct;
    if (!node_numbers(arg(1), nodes_.size(), &guard.nodes)) return false;
  } else if (text_is(kind, "UNSHARED") && size == 3) {
    guard.kind = TailGuard::Kind::unshared;
    if (!node_numbers(arg(2), nodes_.size(), &guard.nodes)) return false;
    const Py_ssize_t changed = PyLong_AsSsize_t(arg(1));
    if (changed == -1 && PyErr_Occurred()) return false;
    if (changed < 0 || static_cast<size_t>(changed) > guard.nodes.size()) return bad(item, "more changed nodes than nodes");
    guard.changed = static_cast<size_t>(changed);
  } else if (text_is(kind, "QUIET") && size == 6) {
    guard.kind = TailGuard::Kind::quiet;
    if (!node_numbers(arg(1), nodes_.size(), &guard.nodes) || !parse_held_by(arg(2), &guard.held_by)) return false;
    if (guard.nodes.empty()) return bad(item, "QUIET needs a node");
    guard.fn = Own::share(arg(3));
    guard.changed = PyLong_AsSize_t(arg(4));
    if (PyErr_Occurred()) return false;
    guard.text = text(5);
  } else if (text_is(kind, "UNREGISTERED") && size == 4) {
    guard.kind = TailGuard::Kind::unregistered;
    guard.registrations = PyLong_AsUnsignedLongLong(arg(1));
    if (PyErr_Occurred()) return false;
    guard.fn = Own::share(arg(2));
    guard.text = text(3);
  } else if (text_is(kind, "PY") && (size == 3 || size == 4)) {
    guard.kind = TailGuard::Kind::py;
    if (!node_numbers(arg(1), nodes_.size(), &guard.nodes)) return false;
    guard.fn = Own::share(arg(2));
    guard.text = text(3);
    python_ = true;
  } else if (text_is(kind, "SHAPE") && (size == 3 || size == 4)) {
    guard.kind = TailGuard::Kind::shape;
    Own inputs = Own::steal(PySequence_Fast(arg(1), "SHAPE guard: the inputs must be a sequence"));
    if (!inputs) return false;
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(inputs.get()); ++i) {
      PyObject* input = PySequence_Fast_GET_ITEM(inputs.get(), i);
      if (!PyTuple_Check(input) || PyTuple_GET_SIZE(input) < 2 || PyTuple_GET_SIZE(input) > 3)
        return bad(input, "an input must be a tuple (node, what, dim)");
      TailGuard::Input parsed{};
      if (!node_number(PyTuple_GET_ITEM(input, 0), nodes_.size(), &parsed.node)) return false;
      PyObject* what = PyTuple_GET_ITEM(input, 1);
      using What = TailGuard::Input::What;
      bool needs_dim = true;
      if (text_is(what, "size")) parsed.what = What::size;
      else if (text_is(what, "stride")) parsed.what = What::stride;
      else {
        needs_dim = false;
        if (text_is(what, "offset")) parsed.what = What::offset;
        else if (text_is(what, "int")) parsed.what = What::integer;
        else if (text_is(what, "float")) parsed.what = What::real;
        else return bad(input, "unknown input");
      }
      if (needs_dim) {
        if (PyTuple_GET_SIZE(input) != 3) return bad(input, "this input needs a dimension");
        parsed.dim = PyLong_AsLongLong(PyTuple_GET_ITEM(input, 2));
        if (parsed.dim == -1 && PyErr_Occurred()) return false;
      }
      guard.inputs.push_back(parsed);
    }
    if (!guard.program.parse(arg(2), guard.inputs.size())) return false;
    guard.text = text(3);
    max_inputs_ = std::max(max_inputs_, guard.inputs.size());
    max_depth_ = std::max(max_depth_, guard.program.depth());
  } else {
    return bad(item, "unknown guard");
  }
  tail_.push_back(std::move(guard));
  return true;
}

void GuardTree::lay_out() {
  for (const Node& node : nodes_) {
    if (node.parent < 0) continue;
    Node& parent = nodes_[static_cast<size_t>(node.parent)];
    ++(node.access == Access::dictitem ? parent.items : node.access == Access::typeattr ? parent.attrs : parent.others);
  }
  uint32_t next = 0;
  for (Node& node : nodes_) {
    node.first = next;
    next += node.items + node.attrs + node.others;
  }
  children_.resize(next);
  std::vector<std::array<uint32_t, 3>> filled(nodes_.size());
  for (uint32_t id = 0; id < nodes_.size(); ++id) {
    const Node& node = nodes_[id];
    if (node.parent < 0) {
      roots_.push_back(id);
      continue;
    }
    const Node& parent = nodes_[static_cast<size_t>(node.parent)];
    auto& at = filled[static_cast<size_t>(node.parent)];
    const uint32_t position = node.access == Access::dictitem   ? at[0]++
                              : node.access == Access::typeattr ? parent.items + at[1]++
                                                                : parent.items + parent.attrs + at[2]++;
    children_[parent.first + position] = id;
  }
  for (size_t id = 0; id < nodes_.size(); ++id)
    if (nodes_[id].access == Access::attr || nodes_[id].access == Access::call) makers_.push_back(static_cast<uint32_t>(id));
  for (size_t id = nodes_.size(); id-- > 0;) {
    if (!nodes_[id].python) continue;
    python_ = true;
    if (nodes_[id].parent >= 0) nodes_[static_cast<size_t>(nodes_[id].parent)].python = true;
  }
}

}  // namespace alt
