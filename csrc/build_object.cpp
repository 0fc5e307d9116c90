// alternator._C.build: what generated code makes objects with.
#include "util.h"

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

// like(cls, attributes, names, *values): the same with a copy of the dict, in which these names have these values.
PyObject* like(PyObject*, PyObject* const* args, Py_ssize_t count) {
  if (count < 3 || !PyType_Check(args[0]) || !PyDict_CheckExact(args[1]) || !PyTuple_CheckExact(args[2]) ||
      PyTuple_GET_SIZE(args[2]) != count - 3)
    return PyErr_Format(PyExc_TypeError, "like() takes a class, a dict, a tuple of names, and as many values");
  Own attributes = Own::steal(PyDict_Copy(args[1]));
  if (!attributes) return nullptr;
  for (Py_ssize_t i = 3; i < count; ++i)
    if (PyDict_SetItem(attributes.get(), PyTuple_GET_ITEM(args[2], i - 3), args[i]) < 0) return nullptr;
  return with_dict(args[0], attributes.get());
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

PyCFunction fast(PyObject* (*fn)(PyObject*, PyObject* const*, Py_ssize_t)) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(fn));
}

}  // namespace

bool init_build(PyObject* module) {
  static PyMethodDef methods[] = {
      {"instance", fast(instance), METH_FASTCALL, "instance(cls, attributes) -> an object with that dict as its __dict__"},
      {"like", fast(like), METH_FASTCALL,
       "like(cls, attributes, names, *values) -> an object with a copy of the dict, in which these names have these values"},
      {"ordered", fast(ordered), METH_FASTCALL, "ordered(cls, items, attributes) -> an instance of a subclass of OrderedDict"},
      {nullptr, nullptr, 0, nullptr}};
  return PyModule_AddFunctions(module, methods) == 0;
}

}  // namespace alt
