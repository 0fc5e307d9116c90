// What a compiled entry holds: its guards, what it calls, and what for. Shared by the files that make, find and run entries.
#pragma once

#include "cache.h"
#include "dispatch.h"

#include <memory>

namespace alt {

struct EntryData {
  Own guards;  // the GuardTree object
  GuardTree* tree = nullptr;
  Own code;  // a weak reference once the entry belongs to that very code object
  bool weak_code = false;
  Own graph;  // null, or called first; what it returns is the first argument of fn
  Own fn;
  Own recover;  // null, or asked what to do with an exception that the graph raised
  Own extra;
  Own callback;  // whose entry it is: a lookup under another callback does not see it
  Own key;       // the settings that it was made under, compared by identity
  std::vector<Own> owners;      // weak references whose callback invalidates the entry
  std::vector<uint32_t> loads;  // nodes, in the order in which the arguments need them
  std::vector<int> layout;      // per item: -1 takes the next value, n makes a tuple of the n items that follow
  size_t arguments = 0;         // of fn, without what the graph returned
  size_t inputs = 0;            // of the graph: the first of the loads
  bool nested = false;
  bool single = false;  // fn would return the only item of what the graph returned
  bool draws = false;   // random numbers that the graph has drawn when it raises are given back
  bool keep_hook = false;
  bool valid = true;
  uint64_t hits = 0;
  ExtraState* home = nullptr;  // the list that it is in, borrowed
  std::unique_ptr<Expectations> expects;  // made when there are many entries; see Dispatch
  uint64_t signature = 0;
};

struct CacheEntry {
  PyObject_HEAD
  EntryData* data;
  PyObject* weakrefs;
};
inline CacheEntry* entry_of(PyObject* self) { return reinterpret_cast<CacheEntry*>(self); }
inline EntryData& data_of(PyObject* self) { return *entry_of(self)->data; }
inline PyObject* object_of(CacheEntry* entry) { return reinterpret_cast<PyObject*>(entry); }

bool init_cache_entry(PyObject* module);

}  // namespace alt
