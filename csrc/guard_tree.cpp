#include "guard_scan.h"

#include <algorithm>
#include <cstring>

namespace alt {

// ---- the tree -------------------------------------------------------------------------------------------------------

int64_t GuardTree::live_trees = 0;
int64_t GuardTree::live_nodes = 0;

TreeState::TreeState(const GuardTree& tree)
    : nodes(tree.nodes_.size()), hot(tree.children_.size()), numbers(tree.max_inputs_), stack(tree.max_depth_ + 1) {
  for (const TailGuard& guard : tree.tail_)
    distinct.emplace_back(guard.kind == TailGuard::Kind::distinct ? 2 * guard.nodes.size() : 0);
}

GuardTree::GuardTree() { ++live_trees; }

GuardTree::~GuardTree() {
  --live_trees;
  live_nodes -= static_cast<int64_t>(nodes_.size());
}

bool GuardTree::walk(TreeState& state, const Call& call, Why* why) {
  Walk walk(*this, state, call, false, why);
  if (!walk.run()) return false;
  // What Python code did while it ran, after we had looked, does not escape us: look at all the rest once more, at one
  // stroke. After this walk nothing runs until the values have been taken.
  return !(python_ || walk.ran_python()) || Walk(*this, state, call, true, why).run();
}

// The guards have just been found to hold by a walk. A tree that changes all the time is left to the walk for longer and
// longer.
void GuardTree::make_scan(const uint32_t* loads, size_t count) {
  if (walks_left_ > 0) {
    --walks_left_;
    return;
  }
  scan_ = std::make_unique<GuardScan>(*this, *state_, loads, count, scan_.get());
  ++scans_;
  walks_left_ = scans_ < 16 ? 0 : 1u << std::min(scans_ - 16, 16u);
}

bool GuardTree::check(const Call& call, const uint32_t* loads, size_t count, PyObject** out, Why* why) {
  if (cleared_ && why) why->text = "the tree was taken apart by the garbage collector";
  if (cleared_ || (dead_ && !why)) return false;
  // A guard that runs Python can lead back here, as can another thread while that Python code runs.
  std::unique_ptr<TreeState> own;
  TreeState* state = state_.get();
  const bool shared = !busy_ && !why;
  if (!shared) {
    own = std::make_unique<TreeState>(*this);
    state = own.get();
  } else {
    busy_ = true;
  }
  using Verdict = GuardScan::Verdict;
  Verdict verdict = Verdict::unknown;
  if (shared && scan_ && scan_->serves(loads, count)) {
    verdict = scan_->run(call);
    if (verdict == Verdict::holds) scan_->take(out, count);
  }
  bool ok = verdict == Verdict::holds;
  if (verdict == Verdict::unknown) {
    ok = walk(*state, call, why);
    if (ok)
      for (size_t i = 0; i < count; ++i) {
        PyObject* value = state->nodes[loads[i]].value;
        out[i] = Py_NewRef(value ? value : null_value);
      }
    if (ok && shared) make_scan(loads, count);
  }
  // What was made for this check (the target of a weak reference, say) must not live on because of it.
  std::vector<Own> made;
  for (uint32_t id : makers_) made.push_back(std::move(state->nodes[id].owned));
  if (shared) busy_ = false;
  return ok;
}

PyObject* call_words = nullptr;

// What is called to read something, as the program would say it: `call_words` has a text with `{}` in it; else the name.
static std::string worded_call(PyObject* fn, const std::string& of) {
  KeepError keep;
  PyObject* words = PyDict_GetItemWithError(call_words, fn);
  if (!words) words = PyDict_GetItemWithError(call_words, reinterpret_cast<PyObject*>(Py_TYPE(fn)));
  const char* utf8 = words && PyUnicode_Check(words) ? PyUnicode_AsUTF8(words) : nullptr;
  const std::string text = utf8 ? utf8 : "";
  const size_t at = text.find("{}");
  if (at != std::string::npos) return text.substr(0, at) + of + text.substr(at + 2);
  Own name = Own::steal(PyObject_GetAttrString(fn, "__name__"));
  const char* known = name && PyUnicode_Check(name.get()) ? PyUnicode_AsUTF8(name.get()) : nullptr;
  return std::string(known ? known : "?") + "(" + of + ")";
}

// A class, function or module that is known wherever it was found: its name.
static std::string known_name(PyObject* obj) {
  const std::string text = PyType_Check(obj) ? type_name(reinterpret_cast<PyTypeObject*>(obj)) : short_repr(obj);
  for (const char* kind : {"function ", "module "})
    if (text.starts_with(kind)) return text.substr(std::strlen(kind));
  return text;
}

std::string GuardTree::path(uint32_t id, const PyFunctionObject* func) const {
  const Node& node = nodes_[id];
  std::string base = node.parent >= 0 ? path(static_cast<uint32_t>(node.parent), func) : "";
  auto name = [&] {
    const char* text = PyUnicode_Check(node.object.get()) ? PyUnicode_AsUTF8(node.object.get()) : nullptr;
    if (!text) PyErr_Clear();
    return std::string(text ? text : "?");
  };
  auto name_in = [&](PyObject* names) {
    KeepError keep;
    std::string result;
    if (names && PyTuple_Check(names) && node.index < PyTuple_GET_SIZE(names))
      if (const char* text = PyUnicode_AsUTF8(PyTuple_GET_ITEM(names, node.index))) result = text;
    PyErr_Clear();
    return result;
  };
  auto code_names = [&](PyObject* (*get)(PyCodeObject*)) {
    KeepError keep;
    Own names = Own::steal(func ? get(reinterpret_cast<PyCodeObject*>(func->func_code)) : nullptr);
    PyErr_Clear();
    return name_in(names.get());
  };
  switch (node.access) {
    case Access::local: {
      std::string text = code_names(PyCode_GetVarnames);
      return text.empty() ? "values[" + std::to_string(node.index) + "]" : text;
    }
    case Access::closure: {
      std::string text = code_names(PyCode_GetFreevars);
      return "closure[" + (text.empty() ? std::to_string(node.index) : "'" + text + "'") + "]";
    }
    case Access::globals: return "globals()";
    case Access::object: return node.root.get() ? known_name(node.root.get()) : "an object that is gone";
    case Access::dictitem: return base + "[" + short_repr(node.key.get()) + "]";
    case Access::typeattr: return base + "." + name();
    case Access::dict: return base + ".__dict__";
    case Access::attr: return base + "." + name();
    case Access::index: return base + "[" + std::to_string(node.index) + "]";
    case Access::type: return "type(" + base + ")";
    case Access::cell: return base + ".cell_contents";
    case Access::code: return base + ".__code__";
    case Access::defaults: return base + ".__defaults__";
    case Access::kwdefaults: return base + ".__kwdefaults__";
    case Access::func_closure: return base + ".__closure__";
    case Access::func_globals: return base + ".__globals__";
    case Access::method_self: return base + ".__self__";
    case Access::method_func: return base + ".__func__";
    case Access::gen_function: return "function(" + base + ")";
    case Access::gen_handled: return "handled(" + base + ")";
    case Access::gen_slot: return base + ".gi_frame[" + std::to_string(node.index) + "]";
    case Access::call: return worded_call(node.object.get(), base);
  }
  return base;
}

int GuardTree::traverse(visitproc visit, void* arg) {
  for (const Node& node : nodes_) {
    if (int stop = node.key.held.visit(visit, arg)) return stop;
    if (int stop = node.key.ref.visit(visit, arg)) return stop;
    if (int stop = node.object.visit(visit, arg)) return stop;
    if (int stop = node.root.visit(visit, arg)) return stop;
    for (const Guard& guard : node.guards) {
      if (int stop = guard.ref.visit(visit, arg)) return stop;
      if (int stop = guard.object.visit(visit, arg)) return stop;
      for (const Key& key : guard.keys) {
        if (int stop = key.held.visit(visit, arg)) return stop;
        if (int stop = key.ref.visit(visit, arg)) return stop;
      }
    }
  }
  for (const TailGuard& guard : tail_) {
    if (int stop = guard.fn.visit(visit, arg)) return stop;
    if (guard.state)
      if (int stop = visit_global_state(*guard.state, visit, arg)) return stop;
  }
  if (state_)
    for (const NodeState& node : state_->nodes)
      if (int stop = node.owned.visit(visit, arg)) return stop;
  return 0;
}

void GuardTree::clear() {
  dead_ = true;
  if (busy_ || cleared_) return;
  cleared_ = true;
  // Dropping references runs Python code, which must find a dead but consistent tree.
  std::vector<Own> dropped;
  for (Node& node : nodes_) {
    dropped.push_back(std::move(node.object));
    for (Guard& guard : node.guards) dropped.push_back(std::move(guard.object));
  }
  for (TailGuard& guard : tail_) dropped.push_back(std::move(guard.fn));
  if (state_)
    for (NodeState& node : state_->nodes) dropped.push_back(std::move(node.owned));
}

}  // namespace alt
