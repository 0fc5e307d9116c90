#include "guard_tree.h"

#include <cstring>

namespace alt {

namespace {

PyObject* error_hook = nullptr;
PyObject* cache_token = nullptr;  // _abc.get_cache_token

bool same_attribute(PyObject* a, PyObject* b, const char* name) {
  Own x = Own::steal(PyObject_GetAttrString(a, name));
  Own y = Own::steal(PyObject_GetAttrString(b, name));
  if (!x || !y) {
    PyErr_Clear();
    return false;
  }
  return same_constant(x.get(), y.get());
}

// The same constants in the same slots: equal ones may still come in another order, alone or in sets that are made of them.
bool same_frozenset(PyObject* a, PyObject* b) {
  Py_ssize_t i = 0, j = 0;
  PyObject *x, *y;
  Py_hash_t hash, other;
  if (!same_spread(a, b)) return false;
  while (_PySet_NextEntry(a, &i, &x, &hash))
    if (!_PySet_NextEntry(b, &j, &y, &other) || !same_constant(x, y)) return false;
  return true;
}

}  // namespace

bool same_constant(PyObject* a, PyObject* b) {
  if (a == b) return true;
  PyTypeObject* type = Py_TYPE(a);
  if (type != Py_TYPE(b)) return false;
  if (type == &PyFloat_Type) {
    double x = PyFloat_AS_DOUBLE(a), y = PyFloat_AS_DOUBLE(b);
    return std::memcmp(&x, &y, sizeof x) == 0;
  }
  if (type == &PyComplex_Type) {
    Py_complex x = PyComplex_AsCComplex(a), y = PyComplex_AsCComplex(b);
    return std::memcmp(&x, &y, sizeof x) == 0;
  }
  if (type == &PyTuple_Type) {
    Py_ssize_t n = PyTuple_GET_SIZE(a);
    if (n != PyTuple_GET_SIZE(b)) return false;
    for (Py_ssize_t i = 0; i < n; ++i)
      if (!same_constant(PyTuple_GET_ITEM(a, i), PyTuple_GET_ITEM(b, i))) return false;
    return true;
  }
  if (type == &PySlice_Type) {
    auto x = reinterpret_cast<PySliceObject*>(a), y = reinterpret_cast<PySliceObject*>(b);
    return same_constant(x->start, y->start) && same_constant(x->stop, y->stop) && same_constant(x->step, y->step);
  }
  if (type == &PyRange_Type)
    return same_attribute(a, b, "start") && same_attribute(a, b, "stop") && same_attribute(a, b, "step");
  if (type == &PyFrozenSet_Type) return same_frozenset(a, b);
  int equal = PyObject_RichCompareBool(a, b, Py_EQ);
  if (equal < 0) report_guard_error();
  return equal > 0;
}

bool same_value(PyObject* constant, PyObject* value) {
  PyTypeObject* type = Py_TYPE(constant);
  if (!PyObject_TypeCheck(value, type)) return false;
  if (type == &PyUnicode_Type) return PyUnicode_Compare(constant, value) == 0;
  if (type == &PyFloat_Type) {
    const double x = PyFloat_AS_DOUBLE(constant), y = PyFloat_AS_DOUBLE(value);
    return std::memcmp(&x, &y, sizeof x) == 0;
  }
  if (type == &PyComplex_Type) {
    const Py_complex x = PyComplex_AsCComplex(constant), y = PyComplex_AsCComplex(value);
    return std::memcmp(&x, &y, sizeof x) == 0;
  }
  if (type != &PyLong_Type && type != &PyBytes_Type) return false;
  Own equal = Own::steal(type->tp_richcompare(constant, value, Py_EQ));  // the builtin's own, whatever the subclass has
  if (!equal) PyErr_Clear();
  return equal.get() == Py_True;
}

bool same_items(PyObject* constants, PyObject* set) {
  if (!PyAnySet_Check(set) || PySet_GET_SIZE(set) != PyTuple_GET_SIZE(constants)) return false;
  Py_ssize_t at = 0;
  PyObject* found;
  Py_hash_t hash;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(constants); ++i) {
    if (!_PySet_NextEntry(set, &at, &found, &hash)) return false;
    PyObject* constant = PyTuple_GET_ITEM(constants, i);
    if (constant != found && (!is_plain_constant(found) || !same_constant(constant, found))) return false;
  }
  return true;
}

bool Key::make(PyObject* obj, Key* out) {
  out->hash = PyObject_Hash(obj);
  if (out->hash == -1) return false;
  if (is_plain_constant(obj)) {
    out->held = Own::share(obj);
    return true;
  }
  out->may_run_python = (Py_TYPE(obj)->tp_flags & Py_TPFLAGS_HEAPTYPE) != 0;
  return Ref::make(obj, &out->ref);
}

