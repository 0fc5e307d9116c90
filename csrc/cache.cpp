#include "cache.h"

#include "dispatch.h"

#include <structmember.h>

#include <algorithm>
#include <memory>

namespace alt {

int64_t live_entries = 0;
int64_t live_extra_states = 0;

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

namespace {

PyTypeObject* entry_type = nullptr;
PyTypeObject* extra_type = nullptr;
Py_ssize_t extra_index = -1;
PyObject* current_key = nullptr;  // owned; see set_cache_key
PyObject* graph_failed_type = nullptr;

CacheEntry* entry_of(PyObject* self) { return reinterpret_cast<CacheEntry*>(self); }
EntryData& data_of(PyObject* self) { return *entry_of(self)->data; }
PyObject* object_of(CacheEntry* entry) { return reinterpret_cast<PyObject*>(entry); }

// ---- entries --------------------------------------------------------------------------------------------------------

bool read_load(PyObject* item, EntryData* data) {
  if (PyTuple_Check(item)) {
    data->layout.push_back(static_cast<int>(PyTuple_GET_SIZE(item)));
    data->nested = true;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(item); ++i)
      if (!read_load(PyTuple_GET_ITEM(item, i), data)) return false;
    return true;
  }
  Py_ssize_t node = PyLong_AsSsize_t(item);
  if (node == -1 && PyErr_Occurred()) return false;
  if (node < 0 || static_cast<size_t>(node) >= data->tree->size()) {
    PyErr_Format(PyExc_ValueError, "_CacheEntry: there is no node %zd to load", node);
    return false;
  }
  data->layout.push_back(-1);
  data->loads.push_back(static_cast<uint32_t>(node));
  return true;
}

// Callback of an owner's weak reference; self is a weak reference to the entry.
PyObject* owner_died(PyObject* self, PyObject*) {
  Own entry = Own::share(PyWeakref_GET_OBJECT(self));
  if (entry.get() != Py_None) invalidate_entry(entry_of(entry.get()));
  Py_RETURN_NONE;
}

bool watch_owners(PyObject* self, PyObject* owners) {
  static PyMethodDef def = {"owner_died", owner_died, METH_O, nullptr};
  Own items = Own::steal(PySequence_Fast(owners, "_CacheEntry: owners must be a sequence"));
  if (!items) return false;
  const Py_ssize_t count = PySequence_Fast_GET_SIZE(items.get());
  if (count == 0) return true;
  Own me = Own::steal(PyWeakref_NewRef(self, nullptr));
  Own callback = Own::steal(me ? PyCFunction_New(&def, me.get()) : nullptr);
  if (!callback) return false;
  for (Py_ssize_t i = 0; i < count; ++i) {
    Own ref = Own::steal(PyWeakref_NewRef(PySequence_Fast_GET_ITEM(items.get(), i), callback.get()));
    if (!ref) return false;
    data_of(self).owners.push_back(std::move(ref));
  }
  return true;
}

PyObject* entry_new(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
  static const char* names[] = {"code", "guards", "fn", "loads", "keep_hook", "owners", "extra", "graph", "inputs", "single", "recover", "draws", nullptr};
  PyObject *code, *guards, *fn, *loads, *owners = nullptr, *extra = Py_None, *graph = Py_None, *inputs = nullptr,
           *recover = Py_None;
  int keep_hook = 0, single = 0, draws = 0;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOO!|pOOOO!pOp", const_cast<char**>(names), &code, &guards, &fn,
                                   &PyTuple_Type, &loads, &keep_hook, &owners, &extra, &graph, &PyTuple_Type, &inputs, &single,
                                   &recover, &draws))
    return nullptr;
  GuardTree* tree = guard_tree_of(guards);
  if (!tree) return PyErr_Format(PyExc_TypeError, "_CacheEntry: guards must be a GuardTree, not %s", Py_TYPE(guards)->tp_name);
  if (!PyCallable_Check(fn) || (graph != Py_None && !PyCallable_Check(graph)))
    return PyErr_Format(PyExc_TypeError, "_CacheEntry: fn or graph is not callable");
  Own self = Own::steal(type->tp_alloc(type, 0));
  if (!self) return nullptr;
  entry_of(self.get())->data = new EntryData;
  ++live_entries;
  EntryData& data = data_of(self.get());
  data.guards = Own::share(guards);
  data.tree = tree;
  data.code = Own::share(code);
  data.fn = Own::share(fn);
  data.extra = Own::share(extra);
  data.keep_hook = keep_hook != 0;
  if (recover != Py_None) data.recover = Own::share(recover);
  if (graph != Py_None) {
    data.graph = Own::share(graph);
    data.single = single != 0;
    data.draws = draws != 0;
    for (Py_ssize_t i = 0; inputs && i < PyTuple_GET_SIZE(inputs); ++i)
      if (!read_load(PyTuple_GET_ITEM(inputs, i), &data)) return nullptr;
    data.inputs = data.loads.size();
  }
  data.arguments = static_cast<size_t>(PyTuple_GET_SIZE(loads));
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(loads); ++i)
    if (!read_load(PyTuple_GET_ITEM(loads, i), &data)) return nullptr;
  if (data.nested && data.graph)
    return PyErr_Format(PyExc_ValueError, "_CacheEntry: with a graph, loads and inputs must be nodes");
  if (owners && owners != Py_None && !watch_owners(self.get(), owners)) return nullptr;
  return self.release();
}

