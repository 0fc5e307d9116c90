#include "util.h"

#include <string_view>

namespace alt {

static PyObject* weak_type = nullptr;

PyObject* new_weak(PyObject* obj, PyObject* callback) {
  if (!weak_type) {
    PyType_Slot slots[] = {{0, nullptr}};
    PyType_Spec spec = {"alternator._C.WeakReference", 0, 0, Py_TPFLAGS_DEFAULT, slots};
    weak_type = PyType_FromSpecWithBases(&spec, reinterpret_cast<PyObject*>(&_PyWeakref_RefType));
    if (!weak_type) return nullptr;
  }
  return PyObject_CallFunctionObjArgs(weak_type, obj, callback, nullptr);
}

void let_go(PyObject* obj) {
  if (!PyType_SUPPORTS_WEAKREFS(Py_TYPE(obj))) return;
  PyObject* next;
  for (PyObject* ref = py::first_weak_reference(obj); ref; ref = next) {
    next = py::next_weak_reference(ref);
    if (reinterpret_cast<PyObject*>(Py_TYPE(ref)) == weak_type) py::clear_weak_reference(ref);
  }
}

namespace {

// Whether nothing but a strong reference would do: the object knows no weak ones, or is made anew by each read.
bool needs_holding(PyObject* obj) {
  if (!PyCFunction_Check(obj)) return !PyType_SUPPORTS_WEAKREFS(Py_TYPE(obj));
  // `math.sqrt` lives as long as its module; `x.append` is made anew and says nothing about x's life; `dict.fromkeys` is made
  // anew, and the class never ends.
  PyObject* self = PyCFunction_GET_SELF(obj);
  return self && PyType_Check(self) && !PyType_HasFeature(reinterpret_cast<PyTypeObject*>(self), Py_TPFLAGS_HEAPTYPE);
}

// The class without which the object would be of no use; null: none that can end.
PyTypeObject* class_of_use(PyObject* obj, PyTypeObject* found_in) {
  PyTypeObject* type = Py_TYPE(obj);
  for (PyTypeObject* kind : {&PyMethodDescr_Type, &PyMemberDescr_Type, &PyGetSetDescr_Type, &PyWrapperDescr_Type, &PyClassMethodDescr_Type})
    if (type == kind) found_in = PyDescr_TYPE(obj);
  for (PyTypeObject* cls : {found_in, type})
    if (cls && PyType_HasFeature(cls, Py_TPFLAGS_HEAPTYPE)) return cls;
  return nullptr;
}

}  // namespace

bool Ref::make(PyObject* obj, Ref* out, PyTypeObject* found_in) {
  out->clear();
  PyObject* target = obj;
  if (needs_holding(obj)) {
    target = reinterpret_cast<PyObject*>(class_of_use(obj, found_in));
    if (!target) {
      out->held_ = Own::share(obj);
      return true;
    }
  }
  Own ref = Own::steal(new_weak(target, nullptr));
  if (!ref) return false;
  if (target != obj) {
    Own key = Own::steal(PyObject_CallNoArgs(reinterpret_cast<PyObject*>(&PyBaseObject_Type)));
    if (!key || !py::class_keeps(target, key.get(), obj)) return false;
    out->key_ = std::move(key);
    out->kept_ = obj;
  }
  out->held_ = std::move(ref);
  out->weak_ = true;
  return true;
}

void Ref::clear() {
  Own held = std::move(held_), key = std::move(key_);
  kept_ = nullptr;
  weak_ = false;
  if (!key) return;
  Own cls = Own::share(PyWeakref_GET_OBJECT(held.get()));
  if (cls.get() != Py_None) py::class_lets_go(cls.get(), key.get());
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
    if (module && PyUnicode_Check(module.get()) && name.find('.') == std::string::npos) {  // classes of C say it themselves
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

std::string with_article(const std::string& name) {
  const bool vowel = std::string_view("aeiouAEIOU").find(name[0]) != std::string_view::npos;
  return (vowel ? "an " : "a ") + name;
}

PyObject* sentinel_repr(PyObject* self) { return PyUnicode_FromString(reinterpret_cast<Sentinel*>(self)->repr); }

// "name" of a function and the like, by its own field or getter.
std::string name_of(PyObject* obj, const char* attribute) {
  Own name = Own::steal(PyObject_GetAttrString(obj, attribute));
  const char* text = name && PyUnicode_Check(name.get()) ? PyUnicode_AsUTF8(name.get()) : nullptr;
  PyErr_Clear();
  return text ? text : "?";
}

// Of a member of an enum.
Own member_name(PyObject* obj) {
  const std::string_view meta = Py_TYPE(Py_TYPE(obj))->tp_name;
  if (meta != "EnumType" && meta != "EnumMeta") return Own();
  Own key = Own::steal(PyUnicode_InternFromString("_name_"));
  Own name = Own::steal(key ? PyObject_GenericGetAttr(obj, key.get()) : nullptr);
  PyErr_Clear();
  return name && PyUnicode_Check(name.get()) && PyUnicode_AsUTF8(name.get()) ? std::move(name) : Own();
}

// What it is, without what its repr would show: an address, or what code of the program's says.
std::string kind_and_name(PyObject* obj) {
  PyTypeObject* type = Py_TYPE(obj);
  if (PyFunction_Check(obj)) return "function " + name_of(obj, "__qualname__");
  if (PyMethod_Check(obj)) return "method of " + with_article(type_name(Py_TYPE(PyMethod_GET_SELF(obj))));
  if (PyCFunction_Check(obj)) {
    PyObject* self = PyCFunction_GET_SELF(obj);
    const std::string name = name_of(obj, "__name__");
    return !self || PyModule_Check(self) ? "function " + name : "method " + name + " of " + with_article(type_name(Py_TYPE(self)));
  }
  if (PyModule_Check(obj)) {
    const char* name = PyModule_GetName(obj);
    PyErr_Clear();
    return std::string("module ") + (name ? name : "?");
  }
  if (PyCode_Check(obj)) return "code of " + name_of(obj, "co_qualname");
  if (Own member = member_name(obj)) return name_of(reinterpret_cast<PyObject*>(type), "__qualname__") + "." + PyUnicode_AsUTF8(member.get());
  if (PyType_Check(obj)) return "class " + type_name(reinterpret_cast<PyTypeObject*>(obj));
  const Py_ssize_t size = PyDict_Check(obj)                          ? PyDict_GET_SIZE(obj)
                          : PyList_Check(obj) || PyTuple_Check(obj) ? Py_SIZE(obj)
                          : PyAnySet_Check(obj)                      ? PySet_GET_SIZE(obj)
                                                                     : -1;
  return with_article(type_name(type)) + (size < 0 ? "" : size == 1 ? " of 1 item" : " of " + std::to_string(size) + " items");
}

// Whether its repr says nothing but what it is worth: a builtin without references to what may be anything.
bool repr_is_plain(PyObject* obj) {
  PyTypeObject* type = Py_TYPE(obj);
  if (is_plain_constant(obj)) return true;
  if (PyType_Check(obj)) return type->tp_repr == PyType_Type.tp_repr;
  if ((PyTuple_Check(obj) && !(type->tp_flags & Py_TPFLAGS_HEAPTYPE)) || type == &PyList_Type || type == &PySet_Type) {  // torch.Size
    Own items = Own::steal(PySequence_Tuple(obj));
    PyErr_Clear();
    return items && is_plain_constant(items.get());
  }
  return !(type->tp_flags & (Py_TPFLAGS_HEAPTYPE | Py_TPFLAGS_HAVE_GC)) && !PyCFunction_Check(obj) && !PyCode_Check(obj);
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
  if (!repr_is_plain(obj)) return kind_and_name(obj);
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
    return kind_and_name(obj);
  }
  if (text.find(" at 0x") != std::string::npos) return kind_and_name(obj);
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