bool Key::matches(PyObject* obj) const {
  PyObject* mine = get();
  if (!mine) return false;
  return mine == obj || (held && same_constant(mine, obj));
}

Py_ssize_t native_length(PyObject* obj) {
  if (PyList_Check(obj)) return PyList_GET_SIZE(obj);
  if (PyTuple_Check(obj)) return PyTuple_GET_SIZE(obj);
  if (PyDict_Check(obj)) return PyDict_GET_SIZE(obj);
  if (PyAnySet_Check(obj)) return PySet_GET_SIZE(obj);
  if (PyUnicode_Check(obj)) return PyUnicode_GET_LENGTH(obj);
  if (PyBytes_Check(obj)) return PyBytes_GET_SIZE(obj);
  // A deque, a range, a subclass of one: the C code of the builtin base, whatever `__len__` a subclass has.
  PyTypeObject* base = Py_TYPE(obj);
  while (base && py::type_can_change(base)) base = base->tp_base;
  lenfunc length = nullptr;
  if (base && base->tp_as_sequence) length = base->tp_as_sequence->sq_length;
  if (!length && base && base->tp_as_mapping) length = base->tp_as_mapping->mp_length;
  Py_ssize_t n = length ? length(obj) : -1;
  if (n < 0) PyErr_Clear();
  return n;
}

bool waits_at(PyObject* code, Py_ssize_t place, PyObject* generator) {
  if (!PyGen_CheckExact(generator)) return false;
  const py::Waits state = py::generator_waits(generator);
  if (place < 0) return state == py::Waits::finished;
  if (state != py::Waits::at_start && state != py::Waits::at_yield) return false;
  return reinterpret_cast<PyObject*>(py::generator_code(generator)) == code && py::generator_place(generator) == place;
}

bool keys_match(const std::vector<Key>& keys, PyObject* dict) {
  if (static_cast<size_t>(PyDict_GET_SIZE(dict)) != keys.size()) return false;
  if (PyODict_Check(dict)) {
    const py::ODictNode* node = py::odict_first(dict);
    for (const Key& key : keys) {
      if (!node || !key.matches(node->key)) return false;
      node = node->next;
    }
    return true;
  }
  Py_ssize_t pos = 0;
  PyObject* found;
  for (const Key& key : keys)
    if (!PyDict_Next(dict, &pos, &found, nullptr) || !key.matches(found)) return false;
  return true;
}

// The keys in their order.  An iterator of an OrderedDict would ask each for its hash.
Own keys_of(PyObject* dict) {
  if (!PyODict_Check(dict)) return Own::steal(PyDict_Keys(dict));
  Own list = Own::steal(PyList_New(0));
  for (const py::ODictNode* node = py::odict_first(dict); list && node; node = node->next)
    if (PyList_Append(list.get(), node->key) < 0) list = Own();
  return list;
}

std::string keys_mismatch(const std::vector<Key>& keys, PyObject* dict) {
  Own list = keys_of(dict);
  if (!list) PyErr_Clear();
  std::string want = "[";
  for (size_t i = 0; i < keys.size() && i < 20; ++i) want += (i ? ", " : "") + short_repr(keys[i].get());
  want += keys.size() > 20 ? ", ...]" : "]";
  std::string found = "[";
  Py_ssize_t count = list ? PyList_GET_SIZE(list.get()) : 0;
  for (Py_ssize_t i = 0; i < count && i < 20; ++i) found += (i ? ", " : "") + short_repr(PyList_GET_ITEM(list.get(), i));
  found += count > 20 ? ", ...]" : "]";
  return "expected the keys " + want + ", found " + (want == found ? "others that look the same" : found);
}

bool check_other_guard(const Guard& guard, PyObject* value) {
  switch (guard.kind) {
    case Kind::type: return reinterpret_cast<PyObject*>(Py_TYPE(value)) == guard.ref.get();
    case Kind::is: return value == guard.ref.get();
    case Kind::eq: return same_constant(guard.object.get(), value);
    case Kind::value: return same_value(guard.object.get(), value);
    case Kind::items: return same_items(guard.object.get(), value) && has_layout(value, guard.layout.get());
    case Kind::tensor: return tensor_matches(*guard.tensor, value);
    case Kind::not_none: return value != Py_None;
    case Kind::waits: return waits_at(guard.ref.get(), guard.length, value);
    case Kind::keys: return PyDict_Check(value) && keys_match(guard.keys, value);
    case Kind::len: return native_length(value) == guard.length;
    case Kind::py: {
      Own result = Own::steal(PyObject_CallOneArg(guard.object.get(), value));
      int truth = result ? PyObject_IsTrue(result.get()) : -1;
      if (truth < 0) report_guard_error();
      return truth > 0;
    }
  }
  return false;
}