int entry_traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  if (!entry_of(self)->data) return 0;
  EntryData& data = data_of(self);
  for (const Own* own : {&data.guards, &data.code, &data.graph, &data.fn, &data.recover, &data.extra, &data.callback, &data.key})
    if (int stop = own->visit(visit, arg)) return stop;
  for (const Own& owner : data.owners)
    if (int stop = owner.visit(visit, arg)) return stop;
  return 0;
}

int entry_clear(PyObject* self) {
  if (!entry_of(self)->data) return 0;
  EntryData& data = data_of(self);
  data.valid = false;  // `guards` stays: it has no way back that the collector could not cut elsewhere
  std::vector<Own> owners = std::move(data.owners);
  Own fn = std::move(data.fn), extra = std::move(data.extra), code = std::move(data.code), graph = std::move(data.graph),
      recover = std::move(data.recover);
  data.owners.clear();
  return 0;
}

void entry_dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  if (entry_of(self)->weakrefs) PyObject_ClearWeakRefs(self);
  if (EntryData* data = std::exchange(entry_of(self)->data, nullptr)) {
    delete data;
    --live_entries;
  }
  type->tp_free(self);
  Py_DECREF(type);
}

PyObject* entry_get_guards(PyObject* self, void*) { return Py_NewRef(data_of(self).guards.get()); }
PyObject* entry_get_fn(PyObject* self, void*) {
  PyObject* fn = data_of(self).fn.get();
  return Py_NewRef(fn ? fn : Py_None);
}
PyObject* entry_get_extra(PyObject* self, void*) {
  PyObject* extra = data_of(self).extra.get();
  return Py_NewRef(extra ? extra : Py_None);
}
int entry_set_extra(PyObject* self, PyObject* value, void*) {
  data_of(self).extra = Own::share(value ? value : Py_None);
  return 0;
}
PyObject* entry_get_code(PyObject* self, void*) {
  const EntryData& data = data_of(self);
  if (data.weak_code) return Py_NewRef(PyWeakref_GET_OBJECT(data.code.get()));
  return Py_NewRef(data.code ? data.code.get() : Py_None);
}
PyObject* entry_get_hits(PyObject* self, void*) { return PyLong_FromUnsignedLongLong(data_of(self).hits); }
PyObject* entry_get_valid(PyObject* self, void*) {
  return PyBool_FromLong(data_of(self).valid && !data_of(self).tree->dead());
}
PyObject* entry_get_keep_hook(PyObject* self, void*) { return PyBool_FromLong(data_of(self).keep_hook); }
PyObject* entry_get_callback(PyObject* self, void*) {
  PyObject* callback = data_of(self).callback.get();
  return Py_NewRef(callback ? callback : Py_None);
}
PyObject* entry_get_key(PyObject* self, void*) {
  PyObject* key = data_of(self).key.get();
  return Py_NewRef(key ? key : Py_None);
}
PyObject* entry_get_next(PyObject* self, void*) {
  if (ExtraState* home = data_of(self).home) {
    auto it = std::find(home->entries->begin(), home->entries->end(), entry_of(self));
    if (it != home->entries->end() && ++it != home->entries->end()) return Py_NewRef(object_of(*it));
  }
  Py_RETURN_NONE;
}

