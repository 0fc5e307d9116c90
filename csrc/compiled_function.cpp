// CompiledFunction and DisabledCall: callables that put a callback in force, or take it away, while a function runs.
#include "frame_hook.h"

#include <structmember.h>

namespace alt {

int64_t live_compiled_functions = 0;

namespace {

struct Wrapper {
  PyObject_HEAD
  PyObject* fn;
  PyObject* callback;  // null: none
  PyObject* wrapped;   // where attributes come from that the wrapper does not have
  PyObject* dict;
  PyObject* weakrefs;
  vectorcallfunc vectorcall;
};

Wrapper* cast(PyObject* self) { return reinterpret_cast<Wrapper*>(self); }

// The arguments as the function's frame would have them, if that can be told without making the frame.
const PyFunctionObject* plain_target(PyObject* fn, size_t count, bool* bound) {
  *bound = PyMethod_Check(fn);
  if (*bound) {
    fn = PyMethod_GET_FUNCTION(fn);
    ++count;
  }
  if (!PyFunction_Check(fn)) return nullptr;
  auto func = reinterpret_cast<const PyFunctionObject*>(fn);
  auto code = reinterpret_cast<const PyCodeObject*>(func->func_code);
  if (!py::func_is_plain(func) || !code_can_be_captured(code) ||
      (py::code_flags(code) & (CO_VARARGS | CO_VARKEYWORDS)) || py::code_kwonly(code) != 0 ||
      static_cast<size_t>(py::code_argcount(code)) != count)
    return nullptr;
  return func;
}

constexpr size_t kDirectArguments = 16;

// Straight from the arguments to the guards. False: nothing was found, take the long way.
bool call_directly(Wrapper* self, PyObject* const* args, size_t count, PyObject** result) {
  bool bound;
  const PyFunctionObject* func = plain_target(self->fn, count, &bound);
  if (!func) return false;
  ExtraState* extra = find_extra(reinterpret_cast<PyCodeObject*>(func->func_code));
  if (!extra || extra->skip != Skip::no || extra->entries->empty()) return false;
  PyObject* with_self[kDirectArguments + 1];
  if (bound) {
    if (count > kDirectArguments) return false;
    with_self[0] = PyMethod_GET_SELF(self->fn);
    for (size_t i = 0; i < count; ++i) with_self[i + 1] = args[i];
    args = with_self;
    ++count;
  }
  Own hold = Own::share(reinterpret_cast<PyObject*>(const_cast<PyFunctionObject*>(func)));
  const Call call = {const_cast<PyFunctionObject*>(func), args, static_cast<Py_ssize_t>(count)};
  Hit hit;
  if (!find_entry(extra, call, self->callback, &hit)) return false;
  if (!hit.build_arguments()) {
    *result = nullptr;
    return true;
  }
  PyObject* callback = hit.keep_hook() ? self->callback : nullptr;
  if (thread_hook.callback == callback) {
    *result = hit.call();
  } else {
    CallbackScope scope(callback);
    *result = hit.call();
  }
  return true;
}

PyObject* compiled_call(PyObject* obj, PyObject* const* args, size_t nargsf, PyObject* kwnames) {
  Wrapper* self = cast(obj);
  Own hold = Own::share(obj);
  PyObject* result;
  if (self->callback && !kwnames && !thread_hook.redirect &&
      call_directly(self, args, static_cast<size_t>(PyVectorcall_NARGS(nargsf)), &result))
    return result;
  if (thread_hook.callback == self->callback) return PyObject_Vectorcall(self->fn, args, nargsf, kwnames);
  CallbackScope scope(self->callback);
  return PyObject_Vectorcall(self->fn, args, nargsf, kwnames);
}

PyObject* make(PyTypeObject* type, PyObject* fn, PyObject* callback, PyObject* wrapped) {
  if (!PyCallable_Check(fn)) return PyErr_Format(PyExc_TypeError, "%s: fn is not callable", type->tp_name);
  if (callback && callback != Py_False && !PyCallable_Check(callback))
    return PyErr_Format(PyExc_TypeError, "%s: the callback must be None, False or a callable", type->tp_name);
  PyObject* obj = type->tp_alloc(type, 0);
  if (!obj) return nullptr;
  ++live_compiled_functions;
  Wrapper* self = cast(obj);
  self->fn = Py_NewRef(fn);
  self->callback = Py_XNewRef(callback);
  self->wrapped = Py_NewRef(wrapped);
  self->vectorcall = compiled_call;
  return obj;
}

PyObject* compiled_new(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
  static const char* names[] = {"fn", "callback", "wrapped", nullptr};
  PyObject *fn, *callback, *wrapped = nullptr;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|O", const_cast<char**>(names), &fn, &callback, &wrapped)) return nullptr;
  return make(type, fn, callback == Py_None ? nullptr : callback, wrapped && wrapped != Py_None ? wrapped : fn);
}

PyObject* disabled_new(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
  static const char* names[] = {"fn", "wrapped", nullptr};
  PyObject *fn, *wrapped = nullptr;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O", const_cast<char**>(names), &fn, &wrapped)) return nullptr;
  return make(type, fn, nullptr, wrapped && wrapped != Py_None ? wrapped : fn);
}

int wrapper_traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(cast(self)->fn);
  Py_VISIT(cast(self)->callback);
  Py_VISIT(cast(self)->wrapped);
  Py_VISIT(cast(self)->dict);
  return 0;
}

PyObject* cleared_call(PyObject*, PyObject* const*, size_t, PyObject*) {
  return PyErr_Format(PyExc_RuntimeError, "this function was taken apart by the garbage collector");
}

int wrapper_clear(PyObject* self) {
  cast(self)->vectorcall = cleared_call;
  Py_CLEAR(cast(self)->fn);
  Py_CLEAR(cast(self)->callback);
  Py_CLEAR(cast(self)->wrapped);
  Py_CLEAR(cast(self)->dict);
  return 0;
}

void wrapper_dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  if (cast(self)->weakrefs) PyObject_ClearWeakRefs(self);
  wrapper_clear(self);
  --live_compiled_functions;
  type->tp_free(self);
  Py_DECREF(type);
}