std::string guard_mismatch(const Guard& guard, PyObject* value) {
  auto expected = [&](PyObject* want) { return want ? short_repr(want) : std::string("an object that is gone"); };
  switch (guard.kind) {
    case Kind::type: {
      PyObject* want = guard.ref.get();
      return "expected type " +
             (want ? type_name(reinterpret_cast<PyTypeObject*>(want)) : std::string("(a class that is gone)")) +
             ", found " + type_name(Py_TYPE(value));
    }
    case Kind::is: {
      PyObject* want = guard.ref.get();
      std::string w = expected(want), f = short_repr(value);
      return "expected the object " + w + ", found " + (w == f ? "another one that looks the same" : f);
    }
    case Kind::eq: {
      std::string w = expected(guard.object.get()), f = short_repr(value);
      if (Py_TYPE(guard.object.get()) != Py_TYPE(value) && is_plain_constant(value)) {
        w += " (" + type_name(Py_TYPE(guard.object.get())) + ")";
        f += " (" + type_name(Py_TYPE(value)) + ")";
      }
      return "expected " + w + ", found " + f;
    }
    case Kind::value: return "expected the value " + expected(guard.object.get()) + ", found " + short_repr(value);
    case Kind::items:
      if (same_items(guard.object.get(), value)) return "the members " + expected(guard.object.get()) + " have come together in another way";
      return "expected the members " + expected(guard.object.get()) + ", found " + short_repr(value);
    case Kind::len: {
      Py_ssize_t n = native_length(value);
      return "expected length " + std::to_string(guard.length) + ", found " +
             (n < 0 ? short_repr(value) : std::to_string(n));
    }
    case Kind::keys:
      return PyDict_Check(value) ? keys_mismatch(guard.keys, value) : "expected a dict, found " + short_repr(value);
    case Kind::tensor: return tensor_mismatch(*guard.tensor, value);
    case Kind::not_none: return "expected something else than None";
    case Kind::waits: return "the generator does not wait where it did";
    case Kind::py: return "no longer true: " + guard.text;
  }
  return "";
}

bool guard_is_stable(const Guard& guard, PyObject* value) {
  switch (guard.kind) {
    case Kind::type: return !py::instances_can_change_type(Py_TYPE(value));
    case Kind::is:
    case Kind::value:
    case Kind::not_none: return true;
    case Kind::eq: return guard.plain;
    case Kind::len: return PyTuple_Check(value) || PyUnicode_Check(value) || PyBytes_Check(value) || PyFrozenSet_Check(value);
    case Kind::items: return PyFrozenSet_Check(value);
    case Kind::keys:
    case Kind::tensor:
    case Kind::waits:
    case Kind::py: return false;
  }
  return false;
}

bool guard_may_run_python(const Guard& guard) {
  switch (guard.kind) {
    case Kind::py: return true;
    case Kind::eq: return !guard.plain;
    case Kind::tensor: return tensor_check_may_run_python(*guard.tensor);
    default: return false;
  }
}

bool init_registrations() {
  Own module = Own::steal(PyImport_ImportModule("_abc"));
  cache_token = module ? PyObject_GetAttrString(module.get(), "get_cache_token") : nullptr;
  return cache_token != nullptr;
}

uint64_t count_registrations() {
  Own token = Own::steal(PyObject_CallNoArgs(cache_token));
  const uint64_t count = token ? PyLong_AsUnsignedLongLongMask(token.get()) : UINT64_MAX;
  if (PyErr_Occurred()) PyErr_Clear();
  return count;
}

void report_guard_error() {
  PyObject *type, *value, *tb;
  PyErr_Fetch(&type, &value, &tb);
  if (type && error_hook) {
    PyErr_NormalizeException(&type, &value, &tb);
    if (tb) PyException_SetTraceback(value, tb);
    Own hook = Own::share(error_hook);
    Own result = Own::steal(PyObject_CallOneArg(hook.get(), value));
    if (!result) PyErr_WriteUnraisable(hook.get());
  }
  Py_XDECREF(type);
  Py_XDECREF(value);
  Py_XDECREF(tb);
}

PyObject* set_guard_error_hook(PyObject*, PyObject* hook) {
  PyObject* old = error_hook;
  error_hook = hook == Py_None ? nullptr : Py_NewRef(hook);
  return old ? old : Py_NewRef(Py_None);
}

}  // namespace alt