// ---- the state of a code object -------------------------------------------------------------------------------------

ExtraState* extra_of(PyObject* self) { return reinterpret_cast<ExtraState*>(self); }

void free_extra(void* pointer) {
  if (!pointer) return;  // CPython asks every owner of an index when the code object used any of them
  KeepError keep;  // a code object can die while an exception travels
  auto extra = static_cast<ExtraState*>(pointer);
  extra->code = nullptr;
  drop_entries(extra);
  Py_DECREF(extra);
}

int extra_traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  if (extra_of(self)->entries)
    for (CacheEntry* entry : *extra_of(self)->entries) Py_VISIT(entry);
  return 0;
}

int extra_clear(PyObject* self) {
  if (extra_of(self)->entries) drop_entries(extra_of(self));
  return 0;
}

void extra_dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  extra_clear(self);
  delete std::exchange(extra_of(self)->entries, nullptr);
  delete std::exchange(extra_of(self)->dispatch, nullptr);
  --live_extra_states;
  type->tp_free(self);
  Py_DECREF(type);
}

PyObject* extra_invalidate(PyObject* self, PyObject* entry) {
  if (!is_cache_entry(entry)) return PyErr_Format(PyExc_TypeError, "expected a _CacheEntry");
  if (data_of(entry).home == extra_of(self)) invalidate_entry(entry_of(entry));
  Py_RETURN_NONE;
}

PyObject* extra_get_entries(PyObject* self, void*) { return cache_entry_list(extra_of(self)); }
PyObject* extra_get_code(PyObject* self, void*) {
  auto code = reinterpret_cast<PyObject*>(extra_of(self)->code);
  return Py_NewRef(code ? code : Py_None);
}
PyObject* extra_get_skip(PyObject* self, void*) {
  switch (extra_of(self)->skip) {
    case Skip::no: Py_RETURN_NONE;
    case Skip::code: return PyUnicode_FromString("code");
    case Skip::recursive: return PyUnicode_FromString("recursive");
  }
  Py_RETURN_NONE;
}

void forget_dispatch(ExtraState* extra) { delete std::exchange(extra->dispatch, nullptr); }

// Says by what the entries can be told apart, if there are many.
void make_dispatch(ExtraState* extra) {
  constexpr size_t kMany = 4;
  if (extra->entries->size() < kMany) return;
  std::vector<Dispatch::Member> members;
  for (CacheEntry* entry : *extra->entries) {
    EntryData& data = *entry->data;
    if (!data.expects) data.expects = std::make_unique<Expectations>(*data.tree);
    members.push_back({data.tree, data.expects.get(), 0});
  }
  auto made = std::make_unique<Dispatch>();
  made->choose(&members);
  for (size_t i = 0; i < members.size(); ++i) (*extra->entries)[i]->data->signature = members[i].signature;
  extra->dispatch = made.release();
}

// The first entry of the list is new. This is done now so that the next call that nothing fits need not wait for it.
void add_to_dispatch(ExtraState* extra) {
  EntryData& data = *extra->entries->front()->data;
  if (extra->dispatch) {
    if (!data.expects) data.expects = std::make_unique<Expectations>(*data.tree);
    if (extra->dispatch->add(*data.expects, &data.signature)) return;
    forget_dispatch(extra);
  }
  make_dispatch(extra);
}

