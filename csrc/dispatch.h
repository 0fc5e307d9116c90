// Which of many entries can fit a call: by the values on which their guards differ, read once.
//
// A probe is a path that every entry guards with something that is known beforehand: a constant, an object, a type, the
// dtype and sizes of a tensor. The signature of an entry is what its guards expect at the probes; a call has one too, and an
// entry with another one cannot fit. So equal signatures decide nothing, and the order of the entries stays as it is.
#pragma once

#include "guard_tree.h"

#include <unordered_map>

namespace alt {

class Dispatch {
 public:
  // Chooses the probes; gives the signatures in the order of the trees. Runs no Python.
  std::vector<uint64_t> build(const std::vector<const GuardTree*>& trees);
  bool useful() const { return !probes_.empty(); }
  uint64_t signature(const Call& call) const;

  // What the guards of the first nodes of a tree expect, by path.
  using Known = std::unordered_map<std::string, std::pair<uint32_t, uint64_t>>;  // path -> node, what is expected there

 private:
  struct Step {
    Access access;
    Py_ssize_t index;
    Own object;  // the key, or the root, or a weak reference to the root
    Py_hash_t hash;
    bool weak;
  };
  using Probe = std::vector<Step>;
  Probe probe_of(const GuardTree& tree, uint32_t id) const;
  static PyObject* read(const Probe& probe, const Call& call);
  std::vector<Probe> probes_;
};

}  // namespace alt
