// alternator._C.guards.GuardTree
#include "guard_scan.h"

#include <structmember.h>

#include <chrono>
#include <numeric>

namespace alt {

namespace {

struct PyGuardTree {
  PyObject_HEAD
  GuardTree* tree;
  std::vector<uint32_t>* all;  // the numbers of all nodes, for values()
  PyObject* weakrefs;
};

PyTypeObject* tree_type = nullptr;

PyGuardTree* cast(PyObject* self) { return reinterpret_cast<PyGuardTree*>(self); }

// A function and its values as Python hands them over, held for the time of a check.
class Arguments {
 public:
  bool read(PyObject* func, PyObject* values) {
    if (func != Py_None && !PyFunction_Check(func)) {
      PyErr_Format(PyExc_TypeError, "expected a function or None, not %s", Py_TYPE(func)->tp_name);
      return false;
    }
    if (!PyList_Check(values) && !PyTuple_Check(values)) {
      PyErr_Format(PyExc_TypeError, "expected a list of values, not %s", Py_TYPE(values)->tp_name);
      return false;
    }
    const Py_ssize_t count = PySequence_Fast_GET_SIZE(values);
    PyObject** items = PySequence_Fast_ITEMS(values);
    held_.reserve(static_cast<size_t>(count));
    for (Py_ssize_t i = 0; i < count; ++i) held_.push_back(items[i] == null_value ? nullptr : Py_NewRef(items[i]));
    func_ = Own::share(func);
    call.func = func == Py_None ? nullptr : reinterpret_cast<PyFunctionObject*>(func);
    call.values = held_.data();
    call.count = count;
    return true;
  }
  Arguments() = default;
  Arguments(const Arguments&) = delete;
  Arguments& operator=(const Arguments&) = delete;
  ~Arguments() {
    for (PyObject* p : held_) Py_XDECREF(p);
  }
  Call call;

 private:
  std::vector<PyObject*> held_;
  Own func_;
};

PyObject* raise_why(const Why& why) {
  const char* text = why.text.empty() ? "a guard did not hold, but does when it is looked at again" : why.text.c_str();
  return PyErr_Format(PyExc_RuntimeError, "guards do not hold: %s", text);
}

PyObject* tree_new(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
  static const char* names[] = {"nodes", "tail", "func", "values", nullptr};
  PyObject *nodes, *tail, *func, *values;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOO", const_cast<char**>(names), &nodes, &tail, &func, &values))
    return nullptr;
  Own self = Own::steal(type->tp_alloc(type, 0));
  if (!self) return nullptr;
  auto tree = std::make_unique<GuardTree>();
  if (!tree->parse(nodes, tail)) return nullptr;
  cast(self.get())->tree = tree.release();
  Arguments arguments;
  if (!arguments.read(func, values)) return nullptr;
  GuardTree* t = cast(self.get())->tree;
  if (!t->check(arguments.call)) {
    Why why;
    t->check(arguments.call, nullptr, 0, nullptr, &why);
    return raise_why(why);
  }
  return self.release();
}

int tree_traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  return cast(self)->tree ? cast(self)->tree->traverse(visit, arg) : 0;
}

int tree_clear(PyObject* self) {
  if (cast(self)->tree) cast(self)->tree->clear();
  return 0;
}

void tree_dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  if (cast(self)->weakrefs) PyObject_ClearWeakRefs(self);
  delete std::exchange(cast(self)->tree, nullptr);
  delete std::exchange(cast(self)->all, nullptr);
  type->tp_free(self);
  Py_DECREF(type);
}

bool two(const char* name, Py_ssize_t n) {
  if (n == 2) return true;
  PyErr_Format(PyExc_TypeError, "%s() takes a function and a list of values", name);
  return false;
}

PyObject* tree_check(PyObject* self, PyObject* const* args, Py_ssize_t n) {
  Arguments arguments;
  if (!two("check", n) || !arguments.read(args[0], args[1])) return nullptr;
  return PyBool_FromLong(cast(self)->tree->check(arguments.call));
}

PyObject* tree_explain(PyObject* self, PyObject* const* args, Py_ssize_t n) {
  Arguments arguments;
  if (!two("explain", n) || !arguments.read(args[0], args[1])) return nullptr;
  Why why;
  if (cast(self)->tree->check(arguments.call, nullptr, 0, nullptr, &why)) Py_RETURN_NONE;
  return Py_BuildValue("(iis)", why.node, why.position, why.text.c_str());
}