// Takes the entry out of its list; the reference that the list had is handed over.
Own detach(CacheEntry* entry) {
  ExtraState* home = std::exchange(entry->data->home, nullptr);
  if (!home) return {};
  auto it = std::find(home->entries->begin(), home->entries->end(), entry);
  if (it == home->entries->end()) return {};
  home->entries->erase(it);
  if (home->dispatch) home->dispatch->remove(entry->data->signature);
  ++home->generation;
  return Own::steal(object_of(entry));
}

}  // namespace

ExtraState* find_extra(PyCodeObject* code) { return static_cast<ExtraState*>(py::get_code_extra(code, extra_index)); }

ExtraState* make_extra(PyCodeObject* code) {
  if (ExtraState* extra = find_extra(code)) return extra;
  PyObject* self = extra_type->tp_alloc(extra_type, 0);
  if (!self) return nullptr;
  ExtraState* extra = extra_of(self);
  extra->entries = new std::vector<CacheEntry*>;
  extra->code = code;
  ++live_extra_states;
  if (py::set_code_extra(code, extra_index, extra) < 0) {
    Py_DECREF(self);
    return nullptr;
  }
  return extra;
}

void drop_entries(ExtraState* extra) {
  std::vector<CacheEntry*> entries;
  entries.swap(*extra->entries);
  forget_dispatch(extra);
  ++extra->generation;
  for (CacheEntry* entry : entries) {
    entry->data->home = nullptr;
    entry->data->valid = false;
  }
  for (CacheEntry* entry : entries) Py_DECREF(entry);
}

void invalidate_entry(CacheEntry* entry) {
  entry->data->valid = false;
  Own dropped = detach(entry);
}

bool is_cache_entry(PyObject* obj) { return Py_TYPE(obj) == entry_type; }
GuardTree* entry_tree(PyObject* entry) { return data_of(entry).tree; }

bool add_entry(ExtraState* extra, PyObject* entry, PyObject* callback) {
  EntryData& data = data_of(entry);
  if (!data.valid || !data.fn) {
    PyErr_SetString(PyExc_RuntimeError, "the callback returned a _CacheEntry that was invalidated");
    return false;
  }
  if (data.home && data.home != extra) {
    PyErr_SetString(PyExc_RuntimeError, "the callback returned a _CacheEntry of another code object");
    return false;
  }
  auto code = reinterpret_cast<PyObject*>(extra->code);
  if (!data.weak_code && data.code.get() == code) {  // or the code would keep itself alive
    Own ref = Own::steal(PyWeakref_NewRef(code, nullptr));
    if (!ref) return false;
    data.weak_code = true;
    data.code = std::move(ref);
  }
  Own self = data.home ? detach(entry_of(entry)) : Own::share(entry);
  extra->entries->insert(extra->entries->begin(), entry_of(self.release()));
  add_to_dispatch(extra);
  ++extra->generation;
  data.home = extra;
  data.callback = Own::share(callback);
  data.key = Own::share(current_key);
  return true;
}

PyObject* cache_entry_list(ExtraState* extra) {
  Own list = Own::steal(PyList_New(0));
  if (!list || !extra) return list.release();
  for (CacheEntry* entry : *extra->entries)
    if (PyList_Append(list.get(), object_of(entry)) < 0) return nullptr;
  return list.release();
}

// ---- hits -----------------------------------------------------------------------------------------------------------

Hit::~Hit() { release(); }

void Hit::release() {
  for (size_t i = 0; i < count_; ++i) Py_CLEAR(values_[i]);
  count_ = 0;
}

PyObject* Hit::entry() const { return entry_.get(); }
bool Hit::keep_hook() const { return data_of(entry_.get()).keep_hook; }

