#include "guard_scan.h"

#include <algorithm>
#include <utility>

namespace alt {

namespace {
constexpr uint8_t kLinkMoves = 2, kContentMoves = 3;
}

// ---- making it ------------------------------------------------------------------------------------------------------

GuardScan::GuardScan(GuardTree& tree, TreeState& state, const uint32_t* loads, size_t count, const GuardScan* before)
    : tree_(tree), state_(state), loads_(loads), count_(count), values_(tree.nodes_.size()), loaded_(count),
      pinned_(tree.nodes_.size()), versions_(tree.nodes_.size()), moved_(tree.nodes_.size()) {
  if (before) count_moves(*before);
  for (uint32_t id : tree.roots_) pin_root(id);
  end_segment();
  for (size_t i = 0; i < tree.tail_.size(); ++i) pin_tail(i);
  for (uint32_t i = 0; i < count; ++i) {
    loaded_[i] = values_[loads[i]] ? values_[loads[i]] : null_value;
    if (pinned_[loads[i]]) continue;
    reload_.emplace_back(i, loads[i]);
    asked_.push_back(loads[i]);
  }
  for (const Leaf& leaf : leaves_) asked_.erase(std::remove(asked_.begin(), asked_.end(), leaf.node), asked_.end());
  std::sort(asked_.begin(), asked_.end());
  asked_.erase(std::unique(asked_.begin(), asked_.end()), asked_.end());
  words_.finish();
  tensors_.finish();
  python_ = !python_checks_.empty();
  for (const Loose& loose : loose_) python_ |= tree.nodes_[loose.node].python;
  for (uint32_t i : tail_) python_ |= tree.tail_[i].kind == TailGuard::Kind::py;
}

void GuardScan::count_moves(const GuardScan& before) {
  auto up = [](uint8_t& n) { n = static_cast<uint8_t>(std::min(n + 1, 100)); };
  moved_ = before.moved_;
  for (size_t id = 0; id < moved_.size(); ++id) {
    if (!before.pinned_[id]) continue;
    PyObject* value = state_.nodes[id].value;
    // A new object may lie where the last one lay, and so may its __dict__.
    if (std::exchange(state_.nodes[id].made, false) || value != before.values_[id]) up(moved_[id].link);
    if (before.versions_[id] == 0 || !value) continue;
    const uint64_t version = PyDict_Check(value)   ? py::dict_version(value)
                             : PyType_Check(value) ? py::type_version(reinterpret_cast<PyTypeObject*>(value))
                                                   : 0;
    if (version != before.versions_[id]) up(moved_[id].contents);
  }
}

bool GuardScan::is_loose(uint32_t id) const { return moved_[id].link >= kLinkMoves; }

// Raises the level for the time of a scope.
class Below {
 public:
  Below(unsigned& level, unsigned by) : level_(level), by_(by) { level_ += by_; }
  ~Below() { level_ -= by_; }
  Below(const Below&) = delete;
  Below& operator=(const Below&) = delete;

