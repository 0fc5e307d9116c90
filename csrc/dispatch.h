// Which of many entries can fit a call: by the values on which their guards differ, read once.
//
// A probe is a path that every entry guards with something that is known beforehand: a constant, an object, a type, the
// dtype and sizes of a tensor. The signature of an entry is what its guards expect at the probes; a call has one too, and an
// entry with another one cannot fit. So equal signatures decide nothing, and the order of the entries stays as it is.
#pragma once

#include "guard_tree.h"

namespace alt {

// What the guards of the first nodes of a tree expect. Made once for each entry; entries come and go.
class Expectations {
 public:
  struct Row {
    uint64_t path;  // a hash: two paths that share one cost a wrong guess, that is, a capture too many
    uint64_t expected;
    uint32_t node;
  };
  explicit Expectations(const GuardTree& tree);  // runs no Python
  const Row* find(uint64_t path) const;          // null: many things could pass there
  const std::vector<Row>& rows() const { return rows_; }

 private:
  std::vector<Row> rows_;  // by path
};

class Dispatch {
 public:
  struct Member {
    const GuardTree* tree;
    const Expectations* expects;
    uint64_t signature;
  };
  // Chooses the probes, and gives each member its signature.
  void choose(std::vector<Member>* members);
  // Takes one more entry in. False: the probes do not tell it from the others, and other probes may.
  bool add(const Expectations& expects, uint64_t* signature);
  void remove(uint64_t signature);

  bool useful() const { return !probes_.empty(); }
  // False: an object that the probes begin with is gone.
  bool signature(const Call& call, uint64_t* out) const;
  bool any(uint64_t signature) const;  // whether an entry has it

 private:
  struct Step {
    Access access;
    Py_ssize_t index;
    Own key;
    Py_hash_t hash;
    Ref root;
  };
  struct Probe {
    uint64_t path;
    std::vector<Step> steps;
  };
  static Probe probe_of(const GuardTree& tree, const Expectations::Row& row);
  static PyObject* read(const Probe& probe, const Call& call);

  std::vector<Probe> probes_;
  std::vector<uint64_t> signatures_;  // of all entries, in no order
  size_t patience_ = 0;               // so many entries before others with equal signatures are a reason to choose anew
};

}  // namespace alt
