// Dicts and sets as they lie in memory: read and changed without asking a key for its hash, by the one that it had when it was put in.
#include "util.h"

#include <unordered_map>
#include <vector>

namespace alt {

namespace {

struct Entry {
  Own key, value;  // held: what is made of them may start a collection, which may empty the table; of a set, the value is null
  Py_hash_t hash;
};

// The entries in the order in which the program sees them. False: an OrderedDict that was changed behind its back, by methods of dict.
bool entries_of(PyObject* table, std::vector<Entry>* out) {
  Py_ssize_t at = 0;
  PyObject *key, *value = nullptr;
  Py_hash_t hash;
  const auto put = [&](PyObject* given) { out->push_back({Own::share(key), Own::share(given), hash}); };
  if (PyAnySet_Check(table)) {
    while (_PySet_NextEntry(table, &at, &key, &hash)) put(nullptr);
    return true;
  }
  if (!PyODict_Check(table)) {
    while (_PyDict_Next(table, &at, &key, &value, &hash)) put(value);
    return true;
  }
  std::unordered_map<PyObject*, PyObject*> values;
  while (_PyDict_Next(table, &at, &key, &value, &hash)) values.emplace(key, value);
  for (const py::ODictNode* node = py::odict_first(table); node; node = node->next) {
    const auto found = values.find(node->key);
    if (found == values.end()) return false;
    out->push_back({Own::share(node->key), Own::share(found->second), node->hash});
  }
  return out->size() == values.size();
}

// contents(table) -> (keys, values, hashes), each a tuple, in order; of a set, the values are empty.
PyObject* contents(PyObject*, PyObject* table) {
  if (!PyDict_Check(table) && !PyAnySet_Check(table)) return PyErr_Format(PyExc_TypeError, "contents() takes a dict or a set");
  std::vector<Entry> entries;
  if (!entries_of(table, &entries)) return PyErr_Format(PyExc_ValueError, "an OrderedDict that methods of dict have changed");
  const auto count = static_cast<Py_ssize_t>(entries.size());
  Own keys = Own::steal(PyTuple_New(count)), hashes = Own::steal(PyTuple_New(count));
  Own values = Own::steal(PyTuple_New(PyDict_Check(table) ? count : 0));
  if (!keys || !values || !hashes) return nullptr;
  for (Py_ssize_t i = 0; i < count; ++i) {
    Entry& entry = entries[static_cast<size_t>(i)];
    PyObject* hash = PyLong_FromSsize_t(entry.hash);
    if (!hash) return nullptr;
    PyTuple_SET_ITEM(hashes.get(), i, hash);
    PyTuple_SET_ITEM(keys.get(), i, entry.key.release());
    if (entry.value) PyTuple_SET_ITEM(values.get(), i, entry.value.release());
  }
  return PyTuple_Pack(3, keys.get(), values.get(), hashes.get());
}

bool hash_from(PyObject* number, Py_hash_t* out) {
  *out = PyLong_AsSsize_t(number);
  return !(*out == -1 && PyErr_Occurred());
}

bool is_plain_dict(PyObject* table) { return PyDict_Check(table) && !PyODict_Check(table); }

// put(table, key, value, hash): table[key] = value; of a set, that the key is in it.
PyObject* put(PyObject*, PyObject* const* args, Py_ssize_t count) {
  Py_hash_t hash;
  if (count != 4 || !(is_plain_dict(args[0]) || PySet_Check(args[0])))
    return PyErr_Format(PyExc_TypeError, "put() takes a dict or a set, a key, a value and a hash");
  if (!hash_from(args[3], &hash)) return nullptr;
  if (PyDict_Check(args[0])) {
    if (_PyDict_SetItem_KnownHash(args[0], args[1], args[2], hash) < 0) return nullptr;
    Py_RETURN_NONE;
  }
  Own one = Own::steal(PyDict_New());  // from which a set takes over the hash
  if (!one || _PyDict_SetItem_KnownHash(one.get(), args[1], Py_None, hash) < 0 || _PySet_Update(args[0], one.get()) < 0) return nullptr;
  Py_RETURN_NONE;
}

// take_out(table, key, hash): del table[key]
PyObject* take_out(PyObject*, PyObject* const* args, Py_ssize_t count) {
  Py_hash_t hash;
  if (count != 3 || !is_plain_dict(args[0])) return PyErr_Format(PyExc_TypeError, "take_out() takes a dict, a key and a hash");
  if (!hash_from(args[2], &hash) || _PyDict_DelItem_KnownHash(args[0], args[1], hash) < 0) return nullptr;
  Py_RETURN_NONE;
}

PyCFunction fast(PyObject* (*fn)(PyObject*, PyObject* const*, Py_ssize_t)) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(fn));
}

}  // namespace

bool init_tables(PyObject* module) {
  static PyMethodDef methods[] = {
      {"contents", contents, METH_O, "contents(table) -> (keys, values, hashes) of a dict or set in its order, no key asked"},
      {"put", fast(put), METH_FASTCALL, "put(table, key, value, hash): into a dict or set, by a hash that is known"},
      {"take_out", fast(take_out), METH_FASTCALL, "take_out(table, key, hash): out of a dict, by a hash that is known"},
      {nullptr, nullptr, 0, nullptr}};
  return PyModule_AddFunctions(module, methods) == 0;
}

}  // namespace alt
