#include "dispatch.h"

#include <algorithm>
#include <cstring>

namespace alt {

namespace {

constexpr uint64_t kMissing = 1;
constexpr size_t kProbes = 3, kNodes = 3000;
constexpr int kDepth = 6;

uint64_t mix(uint64_t a, uint64_t b) {
  uint64_t x = (a ^ (b + 0x9E3779B97F4A7C15ull + (a << 6) + (a >> 2))) * 0xBF58476D1CE4E5B9ull;
  return x ^ (x >> 31);
}

// The same for any two values of which a guard that expects one lets the other pass.
uint64_t signature_of(PyObject* value) {
  if (!value) return kMissing;
  PyTypeObject* type = Py_TYPE(value);
  const uint64_t kind = reinterpret_cast<uint64_t>(type);
  if (type == &PyLong_Type || type == &PyBool_Type || type == &PyUnicode_Type || type == &PyBytes_Type)
    return mix(kind, static_cast<uint64_t>(PyObject_Hash(value)));
  if (type == &PyFloat_Type) {
    const double number = PyFloat_AS_DOUBLE(value);
    uint64_t bits;
    std::memcpy(&bits, &number, sizeof bits);
    return mix(kind, bits);
  }
  uint64_t tensor;
  if (tensor_signature(value, &tensor)) return tensor;
  return mix(kind, 2);
}

bool is_simple(PyTypeObject* type) {
  return type == &PyLong_Type || type == &PyBool_Type || type == &PyUnicode_Type || type == &PyBytes_Type ||
         type == &PyFloat_Type;
}

// What the guards of a node expect; false: many things could pass.
bool expected_at(const Node& node, uint64_t* out) {
  if (node.may_be_missing) return *out = kMissing, true;
  for (const Guard& guard : node.guards) {
    if (guard.kind == Kind::eq && guard.plain)
      return *out = signature_of(guard.object.get()), true;
    if (guard.kind == Kind::tensor) return spec_signature(*guard.tensor, out);
    if (guard.kind == Kind::is && guard.ref.get()) {
      PyObject* object = guard.ref.get();
      return !is_tensor(object) && !is_simple(Py_TYPE(object)) && (*out = signature_of(object), true);
    }
  }
  return false;
}

}  // namespace

Expectations::Expectations(const GuardTree& tree) {
  const std::vector<Node>& nodes = tree.nodes();
  const size_t count = std::min(nodes.size(), kNodes);
  std::vector<uint64_t> paths(count);  // 0: not for probes
  std::vector<int> depths(count);
  for (uint32_t id = 0; id < count; ++id) {
    const Node& node = nodes[id];
    uint64_t path = 0;
    if (node.parent >= 0) {
      path = paths[static_cast<size_t>(node.parent)];
      depths[id] = depths[static_cast<size_t>(node.parent)] + 1;
      if (path == 0 || depths[id] > kDepth) continue;
    }
    path = mix(path, static_cast<uint64_t>(node.access) + 1);
    switch (node.access) {
      case Access::local:
      case Access::closure:
      case Access::index: path = mix(path, static_cast<uint64_t>(node.index)); break;
      case Access::globals:
      case Access::dict:
      case Access::cell: break;
      case Access::object: path = mix(path, reinterpret_cast<uint64_t>(node.root.get())); break;
      case Access::dictitem: {
        PyObject* key = node.key.get();
        if (!key || !PyUnicode_CheckExact(key)) continue;
        path = mix(path, static_cast<uint64_t>(node.key.hash));
        break;
      }
      default: continue;
    }
    paths[id] = path;
    uint64_t expected;
    if (expected_at(node, &expected)) rows_.push_back({path, expected, id});
  }
  std::stable_sort(rows_.begin(), rows_.end(), [](const Row& a, const Row& b) { return a.path < b.path; });
  rows_.erase(std::unique(rows_.begin(), rows_.end(), [](const Row& a, const Row& b) { return a.path == b.path; }), rows_.end());
  rows_.shrink_to_fit();
}

const Expectations::Row* Expectations::find(uint64_t path) const {
  auto found = std::lower_bound(rows_.begin(), rows_.end(), path, [](const Row& row, uint64_t p) { return row.path < p; });
  return found != rows_.end() && found->path == path ? &*found : nullptr;
}

// Whether what the path of a node begins with still lives.
static bool begins_alive(const GuardTree& tree, uint32_t id) {
  const Node* node = &tree.nodes()[id];
  while (node->parent >= 0) node = &tree.nodes()[static_cast<size_t>(node->parent)];
  return node->access != Access::object || node->root.get();
}

void Dispatch::choose(std::vector<Member>* members) {
  probes_.clear();
  signatures_.clear();
  struct Candidate {
    std::vector<uint64_t> expected;
    size_t distinct;
    const Expectations::Row* row;
  };
  std::vector<Candidate> candidates;
  for (const Expectations::Row& row : members->front().expects->rows()) {
    if (!begins_alive(*members->front().tree, row.node)) continue;
    Candidate made{{}, 0, &row};
    for (const Member& member : *members) {
      const Expectations::Row* found = member.expects->find(row.path);
      if (!found) break;
      made.expected.push_back(found->expected);
    }
    if (made.expected.size() != members->size()) continue;
    std::vector<uint64_t> sorted = made.expected;
    std::sort(sorted.begin(), sorted.end());
    made.distinct = static_cast<size_t>(std::unique(sorted.begin(), sorted.end()) - sorted.begin());
    if (made.distinct > 1) candidates.push_back(std::move(made));
  }
  std::sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
    return a.distinct != b.distinct ? a.distinct > b.distinct : a.row->node < b.row->node;
  });
  if (candidates.size() > kProbes) candidates.resize(kProbes);
  for (Member& member : *members) member.signature = 0;
  for (const Candidate& candidate : candidates) {
    probes_.push_back(probe_of(*members->front().tree, *candidate.row));
    for (size_t i = 0; i < members->size(); ++i)
      (*members)[i].signature = mix((*members)[i].signature, candidate.expected[i]);
    if (candidate.distinct == members->size()) break;  // tells all of them apart
  }
  for (const Member& member : *members) signatures_.push_back(member.signature);
  patience_ = members->size() + members->size() / 2;
}

