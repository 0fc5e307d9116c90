// alternator._C.build: what generated code makes objects with.
#include "util.h"

#include <structmember.h>

#include <vector>

namespace alt {

namespace {

PyObject* with_dict(PyObject* cls, PyObject* attributes) {
  auto type = reinterpret_cast<PyTypeObject*>(cls);
  if (!py::is_python_class(type)) return PyErr_Format(PyExc_TypeError, "instance(): %s has a native base", type->tp_name);
  Own made = Own::steal(type->tp_alloc(type, 0));
  PyObject** slot = nullptr;
  if (!made) return nullptr;
  if (py::dict_slot(made.get(), &slot) != py::Slot::ready || *slot)
    return PyErr_Format(PyExc_TypeError, "instance(): objects of %s have no __dict__", type->tp_name);
  *slot = Py_NewRef(attributes);
  return made.release();
}

// instance(cls, attributes): a new object of a Python class without native base, whose __dict__ is that very dict.
PyObject* instance(PyObject*, PyObject* const* args, Py_ssize_t count) {
  if (count != 2 || !PyType_Check(args[0]) || !PyDict_CheckExact(args[1]))
    return PyErr_Format(PyExc_TypeError, "instance() takes a class and a dict");
  return with_dict(args[0], args[1]);
}

// ordered(cls, items, attributes): the same for a subclass of OrderedDict, with the items of a dict.
PyObject* ordered(PyObject*, PyObject* const* args, Py_ssize_t count) {
  if (count != 3 || !PyType_Check(args[0]) || !PyDict_CheckExact(args[1]) || !PyDict_CheckExact(args[2]))
    return PyErr_Format(PyExc_TypeError, "ordered() takes a class and two dicts");
  auto type = reinterpret_cast<PyTypeObject*>(args[0]);
  if (!PyType_IsSubtype(type, &PyODict_Type)) return PyErr_Format(PyExc_TypeError, "ordered(): not an OrderedDict");
  static PyObject* empty = PyTuple_New(0);
  Own made = Own::steal(PyODict_Type.tp_new(type, empty, nullptr));
  if (!made) return nullptr;
  Py_ssize_t at = 0;
  PyObject *key, *value;
  while (PyDict_Next(args[1], &at, &key, &value))
    if (PyODict_SetItem(made.get(), key, value) < 0) return nullptr;
  PyObject** slot = nullptr;
  if (PyDict_GET_SIZE(args[2]) == 0) return made.release();
  if (py::dict_slot(made.get(), &slot) == py::Slot::none || !slot)
    return PyErr_Format(PyExc_TypeError, "ordered(): objects of %s have no __dict__", type->tp_name);
  py::make_dict(made.get());
  Own old = Own::steal(std::exchange(*slot, Py_NewRef(args[2])));
  return made.release();
}

// ---- Mold: instances that have most of their attributes in common ---------------------------------------------------------

struct Field {
  PyObject* name;      // borrowed from the dict
  PyObject* constant;  // likewise
  Py_ssize_t given;    // which of the values that are handed in; -1: the constant
  Py_ssize_t place;    // among the inline values of the last class; a guess
};

struct Mold {
  PyObject_HEAD
  PyObject* attributes;
  PyObject* names;
  std::vector<Field>* fields;  // null: the names are not all among the attributes
  vectorcallfunc vectorcall;
};

Mold* mold_of(PyObject* self) { return reinterpret_cast<Mold*>(self); }

// Finds the places of all names among those of a class, if they are not where they were. False: some have none.
bool find_places(const py::InlineNames& names, std::vector<Field>& fields) {
  for (Field& field : fields) {
    if (field.place < names.count() && names[field.place] == field.name) continue;
    Py_ssize_t at = 0;
    while (at < names.count() && names[at] != field.name) ++at;
    if (at == names.count()) return false;
    field.place = at;
  }
  return true;
}

PyObject* with_copied_dict(Mold* self, PyObject* cls, PyObject* const* values) {
  Own attributes = Own::steal(PyDict_Copy(self->attributes));
  if (!attributes) return nullptr;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(self->names); ++i)
    if (PyDict_SetItem(attributes.get(), PyTuple_GET_ITEM(self->names, i), values[i]) < 0) return nullptr;
  return with_dict(cls, attributes.get());
}

PyObject* mold_call(PyObject* obj, PyObject* const* args, size_t nargsf, PyObject* kwnames) {
  Mold* self = mold_of(obj);
  if (kwnames || PyVectorcall_NARGS(nargsf) != PyTuple_GET_SIZE(self->names) + 1 || !PyType_Check(args[0]))
    return PyErr_Format(PyExc_TypeError, "a Mold takes a class and %zd values", PyTuple_GET_SIZE(self->names));
  auto type = reinterpret_cast<PyTypeObject*>(args[0]);
  const py::InlineNames names(type);
  if (!self->fields || !py::is_python_class(type) || names.count() == 0 || !find_places(names, *self->fields))
    return with_copied_dict(self, args[0], args + 1);
  Own made = Own::steal(type->tp_alloc(type, 0));
  PyObject** slot = nullptr;
  if (!made) return nullptr;
  if (py::dict_slot(made.get(), &slot) != py::Slot::ready || *slot) return with_copied_dict(self, args[0], args + 1);
  py::InlineValues values(names.room());
  if (!values) return PyErr_NoMemory();
  for (const Field& field : *self->fields) values.set(field.place, field.given < 0 ? field.constant : args[1 + field.given]);
  values.give_to(made.get());
  return made.release();
}

PyObject* mold_new(PyTypeObject* type, PyObject* args, PyObject*) {
  PyObject *attributes, *names;
  if (!PyArg_ParseTuple(args, "O!O!:Mold", &PyDict_Type, &attributes, &PyTuple_Type, &names)) return nullptr;
  Own copy = Own::steal(PyDict_Copy(attributes));
  Own self = Own::steal(copy ? type->tp_alloc(type, 0) : nullptr);
  if (!self) return nullptr;
  Mold* mold = mold_of(self.get());
  mold->names = Py_NewRef(names);
  mold->vectorcall = mold_call;
  auto fields = new std::vector<Field>;
  Py_ssize_t at = 0, found = 0;
  PyObject *name, *value;
  bool strings = true;
  while (PyDict_Next(copy.get(), &at, &name, &value)) {
    Field field{name, value, -1, 0};
    strings &= PyUnicode_CheckExact(name);
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(names); ++i)
      if (PyTuple_GET_ITEM(names, i) == name) field.given = i, ++found;
    fields->push_back(field);
  }
  mold->attributes = copy.release();
  if (strings && found == PyTuple_GET_SIZE(names)) mold->fields = fields;
  else delete fields;
  return self.release();
}

