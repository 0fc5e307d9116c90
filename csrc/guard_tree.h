// The guard tree: what a compiled entry relies on, checked natively at each call.
//
// After a check has passed, every node remembers the value it saw (borrowed) and, for a dict or a class, its version. On
// CPython 3.11 dict versions and type versions are unique over all dicts and types, so an equal version proves that it is
// the same dict with the same contents, and that all that it holds is alive and is what was verified. The walk goes from
// parents to children and uses a remembered pointer only where its parent has just been proven unchanged. Below such a
// parent only the "hot" children are visited: those with something of their own that can change. Trees that pass again and
// again are laid flat: see guard_scan.h.
#pragma once

#include "lifetimes.h"
#include "shape_program.h"
#include "tensor_check.h"
#include "util.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace alt {

enum class Access : uint8_t {
  local, globals, closure, object,                                               // roots
  dictitem,                                                                      // covered by the version of a dict
  typeattr,                                                                      // covered by the version of a class
  dict, attr, index, type, cell, code, defaults, kwdefaults, func_closure, func_globals, method_self, method_func, call,
  gen_function, gen_handled, gen_slot,
};

enum class Kind : uint8_t { type, is, eq, value, items, len, keys, tensor, not_none, waits, py };

// A key of a dict. Plain constants are held; other objects are held weakly where they can be.
struct Key {
  Ref ref;
  Own held;
  Py_hash_t hash = 0;
  bool may_run_python = false;

  static bool make(PyObject* obj, Key* out);
  PyObject* get() const { return held ? held.get() : ref.get(); }
  bool matches(PyObject* obj) const;  // identity, or equality of plain constants
};

struct Guard {
  Kind kind;
  int position = 0;  // in the node's tuple of guards
  bool plain = true;  // EQ: compared without running Python
  Ref ref;            // TYPE, IS; WAITS: the code
  Own object;         // EQ, VALUE: the constant; ITEMS: a tuple of constants; PY: the function
  Own layout;         // ITEMS: that of the set
  Py_ssize_t length = 0;  // LEN; WAITS: the place
  std::vector<Key> keys;
  TensorSpecPtr tensor;
  std::string text;
};

struct Node {
  Access access{};
  int parent = -1;
  bool may_be_missing = false;  // ABSENT or UNSET: and then it must be
  int missing_position = 0;
  bool python = false;  // checking this node or one below it may run Python code
  bool versioned = false;  // has guards on a dict as a whole (KEYS, LEN)
  Py_ssize_t index = 0;
  Key key;
  Own object;  // call: the callable; attr and typeattr: the name
  Ref root;    // object
  std::vector<Guard> guards;
  uint32_t first = 0;  // into GuardTree::children
  uint32_t items = 0, attrs = 0, others = 0;
};

struct TailGuard {
  enum class Kind : uint8_t { alias, distinct, unshared, global_state, shape, quiet, unregistered, py } kind;
  int position = 0;  // in the table; here those that run Python come last
  std::vector<uint32_t> nodes;
  std::string text;
  Own fn;  // py, unregistered: the function; quiet: a name
  GlobalStatePtr state;
  struct Input {
    uint32_t node;
    enum class What : uint8_t { size, stride, offset, integer, real } what;
    int64_t dim;
  };
  std::vector<Input> inputs;
  ShapeProgram program;
  uint64_t registrations = 0;  // unregistered: how many there were when it was last found to hold
  HeldBy held_by{};    // quiet: where the first node has what `fn` names
  size_t changed = 0;  // quiet: how many objects are looked through; unshared: how many nodes come first that share memory with no other
};

struct NodeState {
  PyObject* value = nullptr;  // borrowed; see above
  uint64_t version = 0;       // of the dict or class whose children were verified; 0: none
  uint64_t unstable = 0;      // guards that must run again even on the same object
  uint32_t hot_items = 0, hot_attrs = 0, hot_others = 0;
  bool verified = false;
  bool made = false;  // a __dict__ that the last walk had to make
  Own owned;  // the value of an access that makes its value anew
};

class GuardScan;
class GuardTree;

// What one walk over the tree remembers for the next.
struct TreeState {
  explicit TreeState(const GuardTree& tree);
  std::vector<NodeState> nodes;
  std::vector<uint32_t> hot;  // laid out like GuardTree::children
  std::vector<std::vector<PyObject*>> distinct;  // per tail guard: pointers last seen to differ
  std::vector<Number> numbers, stack;
  std::vector<MemorySpan> spans;  // of unshared
};

// Why a check failed.
struct Why {
  int node = -1;
  int position = 0;
  std::string text;
};

struct Call {
  PyFunctionObject* func = nullptr;  // may be null where no root needs it
  PyObject* const* values = nullptr;
  Py_ssize_t count = 0;
};

class GuardTree {
 public:
  GuardTree();
  ~GuardTree();
  GuardTree(const GuardTree&) = delete;
  GuardTree& operator=(const GuardTree&) = delete;

