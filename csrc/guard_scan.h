// The flat form of a guard tree: what a call that hits has to look at, and nothing else, in one array.
//
// It is made from a tree whose guards have just been found to hold, and names by address whatever could change: the
// version of a dict, the type of an object, the slot of its __dict__, a cell, a field of a function, the state of a class,
// the target of a weak reference. Each is a machine word with the value that was found there. Words are
// compared level by level, parents first, so that an address is looked at only after everything that keeps it alive, and that
// says of what kind it is, has been found unchanged in the same pass; tensors come last, with their fields: an
// equal version of a dict proves that the dict is the same, with the same contents; an equal pointer proves only that some
// living object is there, and then the guards that hold of the object for ever are looked at as well.
//
// When a word has changed nothing is decided yet: the tree is walked, and says whether anything that was read differs.
// If not, the scan is made anew, and what moves again and again is left loose: looked up, or walked, at each call.
#pragma once

#include "guard_walk.h"
#include "tensor_table.h"
#include "word_table.h"

namespace alt {

class GuardScan {
 public:
  enum class Verdict : uint8_t { holds, fails, unknown };

  // Nothing has run since `tree` was found to hold. `before`: the scan that this one replaces, or null.
  GuardScan(GuardTree& tree, TreeState& state, const uint32_t* loads, size_t count, const GuardScan* before);

  // Whether it can give the values of these nodes.
  bool serves(const uint32_t* loads, size_t count) const { return count == 0 || (loads == loads_ && count == count_); }

  Verdict run(const Call& call);
  // After `holds`, before anything else has run: strong references to the values.
  void take(PyObject** out, size_t count) const {
    for (size_t i = 0; i < count; ++i) out[i] = Py_NewRef(loaded_[i]);
  }
  // How much there is to look at, by name.
  std::vector<std::pair<const char*, size_t>> sizes() const {
    return {{"words", words_.size()}, {"arguments", arguments_.size()}, {"leaves", leaves_.size()}, {"lookups", lookups_.size()},
            {"tensors", tensors_.size()}, {"checks", checks_.size()}, {"python checks", python_checks_.size()},
            {"loose", loose_.size()}, {"tail", tail_.size()}, {"distinct", distinct_.size()}};
  }

 private:
  struct Argument {  // a root that is read from the call
    Access access;
    Py_ssize_t index;
    PyObject* expected;
  };
  struct Leaf {  // an argument without children: usually another object at each call
    uint32_t node;
    Py_ssize_t index;
  };
  struct Lookup {  // in a dict or class that changes often: a key that keeps its value; or KEYS and LEN of the dict itself
    uint32_t node;
    bool whole;
    PyObject* owner;
    PyObject* expected;
  };
  struct Check {
    const Guard* guard;
    PyObject* value;
  };
  struct Loose {  // a subtree that is walked
    uint32_t node;
    PyObject* parent;  // null: a root
  };
  struct Distinct {
    std::vector<PyObject*> fixed;  // sorted
    std::vector<uint32_t> others;
  };
  // How often a value, and the contents of a dict or class, were found to have changed.
  struct Moved {
    uint8_t link = 0, contents = 0;
  };

  void count_moves(const GuardScan& before);
  void pin_root(uint32_t id);
  void pin(uint32_t id, PyObject* value, bool proven);
  void pin_missing(uint32_t id);
  void pin_guard(const Guard& guard, PyObject* value, bool proven, bool typed);
  bool pin_tensor(const Node& node, PyObject* value, bool proven);
  bool pin_no_marks(PyObject* value);
  void pin_contents(uint32_t id, PyObject* owner, uint32_t first, uint32_t size);
  void pin_link(uint32_t id, PyObject* parent, bool proven);
  void pin_dict(uint32_t id, PyObject* parent);
  void pin_index(uint32_t id, PyObject* parent, bool proven);
  void pin_field(uint32_t id, const void* at, PyObject* value);
  void pin_member(uint32_t id, PyObject* parent, bool proven);
  void pin_tail(size_t i);
  void word(const void* at, const void* expected, unsigned below = 0) { word(at, reinterpret_cast<uint64_t>(expected), below); }
  void word(const void* at, uint64_t expected, unsigned below = 0) {  // `below`: so many levels below the present one
    words_.add(at, expected, level_ + below);
  }
  void end_segment();
  void hold(const Ref& ref);  // the object that the reference means is alive
  void loosen(uint32_t id, PyObject* parent) { loose_.push_back({id, parent}); }
  bool is_loose(uint32_t id) const;

  bool leaves(const Call& call);
  bool global_state();
  bool unregistered() const;
  bool fixed(const Call& call);
  bool arguments(const Call& call) const;
  bool lookup(const Lookup& item) const;
  Verdict rest(const Call& call, bool native, bool after_python);
  bool distinct(const Distinct& guard) const;

  GuardTree& tree_;
  TreeState& state_;
  const uint32_t* loads_;
  size_t count_;
  bool python_ = false;  // a pass may run Python code

  std::vector<Leaf> leaves_;
  std::vector<Argument> arguments_;
  WordTable words_;
  std::vector<Lookup> lookups_;
  std::vector<uint32_t> segments_;    // where the lookups end that come behind each segment of words
  TensorTable tensors_;
  std::vector<Check> checks_;         // run no Python
  std::vector<Check> python_checks_;
  std::vector<Loose> loose_;
  std::vector<uint32_t> states_;      // tail guards on the global state
  std::vector<uint32_t> unregistered_;  // those that ask Python only after classes were registered
  std::vector<uint32_t> tail_;        // other tail guards that can change
  std::vector<Distinct> distinct_;
  std::vector<Own> constants_;        // held, so that their addresses mean them

  std::vector<PyObject*> values_;     // of all nodes that are pinned, and of others that are asked for
  std::vector<PyObject*> loaded_;     // the values of `loads_`, null_value for missing ones
  std::vector<uint32_t> asked_;       // loose nodes whose values are asked for
  std::vector<std::pair<uint32_t, uint32_t>> reload_;  // of loads_: position, node
  std::vector<bool> pinned_;
  std::vector<uint64_t> versions_;    // of dicts and classes that are pinned
  std::vector<Moved> moved_;
  unsigned level_ = 0;                // while it is made: what is known to be alive by words above
};

}  // namespace alt