int mold_traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(mold_of(self)->attributes);
  Py_VISIT(mold_of(self)->names);
  return 0;
}

void mold_dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  delete mold_of(self)->fields;
  Py_XDECREF(mold_of(self)->attributes);
  Py_XDECREF(mold_of(self)->names);
  type->tp_free(self);
  Py_DECREF(type);
}

bool init_mold(PyObject* module) {
  static PyMemberDef members[] = {{"__vectorcalloffset__", T_PYSSIZET, offsetof(Mold, vectorcall), READONLY, nullptr},
                                  {nullptr, 0, 0, 0, nullptr}};
  static const char* doc =
      "Mold(attributes, names): called with a class and a value for each name, it makes an object of the class with these attributes";
  static PyType_Slot slots[] = {{Py_tp_new, reinterpret_cast<void*>(mold_new)},
                                {Py_tp_dealloc, reinterpret_cast<void*>(mold_dealloc)},
                                {Py_tp_traverse, reinterpret_cast<void*>(mold_traverse)},
                                {Py_tp_call, reinterpret_cast<void*>(PyVectorcall_Call)},
                                {Py_tp_members, members},
                                {Py_tp_doc, const_cast<char*>(doc)},
                                {0, nullptr}};
  static PyType_Spec spec = {"alternator._C.build.Mold", sizeof(Mold), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_HAVE_VECTORCALL, slots};
  Own type = Own::steal(PyType_FromSpec(&spec));
  return type && PyModule_AddObjectRef(module, "Mold", type.get()) == 0;
}

PyCFunction fast(PyObject* (*fn)(PyObject*, PyObject* const*, Py_ssize_t)) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(fn));
}

}  // namespace

bool init_build(PyObject* module) {
  static PyMethodDef methods[] = {
      {"instance", fast(instance), METH_FASTCALL, "instance(cls, attributes) -> an object with that dict as its __dict__"},
      {"ordered", fast(ordered), METH_FASTCALL, "ordered(cls, items, attributes) -> an instance of a subclass of OrderedDict"},
      {nullptr, nullptr, 0, nullptr}};
  return PyModule_AddFunctions(module, methods) == 0 && init_mold(module);
}

}  // namespace alt
