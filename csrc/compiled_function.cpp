// CompiledFunction and DisabledCall: callables that put a callback in force, or take it away, while a function runs.
#include "bind.h"
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
  PyObject* entrance;  // null, or makes the two that follow
  PyObject* prelude;   // a GuardTree: while it holds, calling fn comes to direct(fn, ...), and to nothing else
  PyObject* direct;
  bool detour;         // it is to be called in the place of fn, even if nothing is compiled
  int patience, asked, held;  // of preludes: calls until the next is asked for; how many were; how often this one held
  PyObject* dict;
  PyObject* weakrefs;
  vectorcallfunc vectorcall;
};

constexpr int kOften = 16, kLong = 1024;

Wrapper* cast(PyObject* self) { return reinterpret_cast<Wrapper*>(self); }

// The function whose frame a call of `fn` comes to, and its first argument (or null). A module comes to its `forward` as long
// as its prelude holds; see entrance() in runtime/entrance.py.
PyFunctionObject* target_of(Wrapper* self, PyObject** first) {
  PyObject* fn = self->fn;
  *first = nullptr;
  if (PyFunction_Check(fn)) return reinterpret_cast<PyFunctionObject*>(fn);
  if (PyMethod_Check(fn)) {
    *first = PyMethod_GET_SELF(fn);
    fn = PyMethod_GET_FUNCTION(fn);
    return PyFunction_Check(fn) ? reinterpret_cast<PyFunctionObject*>(fn) : nullptr;
  }
  if (!self->prelude || torch_is_tracing() || !guard_tree_of(self->prelude)->check({})) return nullptr;
  if (self->held < kLong) ++self->held;
  *first = fn;
  return reinterpret_cast<PyFunctionObject*>(self->direct);
}

// Asks for a prelude where there is none that holds; less and less often if that does not help.
bool find_prelude(Wrapper* self) {
  const bool helped = self->held > 0 && (self->asked < kOften || self->held == kLong);
  self->held = 0;
  if (!self->entrance || (!helped && self->patience-- > 0)) return true;
  self->patience = self->asked < kOften ? 1 << self->asked++ : 1 << kOften;
  HookOff off;
  Own entrance = Own::share(self->entrance);
  Own made = Own::steal(PyObject_CallNoArgs(entrance.get()));
  if (!made) return false;
  PyObject *tree = nullptr, *function = nullptr;
  int detour = 0;
  if (made.get() != Py_None) {
    if (!PyArg_ParseTuple(made.get(), "OO!|p", &tree, &PyFunction_Type, &function, &detour)) return false;
    if (!guard_tree_of(tree)) return PyErr_Format(PyExc_TypeError, "the prelude must be a GuardTree"), false;
  }
  Own old = Own::steal(std::exchange(self->prelude, Py_XNewRef(tree)));
  Own old_function = Own::steal(std::exchange(self->direct, Py_XNewRef(function)));
  self->detour = detour != 0;
  return true;
}

// Straight from the arguments to the guards. False: nothing was found, take the long way.
bool call_directly(Wrapper* self, PyObject* const* args, size_t count, PyObject* kwnames, PyObject** result) {
  *result = nullptr;
  PyObject* first;
  PyFunctionObject* func = target_of(self, &first);
  if (!func) return !find_prelude(self);
  ExtraState* extra = find_extra(reinterpret_cast<PyCodeObject*>(func->func_code));
  if (!extra || extra->skip != Skip::no || extra->entries->empty()) return false;
  Own hold = Own::share(reinterpret_cast<PyObject*>(func));
  Binding binding;
  if (!binding.bind(func, first, args, count, kwnames)) return false;
  Hit hit;
  if (!find_entry(extra, binding.call(), self->callback, &hit)) return false;
  if (!hit.build_arguments()) return true;
  PyObject* callback = hit.keep_hook() ? self->callback : nullptr;
  if (thread_hook.callback == callback) {
    *result = hit.call();
  } else {
    CallbackScope scope(callback);
    *result = hit.call();
  }
  return !hit.graph_failed();  // the long way has a frame that can be run plainly
}