bool Dispatch::add(const Expectations& expects, uint64_t* signature) {
  uint64_t result = 0;
  for (const Probe& probe : probes_) {
    const Expectations::Row* found = expects.find(probe.path);
    if (!found) return false;
    result = mix(result, found->expected);
  }
  if (any(result) && signatures_.size() >= patience_) return false;
  signatures_.push_back(result);
  *signature = result;
  return true;
}

void Dispatch::remove(uint64_t signature) {
  auto found = std::find(signatures_.begin(), signatures_.end(), signature);
  if (found == signatures_.end()) return;
  *found = signatures_.back();
  signatures_.pop_back();
}

bool Dispatch::any(uint64_t signature) const {
  return std::find(signatures_.begin(), signatures_.end(), signature) != signatures_.end();
}

Dispatch::Probe Dispatch::probe_of(const GuardTree& tree, const Expectations::Row& row) {
  Probe probe{row.path, {}};
  for (int at = static_cast<int>(row.node); at >= 0;) {
    const Node& node = tree.nodes()[static_cast<size_t>(at)];
    Step step{node.access, node.index, {}, node.key.hash, {}};
    if (node.access == Access::dictitem) step.key = Own::share(node.key.get());
    if (node.access == Access::object && !Ref::make(node.root.get(), &step.root)) PyErr_Clear();
    probe.steps.push_back(std::move(step));
    at = node.parent;
  }
  std::reverse(probe.steps.begin(), probe.steps.end());
  return probe;
}

PyObject* Dispatch::read(const Probe& probe, const Call& call) {
  PyObject* value = nullptr;
  for (const Step& step : probe.steps) {
    switch (step.access) {
      case Access::local: value = step.index < call.count ? call.values[step.index] : nullptr; break;
      case Access::globals: value = call.func ? call.func->func_globals : nullptr; break;
      case Access::closure: {
        PyObject* closure = call.func ? call.func->func_closure : nullptr;
        value = closure && step.index < PyTuple_GET_SIZE(closure) ? PyTuple_GET_ITEM(closure, step.index) : nullptr;
        break;
      }
      case Access::object:
        value = step.root.get();
        break;
      case Access::dict: {
        PyObject** slot = nullptr;
        py::Slot found = py::dict_slot(value, &slot);
        if (found == py::Slot::unmade) {
          py::make_dict(value);
          found = py::dict_slot(value, &slot);
        }
        value = found == py::Slot::ready ? *slot : nullptr;
        break;
      }
      case Access::dictitem:
        value = PyDict_Check(value) ? py::dict_lookup(value, step.key.get(), step.hash) : nullptr;
        if (!value) PyErr_Clear();
        break;
      case Access::index:
        if (PyTuple_Check(value)) value = step.index < PyTuple_GET_SIZE(value) ? PyTuple_GET_ITEM(value, step.index) : nullptr;
        else if (PyList_Check(value)) value = step.index < PyList_GET_SIZE(value) ? PyList_GET_ITEM(value, step.index) : nullptr;
        else value = nullptr;
        break;
      case Access::cell: value = PyCell_Check(value) ? PyCell_GET(value) : nullptr; break;
      default: return nullptr;
    }
    if (!value) return nullptr;
  }
  return value;
}

bool Dispatch::signature(const Call& call, uint64_t* out) const {
  KeepError keep;
  uint64_t result = 0;
  for (const Probe& probe : probes_) {
    if (probe.steps[0].root.dead()) return false;
    result = mix(result, signature_of(read(probe, call)));
  }
  *out = result;
  return true;
}

}  // namespace alt
