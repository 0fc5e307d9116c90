// The rest of a function behind a break, and what comes after that: called one after the other, without nesting.
#include "frame_hook.h"

#include <structmember.h>

#include <vector>

namespace alt {

namespace {

PyTypeObject* bounce_type = nullptr;

// Call fn with the items of `given`; then, if there is a `then`, that with what came of it, an exception or None, and `kept`.
struct Bounce {
  PyObject_HEAD
  PyObject* fn;
  PyObject* given;
  PyObject* then;
  PyObject* kept;
  bool root;
  bool catches;
};

Bounce* bounce_of(PyObject* self) { return reinterpret_cast<Bounce*>(self); }

PyObject* bounce_new(PyTypeObject* type, PyObject* args, PyObject*) {
  PyObject *fn, *given, *then = nullptr, *kept = nullptr;
  int root = 0, catches = 0;
  if (!PyArg_ParseTuple(args, "OO!|pOO!p:Bounce", &fn, &PyList_Type, &given, &root, &then, &PyList_Type, &kept, &catches))
    return nullptr;
  if (then && !kept) return PyErr_Format(PyExc_TypeError, "Bounce: what is to be kept is missing");
  PyObject* self = type->tp_alloc(type, 0);
  if (!self) return nullptr;
  bounce_of(self)->fn = Py_NewRef(fn);
  bounce_of(self)->given = Py_NewRef(given);
  bounce_of(self)->then = Py_XNewRef(then);
  bounce_of(self)->kept = Py_XNewRef(kept);
  bounce_of(self)->root = root != 0;
  bounce_of(self)->catches = catches != 0;
  return self;
}

int bounce_traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(bounce_of(self)->fn);
  Py_VISIT(bounce_of(self)->given);
  Py_VISIT(bounce_of(self)->then);
  Py_VISIT(bounce_of(self)->kept);
  return 0;
}

int bounce_clear(PyObject* self) {
  Py_CLEAR(bounce_of(self)->fn);
  Py_CLEAR(bounce_of(self)->given);
  Py_CLEAR(bounce_of(self)->then);
  Py_CLEAR(bounce_of(self)->kept);
  return 0;
}

void bounce_dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  bounce_clear(self);
  type->tp_free(self);
  Py_DECREF(type);
}

// What came of the call, or its exception if that is wanted, in front of what was kept.
bool add_outcome(PyObject* kept, PyObject* result, bool catches) {
  Own outcome = Own::steal(result), error = Own::share(Py_None);
  if (!outcome) {
    if (!catches) return false;
    error = take_error();
    outcome = Own::share(Py_None);
  }
  return PyList_Insert(kept, 0, error.get()) == 0 && PyList_Insert(kept, 0, outcome.get()) == 0;
}

PyObject* drive_function(PyObject*, PyObject* const* args, Py_ssize_t count) {
  if (count != 2 || !PyList_CheckExact(args[1])) return PyErr_Format(PyExc_TypeError, "drive() takes a function and a list");
  return drive(call_moving(Own::share(args[0]), Own::share(args[1])));
}

}  // namespace

// Once the callee's frame has the items, nobody else does.
PyObject* call_moving(Own fn, Own given) {
  std::vector<PyObject*> items;
  const Py_ssize_t count = PyList_GET_SIZE(given.get());
  items.reserve(static_cast<size_t>(count) + 1);
  for (Py_ssize_t i = 0; i < count; ++i) items.push_back(Py_NewRef(PyList_GET_ITEM(given.get(), i)));
  PyObject* result = nullptr;
  if (PyList_SetSlice(given.get(), 0, count, nullptr) == 0) {
    given.clear();
    Moving moving{fn.get(), items.data(), count};
    Moving* outer = std::exchange(thread_hook.moving, &moving);
    result = PyObject_Vectorcall(fn.get(), items.data(), static_cast<size_t>(count), nullptr);
    thread_hook.moving = outer;
  }
  for (PyObject* item : items) Py_XDECREF(item);
  return result;
}

bool is_root_bounce(PyObject* result) { return Py_TYPE(result) == bounce_type && bounce_of(result)->root; }

PyObject* drive(PyObject* result) {
  while (result && Py_TYPE(result) == bounce_type) {
    Own fn = Own::steal(std::exchange(bounce_of(result)->fn, nullptr));
    Own given = Own::steal(std::exchange(bounce_of(result)->given, nullptr));
    Own then = Own::steal(std::exchange(bounce_of(result)->then, nullptr));
    Own kept = Own::steal(std::exchange(bounce_of(result)->kept, nullptr));
    const bool catches = bounce_of(result)->catches;
    Py_DECREF(result);
    if (!fn || !given) return PyErr_Format(PyExc_RuntimeError, "a Bounce can be driven once");
    result = call_moving(std::move(fn), std::move(given));
    if (!then) continue;
    if (!add_outcome(kept.get(), result, catches)) return nullptr;
    result = call_moving(std::move(then), std::move(kept));
  }
  return result;
}

bool take_moving(PyObject* func) {
  Moving* moving = std::exchange(thread_hook.moving, nullptr);
  if (moving->fn != func) return false;
  for (Py_ssize_t i = 0; i < moving->count; ++i) Py_CLEAR(moving->items[i]);
  return true;
}

bool init_drive(PyObject* module) {
  static PyMemberDef members[] = {{"fn", T_OBJECT, offsetof(Bounce, fn), READONLY, nullptr},
                                  {"given", T_OBJECT, offsetof(Bounce, given), READONLY, nullptr},
                                  {"root", T_BOOL, offsetof(Bounce, root), READONLY, nullptr},
                                  {nullptr, 0, 0, 0, nullptr}};
  static PyType_Slot slots[] = {{Py_tp_new, reinterpret_cast<void*>(bounce_new)},
                                {Py_tp_dealloc, reinterpret_cast<void*>(bounce_dealloc)},
                                {Py_tp_traverse, reinterpret_cast<void*>(bounce_traverse)},
                                {Py_tp_clear, reinterpret_cast<void*>(bounce_clear)},
                                {Py_tp_members, members},
                                {0, nullptr}};
  static PyType_Spec spec = {"alternator._C.eval_frame.Bounce", sizeof(Bounce), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE, slots};
  static PyMethodDef methods[] = {
      {"drive", reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(drive_function)), METH_FASTCALL,
       "drive(fn, items): call fn(*items), emptying the list, and what it says comes next, until there is a result"},
      {nullptr, nullptr, 0, nullptr}};
  bounce_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  return bounce_type && PyModule_AddObjectRef(module, "Bounce", reinterpret_cast<PyObject*>(bounce_type)) == 0 &&
         PyModule_AddFunctions(module, methods) == 0;
}

}  // namespace alt
