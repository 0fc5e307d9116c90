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

static Dispatch::Known known_of(const std::vector<Node>& nodes) {
  Dispatch::Known known;
  const size_t count = std::min(nodes.size(), kNodes);
  std::vector<std::string> paths(count);  // "": not for probes
  std::vector<int> depths(count);
  for (uint32_t id = 0; id < count; ++id) {
    const Node& node = nodes[id];
    std::string path;
    if (node.parent >= 0) {
      path = paths[static_cast<size_t>(node.parent)];
      depths[id] = depths[static_cast<size_t>(node.parent)] + 1;
      if (path.empty() || depths[id] > kDepth) continue;
    }
    path += static_cast<char>('A' + static_cast<int>(node.access));
    switch (node.access) {
      case Access::local:
      case Access::closure:
      case Access::index: path += std::to_string(node.index); break;
      case Access::globals:
      case Access::dict:
      case Access::cell: break;
      case Access::object: path += std::to_string(reinterpret_cast<uintptr_t>(node.root.get())); break;
      case Access::dictitem: {
        PyObject* key = node.key.get();
        const char* text = key && PyUnicode_CheckExact(key) ? PyUnicode_AsUTF8(key) : nullptr;
        if (!text) {
          PyErr_Clear();
          continue;
        }
        path += std::to_string(std::strlen(text)) + ":" + text;
        break;
      }
      default: continue;
    }
    uint64_t expected;
    if (expected_at(node, &expected)) known.emplace(path, std::make_pair(id, expected));
    paths[id] = std::move(path);
  }
  return known;
}

std::vector<uint64_t> Dispatch::build(const std::vector<const GuardTree*>& trees) {
  probes_.clear();
  std::vector<uint64_t> signatures(trees.size());
  std::vector<Known> known;
  for (const GuardTree* tree : trees) known.push_back(known_of(tree->nodes()));
  struct Candidate {
    std::vector<uint64_t> expected;
    size_t distinct;
    uint32_t node;
  };
  std::vector<Candidate> candidates;
  for (const auto& [path, first] : known[0]) {
    Candidate made{{}, 0, first.first};
    for (const Known& other : known) {
      auto found = other.find(path);
      if (found == other.end()) break;
      made.expected.push_back(found->second.second);
    }
    if (made.expected.size() != trees.size()) continue;
    std::vector<uint64_t> sorted = made.expected;
    std::sort(sorted.begin(), sorted.end());
    made.distinct = static_cast<size_t>(std::unique(sorted.begin(), sorted.end()) - sorted.begin());
    if (made.distinct > 1) candidates.push_back(std::move(made));
  }
  std::sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
    return a.distinct != b.distinct ? a.distinct > b.distinct : a.node < b.node;
  });
  if (candidates.size() > kProbes) candidates.resize(kProbes);
  for (const Candidate& candidate : candidates) {
    probes_.push_back(probe_of(*trees[0], candidate.node));
    for (size_t i = 0; i < trees.size(); ++i) signatures[i] = mix(signatures[i], candidate.expected[i]);
    if (candidate.distinct == trees.size()) break;  // tells all of them apart
  }
  return signatures;
}

Dispatch::Probe Dispatch::probe_of(const GuardTree& tree, uint32_t id) const {
  Probe probe;
  for (int at = static_cast<int>(id); at >= 0;) {
    const Node& node = tree.nodes()[static_cast<size_t>(at)];
    Step step{node.access, node.index, {}, node.key.hash, false};
    if (node.access == Access::dictitem) step.object = Own::share(node.key.get());
    if (node.access == Access::object) {  // weakly, where the tree holds it weakly
      step.weak = node.root.weak();
      step.object = Own::share(node.root.object());
    }
    probe.push_back(std::move(step));
    at = node.parent;
  }
  std::reverse(probe.begin(), probe.end());
  return probe;
}

PyObject* Dispatch::read(const Probe& probe, const Call& call) {
  PyObject* value = nullptr;
  for (const Step& step : probe) {
    switch (step.access) {
      case Access::local: value = step.index < call.count ? call.values[step.index] : nullptr; break;
      case Access::globals: value = call.func ? call.func->func_globals : nullptr; break;
      case Access::closure: {
        PyObject* closure = call.func ? call.func->func_closure : nullptr;
        value = closure && step.index < PyTuple_GET_SIZE(closure) ? PyTuple_GET_ITEM(closure, step.index) : nullptr;
        break;
      }
      case Access::object:
        value = step.weak ? PyWeakref_GET_OBJECT(step.object.get()) : step.object.get();
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
        value = PyDict_Check(value) ? py::dict_lookup(value, step.object.get(), step.hash) : nullptr;
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

uint64_t Dispatch::signature(const Call& call) const {
  KeepError keep;
  uint64_t result = 0;
  for (const Probe& probe : probes_) result = mix(result, signature_of(read(probe, call)));
  return result;
}

}  // namespace alt
