#include "util.h"

namespace alt {

PyObject* new_weak(PyObject* obj, PyObject* callback) {
  static PyObject* type = nullptr;
  if (!type) {
    PyType_Slot slots[] = {{0, nullptr}};
    PyType_Spec spec = {"alternator._C.WeakReference", 0, 0, Py_TPFLAGS_DEFAULT, slots};
    type = PyType_FromSpecWithBases(&spec, reinterpret_cast<PyObject*>(&_PyWeakref_RefType));
    if (!type) return nullptr;
  }
  return PyObject_CallFunctionObjArgs(type, obj, callback, nullptr);
}

bool Ref::make(PyObject* obj, Ref* out) {
  out->clear();
  bool strong = !PyType_SUPPORTS_WEAKREFS(Py_TYPE(obj));
  if (PyCFunction_Check(obj)) {
    // `len` is a builtin that its module keeps; `x.append` is made anew by each read and says nothing about x's life.
    PyObject* self = PyCFunction_GET_SELF(obj);
    const char* name = reinterpret_cast<PyCFunctionObject*>(obj)->m_ml->ml_name;
    strong = self && PyType_Check(self) && !PyType_HasFeature(reinterpret_cast<PyTypeObject*>(self), Py_TPFLAGS_HEAPTYPE);
    if (self && PyModule_Check(self)) strong = PyDict_GetItemString(PyModule_GetDict(self), name) == obj;
  }
  if (strong) {
    out->held_ = Own::share(obj);
    return true;
  }
  PyObject* ref = new_weak(obj, nullptr);
  if (!ref) return false;
  out->held_ = Own::steal(ref);
  out->weak_ = true;
  return true;
}

bool is_plain_constant(PyObject* obj) {
  PyTypeObject* t = Py_TYPE(obj);
  if (obj == Py_None || obj == Py_Ellipsis || obj == Py_NotImplemented) return true;
  if (t == &PyLong_Type || t == &PyBool_Type || t == &PyFloat_Type || t == &PyUnicode_Type || t == &PyBytes_Type ||
      t == &PyComplex_Type || t == &PyRange_Type)
    return true;
  if (t == &PyTuple_Type) {
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(obj); ++i)
      if (!is_plain_constant(PyTuple_GET_ITEM(obj, i))) return false;
    return true;
  }
  if (t == &PySlice_Type) {
    auto s = reinterpret_cast<PySliceObject*>(obj);
    return is_plain_constant(s->start) && is_plain_constant(s->stop) && is_plain_constant(s->step);
  }
  if (t == &PyFrozenSet_Type) {
    Py_ssize_t pos = 0;
    PyObject* key;
    Py_hash_t hash;
    while (_PySet_NextEntry(obj, &pos, &key, &hash))
      if (!is_plain_constant(key)) return false;
    return true;
  }
  return false;
}

std::string type_name(PyTypeObject* type) {
  KeepError keep;
  std::string name = type->tp_name;
  if (type->tp_flags & Py_TPFLAGS_HEAPTYPE) {
    Own module = Own::steal(PyObject_GetAttrString(reinterpret_cast<PyObject*>(type), "__module__"));
    if (module && PyUnicode_Check(module.get())) {
      const char* text = PyUnicode_AsUTF8(module.get());
      if (text && std::string(text) != "builtins") name = std::string(text) + "." + name;
    }
    PyErr_Clear();
  }
  return name;
}

namespace {

struct Sentinel {
  PyObject_HEAD
  const char* repr;
};

PyTypeObject* sentinel_type = nullptr;

PyObject* sentinel_repr(PyObject* self) { return PyUnicode_FromString(reinterpret_cast<Sentinel*>(self)->repr); }

// The user's own classes can have a repr that is slow, long or wrong; say what they are instead.
bool repr_is_ours(PyObject* obj) {
  PyTypeObject* t = Py_TYPE(obj);
  return is_plain_constant(obj) || PyType_Check(obj) || PyFunction_Check(obj) || PyCFunction_Check(obj) ||
         PyModule_Check(obj) || PyCode_Check(obj) || PyCell_Check(obj) ||
         (!(t->tp_flags & Py_TPFLAGS_HEAPTYPE) && t != &PyMethod_Type && !PyAnySet_Check(obj) && !PyDict_Check(obj) &&
          !PyList_Check(obj) && !PyTuple_Check(obj));
}

}  // namespace

PyObject* null_value = nullptr;

bool init_sentinels() {
  static PyType_Slot slots[] = {{Py_tp_repr, reinterpret_cast<void*>(sentinel_repr)}, {0, nullptr}};
  static PyType_Spec spec = {"alternator._C.Sentinel", sizeof(Sentinel), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE, slots};
  sentinel_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  if (!sentinel_type) return false;
  null_value = make_sentinel("NULL");
  return null_value != nullptr;
}

PyObject* make_sentinel(const char* repr) {
  Sentinel* obj = PyObject_New(Sentinel, sentinel_type);
  if (obj) obj->repr = repr;
  return reinterpret_cast<PyObject*>(obj);
}

std::string short_repr(PyObject* obj) {
  KeepError keep;
  if (!obj) return "nothing";
  std::string text;
  if (!repr_is_ours(obj)) {
    char address[32];
    PyOS_snprintf(address, sizeof address, " at %p>", static_cast<void*>(obj));
    return "<" + type_name(Py_TYPE(obj)) + address;
  }
  constexpr Py_ssize_t kShown = 120;
  Own start;  // of a text, which may be long
  if ((PyUnicode_CheckExact(obj) || PyBytes_CheckExact(obj)) && PyObject_Size(obj) > kShown)
    start = Own::steal(PySequence_GetSlice(obj, 0, kShown));
  Own repr = Own::steal(PyObject_Repr(start ? start.get() : obj));
  const char* utf8 = repr ? PyUnicode_AsUTF8(repr.get()) : nullptr;
  if (utf8) {
    text = utf8;
  } else {
    PyErr_Clear();
    text = "<" + type_name(Py_TYPE(obj)) + " object>";
  }
  for (char& c : text)
    if (c == '\n') c = ' ';
  if (text.size() > kShown) {
    size_t cut = kShown - 3;
    while (cut > 0 && (static_cast<unsigned char>(text[cut]) & 0xC0) == 0x80) --cut;  // not inside a character
    text = text.substr(0, cut) + "...";
  }
  return text;
}

Own take_error() {
  PyObject *type, *value, *trace;
  PyErr_Fetch(&type, &value, &trace);
  PyErr_NormalizeException(&type, &value, &trace);
  if (trace) PyException_SetTraceback(value, trace);
  Py_XDECREF(type);
  Py_XDECREF(trace);
  return Own::steal(value);
}

}  // namespace alt