PyObject* tree_values(PyObject* self, PyObject* const* args, Py_ssize_t n) {
  Arguments arguments;
  if (!two("values", n) || !arguments.read(args[0], args[1])) return nullptr;
  GuardTree* tree = cast(self)->tree;
  if (!cast(self)->all) {
    cast(self)->all = new std::vector<uint32_t>(tree->size());
    std::iota(cast(self)->all->begin(), cast(self)->all->end(), 0u);
  }
  const std::vector<uint32_t>& loads = *cast(self)->all;
  Own list = Own::steal(PyList_New(static_cast<Py_ssize_t>(loads.size())));
  if (!list) return nullptr;
  PyObject** items = PySequence_Fast_ITEMS(list.get());
  if (!tree->check(arguments.call, loads.data(), loads.size(), items)) {
    Why why;
    tree->check(arguments.call, nullptr, 0, nullptr, &why);
    return raise_why(why);
  }
  return list.release();
}

// Nanoseconds of one check, without Python's share in the call.
PyObject* tree_time(PyObject* self, PyObject* const* args, Py_ssize_t n) {
  if (n != 3) return PyErr_Format(PyExc_TypeError, "_time() takes a function, a list of values and a number of rounds");
  Arguments arguments;
  long rounds = PyLong_AsLong(args[2]);
  if ((rounds == -1 && PyErr_Occurred()) || !arguments.read(args[0], args[1])) return nullptr;
  const auto begin = std::chrono::steady_clock::now();
  bool ok = true;
  for (long i = 0; i < rounds; ++i) ok &= cast(self)->tree->check(arguments.call);
  const std::chrono::duration<double, std::nano> spent = std::chrono::steady_clock::now() - begin;
  if (!ok) return PyErr_Format(PyExc_RuntimeError, "the guards do not hold");
  return PyFloat_FromDouble(spent.count() / static_cast<double>(rounds));
}

PyObject* tree_scan(PyObject* self, void*) {
  const GuardScan* scan = cast(self)->tree->scan();
  if (!scan) Py_RETURN_NONE;
  Own result = Own::steal(PyDict_New());
  if (!result) return nullptr;
  for (auto [name, size] : scan->sizes()) {
    Own value = Own::steal(PyLong_FromSize_t(size));
    if (!value || PyDict_SetItemString(result.get(), name, value.get()) < 0) return nullptr;
  }
  return result.release();
}

PyObject* tree_dead(PyObject* self, void*) { return PyBool_FromLong(cast(self)->tree->dead()); }
Py_ssize_t tree_len(PyObject* self) { return static_cast<Py_ssize_t>(cast(self)->tree->size()); }

PyCFunction fast(PyObject* (*fn)(PyObject*, PyObject* const*, Py_ssize_t)) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(fn));
}

}  // namespace

GuardTree* guard_tree_of(PyObject* obj) { return Py_TYPE(obj) == tree_type ? cast(obj)->tree : nullptr; }

bool init_guard_tree_type(PyObject* module) {
  static PyMethodDef methods[] = {
      {"check", fast(tree_check), METH_FASTCALL, "check(func, values) -> bool"},
      {"explain", fast(tree_explain), METH_FASTCALL, "explain(func, values) -> None | (node or -1, position, text)"},
      {"values", fast(tree_values), METH_FASTCALL, "values(func, values) -> list of the values of all nodes"},
      {"_time", fast(tree_time), METH_FASTCALL, "_time(func, values, rounds) -> nanoseconds of one check"},
      {nullptr, nullptr, 0, nullptr}};
  static PyGetSetDef getset[] = {{"dead", tree_dead, nullptr, "True if the guards can never hold again", nullptr},
                                 {"_scan", tree_scan, nullptr, "how much a flat check looks at, or None", nullptr},
                                 {nullptr, nullptr, nullptr, nullptr, nullptr}};
  static PyMemberDef members[] = {
      {"__weaklistoffset__", T_PYSSIZET, offsetof(PyGuardTree, weakrefs), READONLY, nullptr}, {nullptr, 0, 0, 0, nullptr}};
  static PyType_Slot slots[] = {{Py_tp_new, reinterpret_cast<void*>(tree_new)},
                                {Py_tp_dealloc, reinterpret_cast<void*>(tree_dealloc)},
                                {Py_tp_traverse, reinterpret_cast<void*>(tree_traverse)},
                                {Py_tp_clear, reinterpret_cast<void*>(tree_clear)},
                                {Py_sq_length, reinterpret_cast<void*>(tree_len)},
                                {Py_tp_methods, methods},
                                {Py_tp_getset, getset},
                                {Py_tp_members, members},
                                {Py_tp_doc, const_cast<char*>("GuardTree(nodes, tail, func, values)")},
                                {0, nullptr}};
  static PyType_Spec spec = {"alternator._C.guards.GuardTree", sizeof(PyGuardTree), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE, slots};
  PyObject* type = PyType_FromSpec(&spec);
  if (!type) return false;
  tree_type = reinterpret_cast<PyTypeObject*>(type);
  call_words = PyDict_New();
  return call_words && PyModule_AddObjectRef(module, "call_words", call_words) == 0 && init_registrations() && PyModule_AddObjectRef(module, "GuardTree", type) == 0;
}

}  // namespace alt