 private:
  unsigned& level_;
  unsigned by_;
};

// Lookups come between segments: what is below them must not be looked at before.
void GuardScan::end_segment() {
  words_.end_segment();
  segments_.push_back(static_cast<uint32_t>(lookups_.size()));
}

void GuardScan::hold(const Ref& ref) {
  if (ref.weak()) word(py::weakref_word(ref.reference()), ref.target());
}

void GuardScan::pin_root(uint32_t id) {
  const Node& node = tree_.nodes_[id];
  PyObject* value = state_.nodes[id].value;
  if (node.access == Access::object) {
    hold(node.root);
    return pin(id, value, true);
  }
  const bool children = node.items || node.attrs || node.others;
  if (node.access == Access::local && !children && !node.python) return leaves_.push_back({id, node.index});
  if (!value || is_loose(id)) return loosen(id, nullptr);
  arguments_.push_back({node.access, node.index, value});
  pin(id, value, false);
}

void GuardScan::pin_missing(uint32_t id) {
  values_[id] = nullptr;
  pinned_[id] = true;
}

// `proven`: it is the very object that passed; otherwise only its address is known to be the same.
void GuardScan::pin(uint32_t id, PyObject* value, bool proven) {
  const Node& node = tree_.nodes_[id];
  values_[id] = value;
  pinned_[id] = true;
  const Below value_is_alive(level_, 1);
  const bool typed = pin_tensor(node, value, proven);
  for (const Guard& guard : node.guards) pin_guard(guard, value, proven, typed);
  const Below type_is_known(level_, 1);
  if ((node.versioned || node.items) && PyDict_Check(value)) pin_contents(id, value, node.first, node.items);
  if (node.attrs) pin_contents(id, value, node.first + node.items, node.attrs);
  const uint32_t* others = tree_.children_.data() + node.first + node.items + node.attrs;
  for (uint32_t k = 0; k < node.others; ++k) pin_link(others[k], value, proven);
}

// Guards on a tensor go to the table, if they fit. True: nothing but the table needs to know of what class it is.
bool GuardScan::pin_tensor(const Node& node, PyObject* value, bool proven) {
  bool in_table = false, typed = !node.items && !node.attrs && !node.others;
  for (const Guard& guard : node.guards) {
    if (guard.kind != Kind::tensor) continue;
    const bool marked = tensor_can_be_marked(*guard.tensor);
    if (tensors_.add(*guard.tensor, value) && (!marked || pin_no_marks(value))) in_table = true;
    else (guard_may_run_python(guard) ? python_checks_ : checks_).push_back({&guard, value});
    typed &= !marked;
  }
  if (in_table && !proven) word(py::type_word(value), Py_TYPE(value));  // or there might be no room for a tensor
  return in_table && typed;
}

// That a tensor has no attributes, hence no marks. False: it has some.
bool GuardScan::pin_no_marks(PyObject* value) {
  const py::NoAttributes words = py::no_attributes_words(value);
  if (!words.first[0] || py::has_attributes(value) || *words.first[0] != 0) return false;
  word(py::type_word(value), Py_TYPE(value));
  for (const uint64_t* at : words.first) word(at, *at, 1);
  if (words.second) word(words.second, *words.second, 2);
  return true;
}

// `typed`: that the class is the same is compared elsewhere.
void GuardScan::pin_guard(const Guard& guard, PyObject* value, bool proven, bool typed) {
  auto check = [&] { (guard_may_run_python(guard) ? python_checks_ : checks_).push_back({&guard, value}); };
  switch (guard.kind) {
    case Kind::type:
      if (proven && !py::instances_can_change_type(Py_TYPE(value))) return;
      if (!typed) word(py::type_word(value), Py_TYPE(value));
      return hold(guard.ref);
    case Kind::is:
      if (!proven) hold(guard.ref);
      return;
    case Kind::not_none: return;
    case Kind::value:
    case Kind::items:
      if (!proven || !guard_is_stable(guard, value)) check();
      return;
    case Kind::eq:
      if (value == guard.object.get()) return;  // which the guard holds
      if (!guard.plain) return check();
      if (!proven) constants_.push_back(Own::share(value));  // its address cannot come to mean another
      return;
    case Kind::len:
      if (PyDict_Check(value)) return;  // by version
      if (PyList_Check(value) || (!proven && PyTuple_Check(value)))
        return word(py::size_word(value), static_cast<uint64_t>(Py_SIZE(value)), 1);
      if (!proven || !guard_is_stable(guard, value)) check();
      return;
    case Kind::keys:
      if (PyODict_Check(value) && guard.keys.size() > 1) check();  // a version does not cover the order
      return;
    case Kind::tensor: return;  // see pin_tensor()
    case Kind::waits:
    case Kind::py: return check();
  }
}

// What a dict or a class holds: as a whole by its version, or key by key.
void GuardScan::pin_contents(uint32_t id, PyObject* owner, uint32_t first, uint32_t size) {
  const uint32_t* children = tree_.children_.data() + first;
  auto known = [&](uint32_t child, bool proven) {
    PyObject* value = state_.nodes[child].value;
    value ? pin(child, value, proven) : pin_missing(child);
  };
  const bool is_dict = PyDict_Check(owner);
  auto type = reinterpret_cast<PyTypeObject*>(owner);
  const uint64_t version = is_dict ? py::dict_version(owner) : py::type_version(type);
  versions_[id] = version;
  if (!is_dict && !py::type_can_change(type)) {
    for (uint32_t k = 0; k < size; ++k) known(children[k], true);
    return;
  }
  if (version != 0 && moved_[id].contents < kContentMoves) {
    const uint64_t* at = is_dict ? py::version_word(owner) : py::type_version_word(type);
    word(at, *at);
    const Below contents_are_known(level_, 1);
    for (uint32_t k = 0; k < size; ++k) known(children[k], true);
    return;
  }
  if (is_dict && tree_.nodes_[id].versioned) lookups_.push_back({id, true, owner, nullptr});
  auto looked_up = [&](uint32_t child) { return !is_loose(child) && !tree_.nodes_[child].key.may_run_python; };
  for (uint32_t k = 0; k < size; ++k) {
    if (looked_up(children[k])) lookups_.push_back({children[k], false, owner, state_.nodes[children[k]].value});
    else loosen(children[k], owner);
  }
  end_segment();
  for (uint32_t k = 0; k < size; ++k)
    if (looked_up(children[k])) known(children[k], false);
}

void GuardScan::pin_field(uint32_t id, const void* at, PyObject* value) {
  word(at, value);
  value ? pin(id, value, false) : pin_missing(id);
}

// An attribute that is a field of the object: a slot of a Python class, a member of a C type.
void GuardScan::pin_member(uint32_t id, PyObject* parent, bool proven) {
  PyTypeObject* type = Py_TYPE(parent);
  PyObject** at = py::member_of(parent, tree_.nodes_[id].object.get());
  if (!at || (py::type_can_change(type) && py::type_version(type) == 0)) return loosen(id, parent);
  if (!proven || py::instances_can_change_type(type)) word(py::type_word(parent), type);
  const Below type_is_alive(level_, 1);
  if (py::type_can_change(type)) word(py::type_version_word(type), *py::type_version_word(type));
  const Below type_is_known(level_, 1);
  pin_field(id, at, *at);
}

void GuardScan::pin_dict(uint32_t id, PyObject* parent) {
  PyObject** slot = nullptr;
  if (py::dict_slot(parent, &slot) != py::Slot::ready) return loosen(id, parent);
  if (*slot) return pin_field(id, slot, *slot);
  for (const void* at : py::empty_dict_words(parent, slot)) word(at, nullptr);
  const Node& node = tree_.nodes_[id];
  pin_missing(id);
  for (uint32_t k = 0; k < node.items; ++k) pin_missing(tree_.children_[node.first + k]);
}

void GuardScan::pin_index(uint32_t id, PyObject* parent, bool proven) {
  const Py_ssize_t index = tree_.nodes_[id].index;
  if (PyTuple_Check(parent)) {
    if (!proven) word(py::size_word(parent), static_cast<uint64_t>(Py_SIZE(parent)));
    if (index >= PyTuple_GET_SIZE(parent)) return pin_missing(id);
    PyObject* item = PyTuple_GET_ITEM(parent, index);
    if (proven) return pin(id, item, true);
    const Below size_is_known(level_, 1);
    return pin_field(id, &PyTuple_GET_ITEM(parent, index), item);
  }
  if (!PyList_Check(parent)) return loosen(id, parent);
  word(py::size_word(parent), static_cast<uint64_t>(Py_SIZE(parent)));
  if (index >= PyList_GET_SIZE(parent)) return pin_missing(id);
  word(py::list_items_word(parent), *py::list_items_word(parent));
  const Below items_are_there(level_, 1);
  pin_field(id, &PyList_GET_ITEM(parent, index), PyList_GET_ITEM(parent, index));
}

void GuardScan::pin_link(uint32_t id, PyObject* parent, bool proven) {
  const Node& node = tree_.nodes_[id];
  if (is_loose(id)) return loosen(id, parent);
  auto fn = reinterpret_cast<PyFunctionObject*>(parent);
  auto field = [&](PyObject*& at) {  // an empty field reads as None
    word(&at, at);
    pin(id, at ? at : Py_None, at == nullptr);
  };
  auto fixed = [&](PyObject*& at) { proven ? pin(id, at, true) : pin_field(id, &at, at); };
  switch (node.access) {
    case Access::dict: return pin_dict(id, parent);
    case Access::attr: return pin_member(id, parent, proven);
    case Access::index: return pin_index(id, parent, proven);
    case Access::type:
      if (!proven || py::instances_can_change_type(Py_TYPE(parent))) word(py::type_word(parent), Py_TYPE(parent));
      return pin(id, reinterpret_cast<PyObject*>(Py_TYPE(parent)), false);
    case Access::cell: return pin_field(id, py::cell_word(parent), PyCell_GET(parent));
    case Access::code: return field(fn->func_code);
    case Access::defaults: return field(fn->func_defaults);
    case Access::kwdefaults: return field(fn->func_kwdefaults);
    case Access::func_closure: return field(fn->func_closure);
    case Access::func_globals: return field(fn->func_globals);
    case Access::method_self:
      if (PyMethod_Check(parent)) return fixed(reinterpret_cast<PyMethodObject*>(parent)->im_self);
      return fixed(reinterpret_cast<PyCFunctionObject*>(parent)->m_self);
    case Access::method_func: return fixed(reinterpret_cast<PyMethodObject*>(parent)->im_func);
    default: return loosen(id, parent);
  }
}

void GuardScan::pin_tail(size_t i) {
  const TailGuard& guard = tree_.tail_[i];
  const bool all_pinned = std::all_of(guard.nodes.begin(), guard.nodes.end(), [&](uint32_t id) { return pinned_[id]; });
  auto ask = [&](uint32_t id) {
    if (!pinned_[id]) asked_.push_back(id);
  };
  for (uint32_t id : guard.nodes) ask(id);
  for (const TailGuard::Input& input : guard.inputs) ask(input.node);
  switch (guard.kind) {
    case TailGuard::Kind::global_state: return states_.push_back(static_cast<uint32_t>(i));
    case TailGuard::Kind::unregistered: return unregistered_.push_back(static_cast<uint32_t>(i));
    case TailGuard::Kind::alias:
      if (all_pinned) return;
      break;
    case TailGuard::Kind::distinct: {
      if (all_pinned) return;
      Distinct made;
      for (uint32_t id : guard.nodes) pinned_[id] ? made.fixed.push_back(values_[id]) : made.others.push_back(id);
      if (made.others.size() > 16) break;
      std::sort(made.fixed.begin(), made.fixed.end());
      return distinct_.push_back(std::move(made));
    }
    default: break;
  }
  tail_.push_back(static_cast<uint32_t>(i));
}

// ---- running it -----------------------------------------------------------------------------------------------------

bool GuardScan::leaves(const Call& call) {
  for (const Leaf& leaf : leaves_) {
    const Node& node = tree_.nodes_[leaf.node];
    PyObject* value = leaf.index < call.count ? call.values[leaf.index] : nullptr;
    values_[leaf.node] = value;
    if ((value == nullptr) != node.may_be_missing) return false;
    if (!value) continue;
    for (const Guard& guard : node.guards) {
      if (check_guard(guard, value)) continue;
      if ((guard.kind == Kind::is || guard.kind == Kind::type || guard.kind == Kind::waits) && guard.ref.dead()) tree_.dead_ = true;
      return false;
    }
  }
  return true;
}

bool GuardScan::global_state() {
  for (uint32_t i : states_) {
    const GlobalState& state = *tree_.tail_[i].state;
    if (global_state_matches(state)) continue;
    if (global_state_dead(state)) tree_.dead_ = true;
    return false;
  }
  return true;
}

bool GuardScan::unregistered() const {
  if (unregistered_.empty()) return true;
  const uint64_t count = count_registrations();
  return std::all_of(unregistered_.begin(), unregistered_.end(), [&](uint32_t i) { return tree_.tail_[i].registrations == count; });
}

bool GuardScan::arguments(const Call& call) const {
  for (const Argument& argument : arguments_) {
    PyObject* value = nullptr;
    if (argument.access == Access::local) {
      if (argument.index < call.count) value = call.values[argument.index];
    } else if (argument.access == Access::globals) {
      if (call.func) value = call.func->func_globals;
    } else if (PyObject* closure = call.func ? call.func->func_closure : nullptr) {
      if (argument.index < PyTuple_GET_SIZE(closure)) value = PyTuple_GET_ITEM(closure, argument.index);
    }
    if (value != argument.expected) return false;
  }
  return true;
}

bool GuardScan::lookup(const Lookup& item) const {
  const Node& node = tree_.nodes_[item.node];
  if (item.whole) {
    for (const Guard& guard : node.guards)
      if ((guard.kind == Kind::keys || guard.kind == Kind::len) && !check_guard(guard, item.owner)) return false;
    return true;
  }
  if (node.access == Access::typeattr)
    return py::type_lookup(reinterpret_cast<PyTypeObject*>(item.owner), node.object.get()) == item.expected;
  PyObject* name = node.key.get();
  if (!name) return false;
  PyObject* value = py::dict_lookup(item.owner, name, node.key.hash);
  if (!value && PyErr_Occurred()) {
    PyErr_Clear();
    return false;
  }
  return value == item.expected;
}

bool GuardScan::fixed(const Call& call) {
  if (!arguments(call)) return false;
  const Lookup* item = lookups_.data();
  for (size_t i = 0; i < segments_.size(); ++i) {
    if (!words_.unchanged(i)) return false;
    for (const Lookup* end = lookups_.data() + segments_[i]; item != end; ++item)
      if (!lookup(*item)) return false;
  }
  if (!tensors_.match()) return false;
  for (const Check& check : checks_)
    if (!check_guard(*check.guard, check.value)) return false;
  return true;
}

bool GuardScan::distinct(const Distinct& guard) const {
  for (size_t i = 0; i < guard.others.size(); ++i) {
    PyObject* value = values_[guard.others[i]];
    if (std::binary_search(guard.fixed.begin(), guard.fixed.end(), value)) return false;
    for (size_t k = 0; k < i; ++k)
      if (values_[guard.others[k]] == value) return false;
  }
  return true;
}

// What is read anew at each call, and the facts that tie values together.
GuardScan::Verdict GuardScan::rest(const Call& call, bool native, bool after_python) {
  const bool asks = after_python && !unregistered_.empty();
  if (loose_.empty() && tail_.empty() && distinct_.empty() && python_checks_.empty() && !asks) return Verdict::holds;
  const Verdict no = after_python || tree_.python_ ? Verdict::unknown : Verdict::fails;
  if (!native)
    for (const Check& check : python_checks_)
      if (!check_guard(*check.guard, check.value)) return Verdict::unknown;
  Walk walk(tree_, state_, call, native, nullptr, values_.data(), &asked_);
  for (const Loose& loose : loose_)
    if (!walk.loose(loose.node, loose.parent)) return no;
  for (uint32_t id : asked_) values_[id] = state_.nodes[id].value;
  for (const Distinct& guard : distinct_)
    if (!distinct(guard)) return no;
  for (uint32_t i : tail_)
    if (!walk.tail(i)) return no;
  if (asks)
    for (uint32_t i : unregistered_)
      if (!walk.tail(i)) return no;
  return Verdict::holds;
}

GuardScan::Verdict GuardScan::run(const Call& call) {
  if (!leaves(call) || !global_state()) return Verdict::fails;
  if (!fixed(call)) return Verdict::unknown;
  Verdict verdict;
  if (!python_ && unregistered()) {
    verdict = rest(call, false, false);
  } else {
    {
      std::vector<Own> held;  // Python code may drop what a later guard looks at
      for (const Check& check : python_checks_) held.push_back(Own::share(check.value));
      for (const Loose& loose : loose_)
        if (loose.parent) held.push_back(Own::share(loose.parent));
      verdict = rest(call, false, true);
    }
    // Look at everything once more, at one stroke; after this nothing runs until the values have been taken.
    if (verdict == Verdict::holds) {
      if (!leaves(call) || !global_state() || !fixed(call)) return Verdict::unknown;
      verdict = rest(call, true, true);
    }
  }
  if (verdict == Verdict::holds)
    for (auto [position, id] : reload_) loaded_[position] = values_[id] ? values_[id] : null_value;
  return verdict;
}

}  // namespace alt