  bool parse(PyObject* nodes, PyObject* tail);  // false with an exception set

  // True when all guards hold; `out` then gets strong references to the values of `loads` (null_value for a missing one). With
  // `why` the tree's own memory is left alone, and a failure is put in words. Never leaves an exception set.
  bool check(const Call& call, const uint32_t* loads, size_t count, PyObject** out, Why* why = nullptr);
  bool check(const Call& call) { return check(call, nullptr, 0, nullptr); }

  bool dead() const { return dead_; }
  bool may_run_python() const { return python_; }
  size_t size() const { return nodes_.size(); }
  const std::vector<Node>& nodes() const { return nodes_; }
  const GuardScan* scan() const { return scan_.get(); }  // null: not laid flat (yet)
  int traverse(visitproc visit, void* arg);
  void clear();  // for the garbage collector: the tree is dead afterwards
  std::string path(uint32_t node, const PyFunctionObject* func) const;

  static int64_t live_trees, live_nodes;

 private:
  friend class Walk;
  friend class GuardScan;
  friend struct TreeState;

  bool parse_node(PyObject* item, uint32_t id);
  bool parse_guard(PyObject* item, int position, Node* node);
  PyTypeObject* found_in(const Node& node, PyObject* obj) const;
  bool parse_tail(PyObject* item);
  void lay_out();
  bool walk(TreeState& state, const Call& call, Why* why);
  void make_scan(const uint32_t* loads, size_t count);

  std::vector<Node> nodes_;
  std::vector<uint32_t> roots_;
  std::vector<uint32_t> children_;  // per node: dict items, class attributes, others
  std::vector<TailGuard> tail_;
  std::unique_ptr<TreeState> state_;
  size_t max_inputs_ = 0, max_depth_ = 0;
  std::unique_ptr<GuardScan> scan_;  // the flat form; null until it is worth while
  unsigned scans_ = 0;               // how many were made
  unsigned walks_left_ = 2;          // that must pass before the next is made
  bool python_ = false;
  std::vector<uint32_t> makers_;  // nodes whose access makes its value anew
  bool busy_ = false;
  bool dead_ = false;  // can never hold again
  bool cleared_ = false;
};

// ---- leaf checks (leaf_checks.cpp) ----------------------------------------------------------------------------------

// Same exact type and equal; floats by their bits; tuples, slices, ranges and frozensets item by item. For other types
// than plain constants the objects are compared by identity and then by `==`; an error counts as different.
bool same_constant(PyObject* a, PyObject* b);

// What an instance of a subclass of str, int, float, complex or bytes is to C code equals a constant of the builtin itself.
bool same_value(PyObject* constant, PyObject* value);
// A set or frozenset, or an instance of a subclass, has these constants as its members, and gives them in this order.
bool same_items(PyObject* constants, PyObject* set);
// What set_layout() gives (set_layout.cpp); whether a set, or an instance of a subclass, has this layout.
bool is_set_layout(PyObject* tuple);
bool has_layout(PyObject* set, PyObject* layout);
bool same_spread(PyObject* a, PyObject* b);  // of two sets: members lie in the same slots, whatever they are

// The length of a builtin container or of a subclass, from its storage, without running Python; -1: it has none.
extern PyObject* call_words;  // a dict: what `call` reads with, or its class -> how people are told, with {} for what it is called with
Py_ssize_t native_length(PyObject* obj);

// A generator waits in this place of this code, or (null, -1) is finished.
bool waits_at(PyObject* code, Py_ssize_t place, PyObject* generator);

bool keys_match(const std::vector<Key>& keys, PyObject* dict);
std::string keys_mismatch(const std::vector<Key>& keys, PyObject* dict);

bool check_other_guard(const Guard& guard, PyObject* value);
inline bool check_guard(const Guard& guard, PyObject* value) {
  if (guard.kind == Kind::type) return reinterpret_cast<PyObject*>(Py_TYPE(value)) == guard.ref.get();
  if (guard.kind == Kind::tensor) return tensor_matches(*guard.tensor, value);
  return check_other_guard(guard, value);
}
std::string guard_mismatch(const Guard& guard, PyObject* value);
// True if the guard, having passed for this object, passes for it for ever.
bool guard_is_stable(const Guard& guard, PyObject* value);
bool guard_may_run_python(const Guard& guard);

// `abc.get_cache_token()`: how many classes were registered with abstract base classes so far. Runs no Python.
uint64_t count_registrations();
bool init_registrations();

// Called with the exception that a guard raised; set by set_guard_error_hook. Clears the exception in any case.
void report_guard_error();
PyObject* set_guard_error_hook(PyObject* module, PyObject* hook);

// ---- the Python type (guard_tree_type.cpp) --------------------------------------------------------------------------

bool init_guard_tree_type(PyObject* module);
GuardTree* guard_tree_of(PyObject* obj);  // null if obj is no GuardTree

}  // namespace alt