bool Hit::check(CacheEntry* entry, const Call& call) {
  EntryData& data = *entry->data;
  if (!data.fn) return false;
  const size_t count = data.loads.size();
  if (count >= kInline && large_.size() <= count) large_.resize(count + 1);
  values_ = (count < kInline ? inline_ : large_.data()) + 1;
  Own hold = Own::share(object_of(entry));  // Python code in a guard may invalidate the entry
  bool ok;
  if (data.tree->may_run_python()) {
    HookOff off;
    ok = data.tree->check(call, data.loads.data(), count, values_);
  } else {
    ok = data.tree->check(call, data.loads.data(), count, values_);
  }
  if (!ok) return false;
  count_ = count;
  entry_ = std::move(hold);
  for (size_t i = 0; i < count; ++i)
    if (!values_[i]) values_[i] = Py_NewRef(null_value);
  return true;
}

bool Hit::build_arguments() {
  const EntryData& data = data_of(entry_.get());
  if (!data.nested) return true;
  std::vector<PyObject*> built(1);
  built.reserve(data.arguments + 1);
  size_t item = 0, value = 0;
  auto build = [&](auto&& self) -> PyObject* {
    int size = data.layout[item++];
    if (size < 0) return std::exchange(values_[value++], nullptr);
    Own tuple = Own::steal(PyTuple_New(size));
    if (!tuple) return nullptr;
    for (int i = 0; i < size; ++i) {
      PyObject* part = self(self);
      if (!part) return nullptr;
      PyTuple_SET_ITEM(tuple.get(), i, part);
    }
    return tuple.release();
  };
  bool ok = true;
  for (size_t i = 0; ok && i < data.arguments; ++i) {
    PyObject* argument = build(build);
    if (argument) built.push_back(argument);
    else ok = false;
  }
  for (size_t i = 0; i < count_; ++i) Py_XDECREF(values_[i]);
  large_ = std::move(built);
  values_ = large_.data() + 1;
  count_ = large_.size() - 1;
  return ok;
}

static void raise_error(PyObject* value) {
  PyErr_Restore(Py_NewRef(reinterpret_cast<PyObject*>(Py_TYPE(value))), Py_NewRef(value), PyException_GetTraceback(value));
}

PyObject* Hit::fail(PyObject* recover, const RandomState* random) {
  Own error = take_error();
  Own hold = Own::share(recover), answer;
  {
    HookOff off;
    answer = Own::steal(PyObject_CallOneArg(recover, error.get()));
  }
  if (!answer) PyErr_WriteUnraisable(recover);
  if (PyErr_GivenExceptionMatches(error.get(), graph_failed_type)) {  // raised by a function that calls its graph itself
    if (Own cause = Own::steal(PyException_GetCause(error.get()))) error = std::move(cause);
  }
  if (!answer || answer.get() == Py_None) {
    raise_error(error.get());
  } else {
    if (random) restore_random_state(*random);
    may_be_handled_ = answer.get() == Py_True;
    failure_ = std::move(error);
  }
  return nullptr;
}

PyObject* Hit::raise_failure() {
  raise_error(failure_.get());
  return nullptr;
}

PyObject* Hit::call() {
  const EntryData& data = data_of(entry_.get());
  Own fn = Own::share(data.fn.get());
  constexpr size_t kOffset = PY_VECTORCALL_ARGUMENTS_OFFSET;
  if (!data.graph) {
    if (!data.recover) release_spent();
    PyObject* answer = PyObject_Vectorcall(fn.get(), values_, data.arguments | kOffset, nullptr);
    return !answer && data.recover && PyErr_ExceptionMatches(graph_failed_type) ? fail(data.recover.get(), nullptr) : answer;
  }
  Own graph = Own::share(data.graph.get());
  const RandomStatePtr random = data.draws ? save_random_state() : nullptr;
  Own result = Own::steal(PyObject_Vectorcall(graph.get(), values_, data.inputs | kOffset, nullptr));
  if (!result) return data.recover ? fail(data.recover.get(), random.get()) : nullptr;
  if (data.single) {
    if (PyTuple_CheckExact(result.get()) && PyTuple_GET_SIZE(result.get()) == 1)
      return Py_NewRef(PyTuple_GET_ITEM(result.get(), 0));
    if (PyList_CheckExact(result.get()) && PyList_GET_SIZE(result.get()) == 1)
      return Py_NewRef(PyList_GET_ITEM(result.get(), 0));
  }
  // The inputs are free now: what has been returned takes the place in front of the other arguments. The graph may have
  // let go of them, so that the memory that they hold can be used again while fn runs.
  for (size_t i = 0; i < data.inputs; ++i) Py_CLEAR(values_[i]);
  release_spent();
  PyObject** arguments = values_ + data.inputs - 1;
  PyObject* before = std::exchange(*arguments, result.get());
  PyObject* answer = PyObject_Vectorcall(fn.get(), arguments, data.arguments + 1, nullptr);
  *arguments = before;
  return answer;
}

