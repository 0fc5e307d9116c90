// The Python type of a compiled entry: how one is made, and what it says of itself.
#include "cache_entry.h"

#include <structmember.h>

#include <algorithm>

namespace alt {

int64_t live_entries = 0;

namespace {

PyTypeObject* entry_type = nullptr;

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
    Own ref = Own::steal(new_weak(PySequence_Fast_GET_ITEM(items.get(), i), callback.get()));
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

}  // namespace

bool is_cache_entry(PyObject* obj) { return Py_TYPE(obj) == entry_type; }
GuardTree* entry_tree(PyObject* entry) { return data_of(entry).tree; }

bool init_cache_entry(PyObject* module) {
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
  entry_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&entry_spec));
  return entry_type && PyModule_AddObjectRef(module, "_CacheEntry", reinterpret_cast<PyObject*>(entry_type)) == 0;
}

}  // namespace alt