PyObject* call_slowly(Wrapper* self, PyObject* const* args, size_t nargsf, PyObject* kwnames) {
  PyObject* first;
  if (!self->callback || !self->detour || thread_hook.redirect) return PyObject_Vectorcall(self->fn, args, nargsf, kwnames);
  Own function = Own::share(reinterpret_cast<PyObject*>(target_of(self, &first)));
  if (!function || !first) return PyObject_Vectorcall(self->fn, args, nargsf, kwnames);
  const auto count = static_cast<size_t>(PyVectorcall_NARGS(nargsf));
  std::vector<PyObject*> all = {first};
  all.insert(all.end(), args, args + count + static_cast<size_t>(kwnames ? PyTuple_GET_SIZE(kwnames) : 0));
  return PyObject_Vectorcall(function.get(), all.data(), count + 1, kwnames);
}

PyObject* compiled_call(PyObject* obj, PyObject* const* args, size_t nargsf, PyObject* kwnames) {
  Wrapper* self = cast(obj);
  Own hold = Own::share(obj);
  PyObject* result;
  if (self->callback && !thread_hook.redirect && !py::is_traced(PyThreadState_Get()) &&
      call_directly(self, args, static_cast<size_t>(PyVectorcall_NARGS(nargsf)), kwnames, &result)) {
    if (__builtin_expect(!result || !is_root_bounce(result), 1)) return result;
    CallbackScope scope(self->callback);
    return drive(result);
  }
  if (thread_hook.callback == self->callback) return call_slowly(self, args, nargsf, kwnames);
  CallbackScope scope(self->callback);
  return call_slowly(self, args, nargsf, kwnames);
}

PyObject* make(PyTypeObject* type, PyObject* fn, PyObject* callback, PyObject* wrapped, PyObject* entrance = nullptr) {
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
  self->entrance = Py_XNewRef(entrance);
  self->vectorcall = compiled_call;
  return obj;
}

PyObject* compiled_new(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
  static const char* names[] = {"fn", "callback", "wrapped", "entrance", nullptr};
  PyObject *fn, *callback, *wrapped = nullptr, *entrance = nullptr;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|OO", const_cast<char**>(names), &fn, &callback, &wrapped, &entrance))
    return nullptr;
  return make(type, fn, callback == Py_None ? nullptr : callback, wrapped && wrapped != Py_None ? wrapped : fn,
              entrance == Py_None ? nullptr : entrance);
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
  Py_VISIT(cast(self)->entrance);
  Py_VISIT(cast(self)->prelude);
  Py_VISIT(cast(self)->direct);
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
  Py_CLEAR(cast(self)->entrance);
  Py_CLEAR(cast(self)->prelude);
  Py_CLEAR(cast(self)->direct);
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

// What a call of the wrapped function goes by is written there; anything else stays with the wrapper.
int wrapper_setattro(PyObject* self, PyObject* name, PyObject* value) {
  static const char* const of_the_function[] = {"__code__", "__defaults__", "__kwdefaults__"};
  PyObject* wrapped = cast(self)->wrapped;
  if (wrapped && PyFunction_Check(wrapped) && PyUnicode_Check(name))
    for (const char* one : of_the_function)
      if (PyUnicode_CompareWithASCIIString(name, one) == 0) return PyObject_SetAttr(Own::share(wrapped).get(), name, value);
  return PyObject_GenericSetAttr(self, name, value);
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

// ---- ModuleCall: the base of a Python class whose instances are called natively ---------------------------------------

struct ModuleCall {
  PyObject_HEAD
  PyObject* call;
  vectorcallfunc vectorcall;
};

ModuleCall* module_call(PyObject* self) { return reinterpret_cast<ModuleCall*>(self); }

PyObject* call_module_slowly(PyObject* self, PyObject* args, PyObject* kwargs) {
  Own call = Own::share(module_call(self)->call);
  if (!call) return PyErr_Format(PyExc_RuntimeError, "this module has nothing to call");
  return PyObject_Call(call.get(), args, kwargs);
}

PyObject* call_module(PyObject* self, PyObject* const* args, size_t nargsf, PyObject* kwnames) {
  PyTypeObject* type = Py_TYPE(self);
  if (type->tp_call != call_module_slowly) {  // somebody has given the class another __call__
    Own call = Own::steal(PyObject_GetAttrString(reinterpret_cast<PyObject*>(type), "__call__"));
    if (!call) return nullptr;
    std::vector<PyObject*> with_self = {self};
    const auto names = static_cast<size_t>(kwnames ? PyTuple_GET_SIZE(kwnames) : 0);
    const auto count = static_cast<size_t>(PyVectorcall_NARGS(nargsf));
    with_self.insert(with_self.end(), args, args + count + names);
    return PyObject_Vectorcall(call.get(), with_self.data(), count + 1, kwnames);
  }
  PyObject* call = module_call(self)->call;
  if (!call) return PyErr_Format(PyExc_RuntimeError, "this module has nothing to call");
  return PyObject_Vectorcall(call, args, nargsf, kwnames);
}

PyObject* module_call_new(PyTypeObject* type, PyObject*, PyObject*) {
  PyObject* self = type->tp_alloc(type, 0);
  if (self) module_call(self)->vectorcall = call_module;
  return self;
}

int module_call_traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(module_call(self)->call);
  return 0;
}

int module_call_clear(PyObject* self) {
  Py_CLEAR(module_call(self)->call);
  return 0;
}

void module_call_dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  module_call_clear(self);
  type->tp_free(self);
  Py_DECREF(type);
}