PyObject* wrapper_getattro(PyObject* self, PyObject* name) {
  PyObject* value = PyObject_GenericGetAttr(self, name);
  if (value || !cast(self)->wrapped || !PyErr_ExceptionMatches(PyExc_AttributeError)) return value;
  PyErr_Clear();
  Own wrapped = Own::share(cast(self)->wrapped);
  return PyObject_GetAttr(wrapped.get(), name);
}

PyObject* wrapper_get(PyObject* self, PyObject* obj, PyObject*) {
  return obj && obj != Py_None ? PyMethod_New(self, obj) : Py_NewRef(self);
}

// isinstance() and inspect see what is wrapped: libraries ask whether something is a function before they use it as one.
PyObject* wrapper_class(PyObject* self, void*) {
  PyObject* wrapped = cast(self)->wrapped;
  return Py_NewRef(reinterpret_cast<PyObject*>(Py_TYPE(wrapped ? wrapped : self)));
}

PyObject* wrapper_repr(PyObject* self) {
  return cast(self)->wrapped ? PyObject_Repr(cast(self)->wrapped) : PyUnicode_FromString("<CompiledFunction>");
}

PyTypeObject* make_type(PyObject* module, const char* name, const char* full_name, newfunc make_new, const char* doc) {
  static PyMemberDef members[] = {
      {"__weaklistoffset__", T_PYSSIZET, offsetof(Wrapper, weakrefs), READONLY, nullptr},
      {"__dictoffset__", T_PYSSIZET, offsetof(Wrapper, dict), READONLY, nullptr},
      {"__vectorcalloffset__", T_PYSSIZET, offsetof(Wrapper, vectorcall), READONLY, nullptr},
      {"_alt_fn", T_OBJECT, offsetof(Wrapper, fn), READONLY, nullptr},
      {"_alt_callback", T_OBJECT, offsetof(Wrapper, callback), READONLY, nullptr},
      {"_alt_wrapped", T_OBJECT, offsetof(Wrapper, wrapped), READONLY, nullptr},
      {nullptr, 0, 0, 0, nullptr}};
  static PyGetSetDef getset[] = {{"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, nullptr, nullptr},
                                 {"__class__", wrapper_class, nullptr, nullptr, nullptr},
                                 {nullptr, nullptr, nullptr, nullptr, nullptr}};
  PyType_Slot slots[] = {{Py_tp_new, reinterpret_cast<void*>(make_new)},
                         {Py_tp_dealloc, reinterpret_cast<void*>(wrapper_dealloc)},
                         {Py_tp_traverse, reinterpret_cast<void*>(wrapper_traverse)},
                         {Py_tp_clear, reinterpret_cast<void*>(wrapper_clear)},
                         {Py_tp_call, reinterpret_cast<void*>(PyVectorcall_Call)},
                         {Py_tp_getattro, reinterpret_cast<void*>(wrapper_getattro)},
                         {Py_tp_setattro, reinterpret_cast<void*>(PyObject_GenericSetAttr)},
                         {Py_tp_descr_get, reinterpret_cast<void*>(wrapper_get)},
                         {Py_tp_repr, reinterpret_cast<void*>(wrapper_repr)},
                         {Py_tp_members, members},
                         {Py_tp_getset, getset},
                         {Py_tp_doc, const_cast<char*>(doc)},
                         {0, nullptr}};
  PyType_Spec spec = {full_name, sizeof(Wrapper), 0,
                      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE |
                          Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR,
                      slots};
  PyObject* type = PyType_FromSpec(&spec);
  if (!type || PyModule_AddObjectRef(module, name, type) < 0) return nullptr;
  return reinterpret_cast<PyTypeObject*>(type);
}

}  // namespace

bool init_compiled_function(PyObject* module) {
  return make_type(module, "CompiledFunction", "alternator._C.eval_frame.CompiledFunction", compiled_new,
                   "CompiledFunction(fn, callback, wrapped=fn): calls fn with the callback in force") &&
         make_type(module, "DisabledCall", "alternator._C.eval_frame.DisabledCall", disabled_new,
                   "DisabledCall(fn, wrapped=fn): calls fn with no callback in force");
}

}  // namespace alt
