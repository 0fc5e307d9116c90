#include "guard_walk.h"

#include "frame_hook.h"

#include <algorithm>

namespace alt {

Result Walk::missing(uint32_t id) {
  if (!tree_.nodes_[id].may_be_missing) return fail(id, "not there any more");
  state_.nodes[id].value = nullptr;
  return Result::cold;
}

// An object whose __dict__ was never made has no attributes of its own, which is what ABSENT says of them.
Result Walk::empty_dict(uint32_t id) {
  const Node& node = tree_.nodes_[id];
  if (!node.guards.empty() || node.attrs || node.others) return missing(id);
  for (uint32_t k = 0; k < node.items; ++k)
    if (missing(tree_.children_[node.first + k]) == Result::fail) return Result::fail;
  state_.nodes[id].value = nullptr;
  state_.nodes[id].verified = false;
  return Result::hot;
}

// Whether the dict itself is of no interest, but only what it has for some names.
bool Walk::reads_inline(uint32_t id) const {
  const Node& node = tree_.nodes_[id];
  if (!asked_ || node.python || node.versioned || node.attrs || node.others || std::binary_search(asked_->begin(), asked_->end(), id))
    return false;
  for (const Guard& guard : node.guards)
    if (guard.kind != Kind::type || guard.ref.get() != reinterpret_cast<PyObject*>(&PyDict_Type)) return false;
  return true;
}

// The __dict__ of an object that is usually another one at each call: it need not be made for a look at it.
Result Walk::inline_dict(uint32_t id, PyObject* parent) {
  const Node& node = tree_.nodes_[id];
  NodeState& state = state_.nodes[id];
  state.value = nullptr;
  state.verified = false;
  state.version = 0;
  const py::InlineAttributes attributes(parent);
  for (uint32_t k = 0; k < node.items; ++k) {
    const uint32_t child = tree_.children_[node.first + k];
    const Key& key = tree_.nodes_[child].key;
    PyObject* name = key.get();
    if (!name) {
      tree_.dead_ = true;
      return fail(child, "the key is gone");
    }
    PyObject* value = PyUnicode_CheckExact(name) ? attributes[{name, key.hash}] : nullptr;
    if ((value ? verify(child, value, false) : missing(child)) == Result::fail) return Result::fail;
  }
  return Result::hot;
}

Result Walk::instance_dict(uint32_t id, PyObject* parent) {
  PyObject** slot = nullptr;
  py::Slot found = py::dict_slot(parent, &slot);
  if (found == py::Slot::unmade) {
    if (reads_inline(id) && py::InlineAttributes(parent).can_be_read()) return inline_dict(id, parent);
    py::make_dict(parent);
    state_.nodes[id].made = true;
    found = py::dict_slot(parent, &slot);
  }
  if (found == py::Slot::unmade) return fail(id, "no memory");
  if (found == py::Slot::none) return missing(id);
  const Node& node = tree_.nodes_[id];
  if (!*slot && !node.may_be_missing && (!node.guards.empty() || node.attrs || node.others)) py::make_dict(parent);
  return *slot ? verify(id, *slot, false) : empty_dict(id);
}

// `same`: the value is the living object that passed last time, so only what can change needs to be looked at.
Result Walk::verify(uint32_t id, PyObject* value, bool same) {
  const Node& node = tree_.nodes_[id];
  NodeState& state = state_.nodes[id];
  if (node.may_be_missing)
    return fail(id, node.missing_position, [&] { return "expected nothing there, found " + short_repr(value); });
  Own hold;
  if (node.python) hold = Own::share(value);  // what a guard runs may drop it

  if (same) {
    for (uint64_t mask = state.unstable; mask; mask &= mask - 1) {
      const Guard& guard = node.guards[static_cast<size_t>(__builtin_ctzll(mask))];
      if (native_ && guard_may_run_python(guard)) continue;
      if (!check_guard(guard, value)) return fail_guard(id, guard, value);
    }
  } else {
    state.verified = false;
    state.value = value;
    state.unstable = 0;
    for (size_t i = 0; i < node.guards.size(); ++i) {
      const Guard& guard = node.guards[i];
      if ((guard.kind == Kind::keys || guard.kind == Kind::len) && PyDict_Check(value)) continue;  // by version
      if (!guard_is_stable(guard, value)) state.unstable |= uint64_t{1} << i;
      if (native_ && guard_may_run_python(guard)) continue;
      if (!check_guard(guard, value)) return fail_guard(id, guard, value);
    }
  }
  bool hot = state.unstable != 0;

  if (node.versioned || node.items) {
    if (PyDict_Check(value)) {
      if (verify_items(id, value) == Result::fail) return Result::fail;
      hot = true;
    } else if (node.items) {
      return fail(id, 0, [&] { return "expected a dict, found " + short_repr(value); });
    }
  }
  if (node.attrs) {
    if (!PyType_Check(value)) return fail(id, 0, [&] { return "expected a class, found " + short_repr(value); });
    Result r = verify_attrs(id, reinterpret_cast<PyTypeObject*>(value));
    if (r == Result::fail) return r;
    if (r == Result::hot) hot = true;
  }
  if (node.others) {
    const uint32_t base = node.first + node.items + node.attrs;
    if (same) {
      for (uint32_t k = 0; k < state.hot_others; ++k)
        if (follow(state_.hot[base + k], value, true) == Result::fail) return Result::fail;
    } else {
      uint32_t hot_others = 0;
      for (uint32_t k = 0; k < node.others; ++k) {
        uint32_t child = tree_.children_[base + k];
        Result r = follow(child, value, false);
        if (r == Result::fail) return r;
        if (r == Result::hot) state_.hot[base + hot_others++] = child;
      }
      state.hot_others = hot_others;
    }
    if (state.hot_others) hot = true;
  }
  state.verified = true;
  return hot ? Result::hot : Result::cold;
}

bool Walk::whole_dict_guards(uint32_t id, PyObject* dict, bool only_odict_order) {
  for (const Guard& guard : tree_.nodes_[id].guards) {
    if (guard.kind != Kind::keys && (guard.kind != Kind::len || only_odict_order)) continue;
    if (only_odict_order && guard.keys.size() < 2) continue;  // one key has no order
    if (!check_guard(guard, dict)) return fail_guard(id, guard, dict) != Result::fail;
  }
  return true;
}

// Looks up the key of a node in a dict, and verifies what is there.
Result Walk::item(uint32_t id, PyObject* dict) {
  const Key& key = tree_.nodes_[id].key;
  PyObject* name = key.get();
  if (!name) {
    tree_.dead_ = true;
    return fail(id, "the key is gone");
  }
  if (native_ && key.may_run_python) return fail(id, "changed while it was being checked");
  PyObject* value = py::dict_lookup(dict, name, key.hash);
  if (!value && PyErr_Occurred()) {
    report_guard_error();
    return fail(id, "looking up the key failed");
  }
  return value ? verify(id, value, false) : missing(id);
}

Result Walk::verify_items(uint32_t id, PyObject* dict) {
  const Node& node = tree_.nodes_[id];
  NodeState& state = state_.nodes[id];
  const uint64_t version = py::dict_version(dict);
  if (version == state.version) {
    for (uint32_t k = 0; k < state.hot_items; ++k) {
      uint32_t child = state_.hot[node.first + k];
      if (node.python && py::dict_version(dict) != version) return fail(id, "changed while it was being checked");
      if (verify(child, state_.nodes[child].value, true) == Result::fail) return Result::fail;
    }
    // Moving a key of an OrderedDict to the end does not touch the version of the dict that it is.
    if (node.versioned && PyODict_Check(dict) && !whole_dict_guards(id, dict, true)) return Result::fail;
    return Result::hot;
  }
  state.version = 0;
  if (node.versioned && !whole_dict_guards(id, dict, false)) return Result::fail;
  uint32_t hot = 0;
  for (uint32_t k = 0; k < node.items; ++k) {
    uint32_t child = tree_.children_[node.first + k];
    Result r = item(child, dict);
    if (r == Result::fail) return r;
    if (r == Result::hot) state_.hot[node.first + hot++] = child;
  }
  if (py::dict_version(dict) != version) return fail(id, "changed while it was being checked");
  state.hot_items = hot;
  state.version = version;
  return Result::hot;
}

Result Walk::verify_attrs(uint32_t id, PyTypeObject* type) {
  const Node& node = tree_.nodes_[id];
  NodeState& state = state_.nodes[id];
  const uint32_t base = node.first + node.items;
  uint64_t version = py::type_version(type);
  if (version != 0 && version == state.version) {
    for (uint32_t k = 0; k < state.hot_attrs; ++k) {
      uint32_t child = state_.hot[base + k];
      if (node.python && py::type_version(type) != version) return fail(id, "changed while it was being checked");
      if (verify(child, state_.nodes[child].value, true) == Result::fail) return Result::fail;
    }
  } else {
    state.version = 0;
    if (version == 0) {  // a lookup gives the type a version if it can have one
      (void)py::type_lookup(type, tree_.nodes_[tree_.children_[base]].object.get());
      version = py::type_version(type);
    }
    uint32_t hot = 0;
    for (uint32_t k = 0; k < node.attrs; ++k) {
      uint32_t child = tree_.children_[base + k];
      PyObject* value = py::type_lookup(type, tree_.nodes_[child].object.get());
      Result r = value ? verify(child, value, false) : missing(child);
      if (r == Result::fail) return r;
      if (r == Result::hot) state_.hot[base + hot++] = child;
    }
    if (py::type_version(type) != version) return fail(id, "changed while it was being checked");
    state.hot_attrs = hot;
    state.version = version;
  }
  return py::type_can_change(type) || state.hot_attrs ? Result::hot : Result::cold;
}

// Reads the child of `parent` and verifies it. The result is cold only if the link itself can never change.
Result Walk::follow(uint32_t id, PyObject* parent, bool same) {
  const Node& node = tree_.nodes_[id];
  auto fresh = [&](PyObject* value) {
    Result r = value ? verify(id, value, false) : missing(id);
    return r == Result::cold ? Result::hot : r;
  };
  auto fixed = [&](PyObject* value) { return verify(id, value, same && state_.nodes[id].value == value); };
  auto wrong = [&](const char* want) {
    return fail(id, 0, [&] { return std::string("expected ") + want + ", found " + short_repr(parent); });
  };
  switch (node.access) {
    case Access::dict: {
      Result r = instance_dict(id, parent);
      return r == Result::cold ? Result::hot : r;
    }
    case Access::attr: {
      NodeState& state = state_.nodes[id];
      if (native_) return fresh(state.value);
      PyObject* found = nullptr;
      if (_PyObject_LookupAttr(parent, node.object.get(), &found) < 0) {
        report_guard_error();
        return fail(id, "reading the attribute failed");
      }
      Own old = std::move(state.owned);
      state.owned = Own::steal(found);
      return fresh(found);
    }
    case Access::call: {
      NodeState& state = state_.nodes[id];
      if (native_) return fresh(state.value);
      PyObject* found = PyObject_CallOneArg(node.object.get(), parent);
      if (!found) {
        report_guard_error();
        return fail(id, "the call failed");
      }
      Own old = std::move(state.owned);
      state.owned = Own::steal(found);
      return fresh(found);
    }
    case Access::index:
      if (PyTuple_Check(parent)) {
        if (node.index >= PyTuple_GET_SIZE(parent)) return missing(id);
        return fixed(PyTuple_GET_ITEM(parent, node.index));
      }
      if (!PyList_Check(parent)) return wrong("a list or tuple");
      return fresh(node.index < PyList_GET_SIZE(parent) ? PyList_GET_ITEM(parent, node.index) : nullptr);
    case Access::type: {
      PyTypeObject* type = Py_TYPE(parent);
      Result r = verify(id, reinterpret_cast<PyObject*>(type), false);
      return r == Result::cold && py::instances_can_change_type(type) ? Result::hot : r;
    }
    case Access::cell: return PyCell_Check(parent) ? fresh(PyCell_GET(parent)) : wrong("a cell");
    case Access::code:
    case Access::defaults:
    case Access::kwdefaults:
    case Access::func_closure:
    case Access::func_globals: {
      if (!PyFunction_Check(parent)) return wrong("a function");
      auto fn = reinterpret_cast<PyFunctionObject*>(parent);
      PyObject* value = node.access == Access::code           ? fn->func_code
                        : node.access == Access::defaults     ? fn->func_defaults
                        : node.access == Access::kwdefaults   ? fn->func_kwdefaults
                        : node.access == Access::func_closure ? fn->func_closure
                                                              : fn->func_globals;
      return fresh(value ? value : Py_None);
    }
    case Access::method_self:
      if (PyMethod_Check(parent)) return fixed(PyMethod_GET_SELF(parent));
      if (PyCFunction_Check(parent) && PyCFunction_GET_SELF(parent)) return fixed(PyCFunction_GET_SELF(parent));
      return wrong("a bound method");
    case Access::gen_function:
    case Access::gen_handled:
    case Access::gen_slot: {  // of one that was seen to wait at its place, or to run elsewhere
      if (!PyGen_CheckExact(parent) || (py::generator_waits(parent) < py::Waits::at_start && !py::generator_is_away(parent)))
        return wrong("a generator that waits");
      if (node.access == Access::gen_function) return fresh(reinterpret_cast<PyObject*>(py::generator_function(parent)));
      if (node.access == Access::gen_handled) {
        PyObject* handled = *py::generator_handles(parent);
        return fresh(handled == Py_None ? nullptr : handled);
      }
      const py::Slots slots = py::generator_slots(parent);
      return fresh(node.index < slots.count ? slots.at[node.index] : nullptr);
    }
    case Access::method_func: return PyMethod_Check(parent) ? fixed(PyMethod_GET_FUNCTION(parent)) : wrong("a bound method");
    case Access::local:
    case Access::globals:
    case Access::closure:
    case Access::object:
    case Access::dictitem:
    case Access::typeattr: break;
  }
  return fail(id, "cannot be read");
}

bool Walk::root(uint32_t id) {
  const Node& node = tree_.nodes_[id];
  PyObject* value = nullptr;
  bool same = false;
  switch (node.access) {
    case Access::local:
      if (node.index < call_.count) value = call_.values[node.index];
      break;
    case Access::globals:
      if (call_.func) value = call_.func->func_globals;
      break;
    case Access::closure: {
      PyObject* closure = call_.func ? call_.func->func_closure : nullptr;
      if (closure && node.index < PyTuple_GET_SIZE(closure)) value = PyTuple_GET_ITEM(closure, node.index);
      break;
    }
    case Access::object:
      value = node.root.get();
      if (!value) {
        tree_.dead_ = true;
        return fail(id, "the object is gone") != Result::fail;
      }
      same = state_.nodes[id].verified && state_.nodes[id].value == value;  // alive all the time: it is the same one
      break;
    default: break;
  }
  return (value ? verify(id, value, same) : missing(id)) != Result::fail;
}

bool Walk::distinct(const TailGuard& guard, std::vector<PyObject*>& seen) {
  bool changed = false;
  for (size_t i = 0; i < guard.nodes.size(); ++i) {
    PyObject* value = value_of(guard.nodes[i]);
    changed |= seen[i] != value;
    seen[i] = value;
  }
  if (!changed) return true;  // these addresses were found to differ before
  // The second half is scratch space for sorting.
  auto middle = seen.begin() + static_cast<std::ptrdiff_t>(guard.nodes.size());
  std::copy(seen.begin(), middle, middle);
  std::sort(middle, seen.end());
  if (std::adjacent_find(middle, seen.end()) == seen.end()) return true;
  seen[0] = nullptr;  // not proven: look again next time
  return false;
}

bool Walk::unshared(const TailGuard& guard) {
  std::vector<MemorySpan>& spans = state_.spans;
  spans.clear();
  for (size_t i = 0; i < guard.nodes.size(); ++i) {
    PyObject* value = value_of(guard.nodes[i]);
    MemorySpan span;
    if (!value || !tensor_span(value, &span)) return false;
    span.changed = i < guard.changed;
    if (span.start != span.end) spans.push_back(span);
  }
  std::sort(spans.begin(), spans.end(), [](const MemorySpan& a, const MemorySpan& b) { return a.start < b.start; });
  uintptr_t end = 0, changed_end = 0;  // of the spans so far
  for (const MemorySpan& span : spans) {
    if (span.start < (span.changed ? end : changed_end)) return false;
    end = std::max(end, span.end);
    if (span.changed) changed_end = std::max(changed_end, span.end);
  }
  return true;
}

bool Walk::shape(const TailGuard& guard) {
  Number* numbers = state_.numbers.data();
  for (const TailGuard::Input& input : guard.inputs) {
    PyObject* value = value_of(input.node);
    if (!value) return false;
    using What = TailGuard::Input::What;
    if (input.what == What::integer || input.what == What::real) {
      if (!number_of(value, input.what == What::real, numbers)) return false;
    } else {
      TensorNumber what = input.what == What::size     ? TensorNumber::size
                          : input.what == What::stride ? TensorNumber::stride
                                                       : TensorNumber::offset;
      numbers->is_float = false;
      if (!tensor_number(value, what, input.dim, &numbers->i)) return false;
    }
    ++numbers;
  }
  return guard.program.holds(state_.numbers.data(), state_.stack.data());
}

bool Walk::quiet(const TailGuard& guard) {
  PyObject* holder = value_of(guard.nodes[0]);
  Own value = holder ? held_there(guard.held_by, holder, guard.fn.get()) : Own();
  if (!value) return true;
  std::vector<PyObject*> apart;
  for (size_t k = 1; k < guard.nodes.size(); ++k)
    if (PyObject* one = value_of(guard.nodes[k])) apart.push_back(one);
  return !is_observed(value.get(), apart.data(), apart.size(), guard.changed);
}

// Classes were registered with abstract base classes: only Python can tell whether that changes one of the answers.
bool Walk::unregistered(TailGuard& guard) {
  const uint64_t count = count_registrations();
  if (count == guard.registrations) return true;
  if (native_) return false;
  ran_python_ = true;
  const HookOff off;
  Own fn = Own::share(guard.fn.get());
  Own result = Own::steal(PyObject_CallNoArgs(fn.get()));
  const int truth = result ? PyObject_IsTrue(result.get()) : -1;
  if (truth < 0) report_guard_error();
  if (truth > 0) guard.registrations = count;
  return truth > 0;
}

bool Walk::tail(size_t i) {
  const TailGuard& guard = tree_.tail_[i];
  auto value = [&](size_t k) { return value_of(guard.nodes[k]); };
  bool ok = true;
  switch (guard.kind) {
    case TailGuard::Kind::alias: ok = value(0) == value(1); break;
    case TailGuard::Kind::distinct: ok = distinct(guard, state_.distinct[i]); break;
    case TailGuard::Kind::unshared: ok = unshared(guard); break;
    case TailGuard::Kind::shape: ok = shape(guard); break;
    case TailGuard::Kind::global_state:
      ok = global_state_matches(*guard.state);
      if (!ok && global_state_dead(*guard.state)) tree_.dead_ = true;
      break;
    case TailGuard::Kind::quiet: ok = quiet(guard); break;
    case TailGuard::Kind::unregistered: ok = unregistered(tree_.tail_[i]); break;
    case TailGuard::Kind::py: {
      if (native_) return true;
      Own args = Own::steal(PyTuple_New(static_cast<Py_ssize_t>(guard.nodes.size())));
      for (size_t k = 0; args && k < guard.nodes.size(); ++k)
        PyTuple_SET_ITEM(args.get(), static_cast<Py_ssize_t>(k), Py_NewRef(value(k) ? value(k) : Py_None));
      Own result = Own::steal(args ? PyObject_Call(guard.fn.get(), args.get(), nullptr) : nullptr);
      int truth = result ? PyObject_IsTrue(result.get()) : -1;
      if (truth < 0) report_guard_error();
      ok = truth > 0;
      break;
    }
  }
  if (ok || !why_) return ok;
  why_->node = -1;
  why_->position = guard.position;
  auto path = [&](size_t k) { return tree_.path(guard.nodes[k], call_.func); };
  switch (guard.kind) {
    case TailGuard::Kind::alias: why_->text = "expected " + path(0) + " and " + path(1) + " to be the same object"; break;
    case TailGuard::Kind::distinct: {
      why_->text = "expected different objects";
      for (size_t a = 0; a < guard.nodes.size(); ++a)
        for (size_t b = a + 1; b < guard.nodes.size(); ++b)
          if (value(a) == value(b)) {
            why_->text = "expected " + path(a) + " and " + path(b) + " to be different objects";
            return false;
          }
      break;
    }
    case TailGuard::Kind::unshared: why_->text = "an input that is changed in place shares memory with another"; break;
    case TailGuard::Kind::global_state: why_->text = "global state: " + global_state_mismatch(*guard.state); break;
    case TailGuard::Kind::shape:
    case TailGuard::Kind::quiet:
    case TailGuard::Kind::unregistered:
    case TailGuard::Kind::py: why_->text = "no longer true: " + guard.text; break;
  }
  return false;
}

bool Walk::loose(uint32_t id, PyObject* parent) {
  if (!parent) return root(id);
  const Node& node = tree_.nodes_[id];
  if (node.access == Access::dictitem) return item(id, parent) != Result::fail;
  if (node.access != Access::typeattr) return follow(id, parent, false) != Result::fail;
  PyObject* value = py::type_lookup(reinterpret_cast<PyTypeObject*>(parent), node.object.get());
  return (value ? verify(id, value, false) : missing(id)) != Result::fail;
}

bool Walk::run() {
  for (size_t i = 0; i < tree_.tail_.size(); ++i)  // cheap, and tells many entries apart
    if (tree_.tail_[i].kind == TailGuard::Kind::global_state && !tail(i)) return false;
  for (uint32_t id : tree_.roots_)
    if (!root(id)) return false;
  for (size_t i = 0; i < tree_.tail_.size(); ++i)
    if (tree_.tail_[i].kind != TailGuard::Kind::global_state && !tail(i)) return false;
  return true;
}

}  // namespace alt