// Subclasses are called by the vectorcall protocol too; CPython leaves the flag to those that ask.
PyObject* init_subclass(PyObject* cls, PyObject*, PyObject*) {
  auto type = reinterpret_cast<PyTypeObject*>(cls);
  if (type->tp_call == call_module_slowly) py::enable_vectorcall(type);
  Py_RETURN_NONE;
}

bool make_module_call(PyObject* module) {
  static PyMemberDef members[] = {
      {"__vectorcalloffset__", T_PYSSIZET, offsetof(ModuleCall, vectorcall), READONLY, nullptr},
      {"_compiled_call", T_OBJECT, offsetof(ModuleCall, call), 0, "what calling the instance calls"},
      {nullptr, 0, 0, 0, nullptr}};
  static PyMethodDef methods[] = {{"__init_subclass__", reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(init_subclass)),
                                   METH_VARARGS | METH_KEYWORDS | METH_CLASS, nullptr},
                                  {nullptr, nullptr, 0, nullptr}};
  static PyType_Slot slots[] = {{Py_tp_new, reinterpret_cast<void*>(module_call_new)},
                                {Py_tp_dealloc, reinterpret_cast<void*>(module_call_dealloc)},
                                {Py_tp_traverse, reinterpret_cast<void*>(module_call_traverse)},
                                {Py_tp_clear, reinterpret_cast<void*>(module_call_clear)},
                                {Py_tp_call, reinterpret_cast<void*>(call_module_slowly)},
                                {Py_tp_members, members},
                                {Py_tp_methods, methods},
                                {0, nullptr}};
  static PyType_Spec spec = {"alternator._C.eval_frame.ModuleCall", sizeof(ModuleCall), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_VECTORCALL, slots};
  Own type = Own::steal(PyType_FromSpec(&spec));
  return type && PyModule_AddObjectRef(module, "ModuleCall", type.get()) == 0;
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
                         {Py_tp_setattro, reinterpret_cast<void*>(wrapper_setattro)},
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
                   "DisabledCall(fn, wrapped=fn): calls fn with no callback in force") &&
         make_module_call(module);
}

}  // namespace alt
