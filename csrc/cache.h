// The compiled entries of a code object. They live in the code object's extra slot and die with it.
#pragma once

#include "guard_tree.h"

#include <algorithm>
#include <vector>

namespace alt {

struct CacheEntry;
class Dispatch;

enum class Skip : uint8_t { no, code, recursive };

// A Python object (_ExtraState); one strong reference belongs to the code object.
struct ExtraState {
  PyObject_HEAD
  PyCodeObject* code;  // borrowed; null once the code object is gone
  std::vector<CacheEntry*>* entries;  // strong, the most recently used first
  uint64_t generation;  // changes with the list
  Dispatch* dispatch;   // null: to be made when there are many entries
  PyObject* pieces;     // of a generator's code: what runs in its place where it is resumed (generators.cpp); may be null
  Skip skip;
};

ExtraState* find_extra(PyCodeObject* code);  // borrowed, may be null
ExtraState* make_extra(PyCodeObject* code);  // borrowed; null with an exception set
void drop_entries(ExtraState* extra);

// The arguments of an entry's function, taken from the guards' values at a hit.
class Hit {
 public:
  Hit() = default;
  Hit(const Hit&) = delete;
  Hit& operator=(const Hit&) = delete;
  ~Hit();

  bool keep_hook() const;
  PyObject* entry() const;
  PyObject* call();  // a new reference; null with an exception set, or with a graph that failed

  // The graph raised, and has changed nothing: the frame can be run plainly, from its start.
  bool graph_failed() const { return static_cast<bool>(failure_); }
  bool may_be_handled() const { return may_be_handled_; }  // by the program itself
  PyObject* raise_failure();  // what the graph raised after all

  // Runs the entry's guards, and takes the arguments if they hold.
  bool check(CacheEntry* entry, const Call& call);
  bool build_arguments();  // false with an exception set
  void release();          // lets go of the arguments
  // Once the graph has run, and the frame will not, these references are let go of, but for those that the function is
  // called with: such objects die in the order of the frame's variables.
  void release_behind_graph(Py_ssize_t count, PyObject** values) {
    spent_count_ = count;
    spent_ = values;
  }

 private:
  static constexpr size_t kInline = 24;
  PyObject* inline_[kInline];  // the first one is free for the callee, as the vectorcall protocol allows
  std::vector<PyObject*> large_;
  PyObject** values_ = inline_ + 1;
  size_t first_ = 0, count_ = 0;  // from one to the other: strong references in values_ (or null)
  Own entry_;
  Own failure_;
  bool may_be_handled_ = false;
  PyObject** spent_ = nullptr;
  Py_ssize_t spent_count_ = 0;

  PyObject* fail(PyObject* recover, const RandomState* random);
  void release_spent() {
    PyObject **begin = values_ + first_, **end = values_ + count_;
    for (Py_ssize_t i = 0; i < spent_count_; ++i)
      if (spent_[i] && (Py_REFCNT(spent_[i]) == 1 || std::find(begin, end, spent_[i]) == end)) Py_CLEAR(spent_[i]);
  }
};

// Looks for an entry whose guards hold and moves it to the front.
// Only entries of this callback are considered (of any, if it is False), and only those made under the present key.
bool find_entry(ExtraState* extra, const Call& call, PyObject* callback, Hit* hit);
PyObject* set_cache_key(PyObject* module, PyObject* key);

bool is_cache_entry(PyObject* obj);
// Puts the entry in front of the list. False with an exception set.
bool add_entry(ExtraState* extra, PyObject* entry, PyObject* callback);
void invalidate_entry(CacheEntry* entry);
GuardTree* entry_tree(PyObject* entry);

// While this lives, Python code that we run (guards, callbacks) is neither captured nor redirected. See frame_hook.cpp.
class HookOff {
 public:
  HookOff();
  ~HookOff();
  HookOff(const HookOff&) = delete;
  HookOff& operator=(const HookOff&) = delete;

 private:
  PyObject *callback_, *redirect_;
};

bool init_cache(PyObject* module);
bool init_hit(PyObject* module);
PyObject* cache_entry_list(ExtraState* extra);
PyObject* usable_entries(ExtraState* extra, PyObject* callback);  // a list: those that find_entry() considers
extern int64_t live_entries, live_extra_states;

}  // namespace alt