// Settings differ, or another compile() call made it: not for this lookup. Run-only (False) takes anybody's.
static bool usable(const EntryData& data, PyObject* callback) {
  return data.valid && data.key.get() == current_key && (callback == Py_False || data.callback.get() == callback);
}

PyObject* set_cache_key(PyObject*, PyObject* key) {
  PyObject* old = std::exchange(current_key, key == Py_None ? nullptr : Py_NewRef(key));
  return old ? old : Py_NewRef(Py_None);
}

PyObject* usable_entries(ExtraState* extra, PyObject* callback) {
  std::vector<CacheEntry*> found;
  if (extra)
    for (CacheEntry* entry : *extra->entries)
      if (usable(*entry->data, callback)) found.push_back(entry);
  PyObject* list = PyList_New(static_cast<Py_ssize_t>(found.size()));
  for (size_t i = 0; list && i < found.size(); ++i)
    PyList_SET_ITEM(list, static_cast<Py_ssize_t>(i), Py_NewRef(object_of(found[i])));
  return list;
}

// False: no entry can fit. `filtered`: only entries with this signature can.
static bool may_fit(ExtraState* extra, const Call& call, bool* filtered, uint64_t* signature) {
  *filtered = false;
  if (!extra->dispatch) make_dispatch(extra);
  if (!extra->dispatch || !extra->dispatch->useful()) return true;
  if (!extra->dispatch->signature(call, signature)) {
    forget_dispatch(extra);
    return true;
  }
  *filtered = true;
  return extra->dispatch->any(*signature);
}

bool find_entry(ExtraState* extra, const Call& call, PyObject* callback, Hit* hit) {
  uint64_t signature = 0;
  bool filtered;
  if (!may_fit(extra, call, &filtered, &signature)) return false;
  Own hold = Own::share(reinterpret_cast<PyObject*>(extra));
  auto& entries = *extra->entries;
  int restarts = 0;
  for (size_t i = 0; i < entries.size();) {
    CacheEntry* entry = entries[i];
    if ((filtered && entry->data->signature != signature) || !usable(*entry->data, callback)) {
      ++i;
      continue;
    }
    Own hold_entry = Own::share(object_of(entry));
    const uint64_t generation = extra->generation;
    if (hit->check(entry, call)) {
      ++entry->data->hits;
      if (i > 0 && generation == extra->generation) {
        std::rotate(entries.begin(), entries.begin() + static_cast<std::ptrdiff_t>(i),
                    entries.begin() + static_cast<std::ptrdiff_t>(i) + 1);
        ++extra->generation;
      }
      return true;
    }
    if (entry->data->tree->dead()) invalidate_entry(entry);
    if (generation == extra->generation) {
      ++i;
    } else {
      if (++restarts > 8) return false;  // guards that change the list while they run
      filtered = false;
      i = 0;
    }
  }
  return false;
}

// ---- set-up ---------------------------------------------------------------------------------------------------------

