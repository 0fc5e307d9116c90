#include "cache_entry.h"

#include <algorithm>

namespace alt {

int64_t live_extra_states = 0;

namespace {

PyTypeObject* extra_type = nullptr;
Py_ssize_t extra_index = -1;
PyObject* current_key = nullptr;  // owned; see set_cache_key

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
  Py_VISIT(extra_of(self)->pieces);
  return 0;
}

int extra_clear(PyObject* self) {
  Py_CLEAR(extra_of(self)->pieces);
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

// ---- finding an entry -----------------------------------------------------------------------------------------------

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
  extra_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&extra_spec));
  return extra_type && PyModule_AddObjectRef(module, "_ExtraState", reinterpret_cast<PyObject*>(extra_type)) == 0 &&
         init_cache_entry(module) && init_hit(module);
}

}  // namespace alt