bool init_cache(PyObject* module) {
  extra_index = py::request_code_extra(free_extra);
  if (extra_index < 0) {
    PyErr_SetString(PyExc_ImportError, "alternator: CPython has no free slot in code objects");
    return false;
  }
  static PyGetSetDef entry_getset[] = {
      {"check_fn", entry_get_guards, nullptr, "the GuardTree", nullptr},
      {"guards", entry_get_guards, nullptr, "the GuardTree", nullptr},
      {"code", entry_get_code, nullptr, nullptr, nullptr},
      {"fn", entry_get_fn, nullptr, nullptr, nullptr},
      {"next", entry_get_next, nullptr, "the next entry of the same code object, or None", nullptr},
      {"hits", entry_get_hits, nullptr, "calls that this entry answered from the cache", nullptr},
      {"extra", entry_get_extra, entry_set_extra, nullptr, nullptr},
      {"valid", entry_get_valid, nullptr, nullptr, nullptr},
      {"keep_hook", entry_get_keep_hook, nullptr, nullptr, nullptr},
      {"owner_callback", entry_get_callback, nullptr, "the callback that made it; only lookups under it see the entry", nullptr},
      {"cache_key", entry_get_key, nullptr, "the object that set_cache_key() had been given", nullptr},
      {nullptr, nullptr, nullptr, nullptr, nullptr}};
  static PyMemberDef entry_members[] = {
      {"__weaklistoffset__", T_PYSSIZET, offsetof(CacheEntry, weakrefs), READONLY, nullptr}, {nullptr, 0, 0, 0, nullptr}};
  static PyType_Slot entry_slots[] = {{Py_tp_new, reinterpret_cast<void*>(entry_new)},
                                      {Py_tp_dealloc, reinterpret_cast<void*>(entry_dealloc)},
                                      {Py_tp_traverse, reinterpret_cast<void*>(entry_traverse)},
                                      {Py_tp_clear, reinterpret_cast<void*>(entry_clear)},
                                      {Py_tp_getset, entry_getset},
                                      {Py_tp_members, entry_members},
                                      {0, nullptr}};
  static PyType_Spec entry_spec = {"alternator._C.eval_frame._CacheEntry", sizeof(CacheEntry), 0,
                                   Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE, entry_slots};
  static PyMethodDef extra_methods[] = {{"invalidate", extra_invalidate, METH_O, "invalidate(entry): drop it from the cache"},
                                        {nullptr, nullptr, 0, nullptr}};
  static PyGetSetDef extra_getset[] = {{"entries", extra_get_entries, nullptr, "the entries, most recently used first", nullptr},
                                       {"code", extra_get_code, nullptr, nullptr, nullptr},
                                       {"skip", extra_get_skip, nullptr, "None, 'code' or 'recursive'", nullptr},
                                       {nullptr, nullptr, nullptr, nullptr, nullptr}};
  static PyType_Slot extra_slots[] = {{Py_tp_dealloc, reinterpret_cast<void*>(extra_dealloc)},
                                      {Py_tp_traverse, reinterpret_cast<void*>(extra_traverse)},
                                      {Py_tp_clear, reinterpret_cast<void*>(extra_clear)},
                                      {Py_tp_methods, extra_methods},
                                      {Py_tp_getset, extra_getset},
                                      {0, nullptr}};
  static PyType_Spec extra_spec = {
      "alternator._C.eval_frame._ExtraState", sizeof(ExtraState), 0,
      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION, extra_slots};
  graph_failed_type = PyErr_NewException("alternator._C.eval_frame.GraphFailed", PyExc_BaseException, nullptr);
  if (!graph_failed_type || PyModule_AddObjectRef(module, "GraphFailed", graph_failed_type) < 0) return false;
  entry_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&entry_spec));
  extra_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&extra_spec));
  return entry_type && extra_type && PyModule_AddObjectRef(module, "_CacheEntry", reinterpret_cast<PyObject*>(entry_type)) == 0 &&
         PyModule_AddObjectRef(module, "_ExtraState", reinterpret_cast<PyObject*>(extra_type)) == 0;
}

}  // namespace alt
