#include "frame_hook.h"

#include <cstring>

#include "cache_entry.h"

namespace alt {

thread_local ThreadHook thread_hook __attribute__((tls_model("initial-exec"))) = {nullptr, nullptr, false, nullptr};

namespace {

PyObject* skip_code = nullptr;
PyObject* skip_code_recursive = nullptr;
PyObject* run_plain = nullptr;
PyObject* builtins_module = nullptr;
PyObject* own_builtins = nullptr;  // those that our own code uses, as they were when we were loaded

int64_t active_threads = 0;
py::EvalFn previous_hook = nullptr;  // the one that we replaced, usually CPython's own

PyObject* eval_hook(PyThreadState* tstate, py::Frame* frame, int throwflag);

// The hook is there only while some thread needs it: CPython calls Python functions faster without one.
void update_hook() {
  ThreadHook& hook = thread_hook;
  const bool needed = hook.callback || hook.redirect;
  if (needed == hook.counted) return;
  hook.counted = needed;
  active_threads += needed ? 1 : -1;
  py::EvalFn current = py::get_eval_hook();
  if (active_threads > 0 && current != eval_hook) {
    previous_hook = current;
    py::set_eval_hook(eval_hook);
  } else if (active_threads == 0 && current == eval_hook) {
    py::set_eval_hook(previous_hook);
  }
}

PyObject* run_frame(PyThreadState* tstate, py::Frame* frame, int throwflag) {
  if (__builtin_expect(previous_hook != py::default_eval_hook(), 0) && previous_hook)
    return previous_hook(tstate, frame, throwflag);
  return py::eval_default(tstate, frame, throwflag);
}

Call call_of(py::Frame* frame) {
  return {py::frame_func(frame), py::frame_locals(frame), py::code_nlocals(py::frame_code(frame))};
}

// `moved`: nobody but the frame holds its arguments, so that those which the entry does not use die before its effects.
PyObject* run_hit(PyThreadState* tstate, py::Frame* frame, Hit& hit, bool moved) {
  if (!hit.build_arguments()) return nullptr;
  if (moved) hit.release_behind_graph(call_of(frame).count, py::frame_locals(frame));
  PyObject* result;
  if (hit.keep_hook()) {
    result = hit.call();
  } else {
    CallbackScope off(nullptr);
    result = hit.call();
  }
  if (result && is_root_bounce(result)) {  // what is not needed any more goes: the rest may take long
    hit.release();
    const Call call = call_of(frame);
    for (Py_ssize_t i = 0; i < call.count; ++i) Py_CLEAR(py::frame_locals(frame)[i]);
    return drive(result);
  }
  if (result || !hit.graph_failed()) return result;
  // The program raises: plainly, at the right place, with what it did before, and its own handlers at work.
  {
    CallbackScope run_only(Py_False);
    result = run_frame(tstate, frame, 0);
  }
  if (!result || hit.may_be_handled()) return result;
  Py_DECREF(result);
  return hit.raise_failure();  // the program raises nothing: the compiled graph is to blame
}

// callback(func, values); the caller has switched the hook off.
PyObject* call_back(PyObject* callback, py::Frame* frame) {
  const Call call = call_of(frame);
  Own values = Own::steal(PyList_New(call.count));
  if (!values) return nullptr;
  for (Py_ssize_t i = 0; i < call.count; ++i)
    PyList_SET_ITEM(values.get(), i, Py_NewRef(call.values[i] ? call.values[i] : null_value));
  PyObject* args[] = {nullptr, reinterpret_cast<PyObject*>(call.func), values.get()};
  return PyObject_Vectorcall(callback, args + 1, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, nullptr);
}

PyObject* redirect_frame(PyThreadState* tstate, py::Frame* frame) {
  Own result;
  {
    PyObject* redirect = exchange_redirect(nullptr);
    result = Own::steal(call_back(redirect, frame));
    Py_XDECREF(exchange_redirect(redirect));
  }
  if (result.get() == run_plain) {
    result.clear();
    return run_frame(tstate, frame, 0);
  }
  return result.release();
}

PyObject* use_new_entry(PyThreadState* tstate, py::Frame* frame, PyObject* entry, bool moved) {
  PyCodeObject* code = py::frame_code(frame);
  const Call call = call_of(frame);
  ExtraState* extra = make_extra(code);
  Own callback = Own::share(thread_hook.callback);
  if (!extra) return nullptr;
  if (!data_of(entry).valid && py::other_threads(tstate)) return run_frame(tstate, frame, 0);  // dropped by one of them, meanwhile
  if (!add_entry(extra, entry, thread_hook.callback)) return nullptr;
  Hit hit;
  if (hit.check(reinterpret_cast<CacheEntry*>(entry), call)) return run_hit(tstate, frame, hit, moved);
  Why why;
  {
    HookOff off;
    entry_tree(entry)->check(call, nullptr, 0, nullptr, &why);
  }
  invalidate_entry(reinterpret_cast<CacheEntry*>(entry));
  // Another thread may have changed what was read while the entry was made.
  if (py::other_threads(tstate)) return run_frame(tstate, frame, 0);
  const char* text = why.text.empty() ? "a guard did not hold, but does when it is looked at again" : why.text.c_str();
  {  // a bug of ours: the callback says so, or raises; the program runs
    HookOff off;
    if (!PyObject_HasAttrString(callback.get(), "guards_do_not_hold"))
      return PyErr_Format(PyExc_RuntimeError, "the guards of the new entry for %U do not hold for the call it was made from: %s",
                          code->co_qualname, text);
    Own told = Own::steal(PyObject_CallMethod(callback.get(), "guards_do_not_hold", "Os", call.func, text));
    if (!told) return nullptr;
  }
  return run_frame(tstate, frame, 0);
}

// The program has taken away or replaced a builtin that our own code needs: that cannot run now.
bool builtins_are_changed() {
  static uint64_t known = 0;
  PyObject* space = PyModule_GetDict(builtins_module);
  if (py::dict_version(space) == known) return false;
  PyObject *key, *value;
  Py_ssize_t at = 0, present = 0;
  while (PyDict_Next(space, &at, &key, &value))  // no look-up: a key of the program's may have code to compare it
    if (PyUnicode_CheckExact(key) && PyDict_GetItemWithError(own_builtins, key) == value) ++present;
  if (present != PyDict_GET_SIZE(own_builtins)) return true;
  known = py::dict_version(space);
  return false;
}

// `how`: None, or False for cached entries only. `behind`: called, if given, when the frame has raised nothing.
PyObject* run_plainly(PyThreadState* tstate, py::Frame* frame, PyObject* how, PyObject* behind) {
  Own result;
  if (how == Py_False) {
    CallbackScope run_only(Py_False);
    result = Own::steal(run_frame(tstate, frame, 0));
  } else {
    result = Own::steal(run_frame(tstate, frame, 0));
  }
  if (!result || !behind) return result.release();
  HookOff off;
  Own told = Own::steal(PyObject_CallNoArgs(behind));
  return told ? result.release() : nullptr;
}

PyObject* offer_frame(PyThreadState* tstate, py::Frame* frame, bool moved) {
  if (__builtin_expect(builtins_are_changed(), 0)) return run_frame(tstate, frame, 0);
  Own result;
  {
    MemoryHeld held;
    PyObject* callback = exchange_callback(nullptr);
    result = Own::steal(call_back(callback, frame));
    Py_XDECREF(exchange_callback(callback));
  }
  if (!result) return nullptr;
  PyCodeObject* code = py::frame_code(frame);
  if (result.get() == Py_None || result.get() == run_plain) {
    result.clear();
    return run_frame(tstate, frame, 0);
  }
  if (result.get() == Py_False) return run_plainly(tstate, frame, Py_False, nullptr);
  if (PyTuple_CheckExact(result.get()) && PyTuple_GET_SIZE(result.get()) == 2)
    return run_plainly(tstate, frame, PyTuple_GET_ITEM(result.get(), 0), PyTuple_GET_ITEM(result.get(), 1));
  if (result.get() == skip_code || result.get() == skip_code_recursive) {
    ExtraState* extra = make_extra(code);
    if (!extra) return nullptr;
    extra->skip = result.get() == skip_code ? Skip::code : Skip::recursive;
    if (extra->skip == Skip::code) return run_frame(tstate, frame, 0);
    CallbackScope off(nullptr);
    return run_frame(tstate, frame, 0);
  }
  if (is_cache_entry(result.get())) return use_new_entry(tstate, frame, result.get(), moved);
  return PyErr_Format(PyExc_TypeError,
                      "the frame callback must return None, False, a pair, SKIP_CODE, SKIP_CODE_RECURSIVE or a _CacheEntry, not %s",
                      Py_TYPE(result.get())->tp_name);
}

PyObject* eval_hook(PyThreadState* tstate, py::Frame* frame, int throwflag) {
  const ThreadHook& hook = thread_hook;
  const bool moved = __builtin_expect(hook.moving != nullptr, 0) && take_moving(reinterpret_cast<PyObject*>(py::frame_func(frame)));
  if ((!hook.callback && !hook.redirect) || throwflag) return run_frame(tstate, frame, throwflag);
  if (py::frame_is_resumed(frame)) {
    PyObject* result = nullptr;
    if (hook.redirect || resume_in_a_piece(tstate, frame, &result) == Resumed::plainly) return run_frame(tstate, frame, throwflag);
    return result;
  }
  PyCodeObject* code = py::frame_code(frame);
  constexpr int kFunction = CO_OPTIMIZED | CO_NEWLOCALS;
  if ((py::code_flags(code) & kFunction) != kFunction) return run_frame(tstate, frame, 0);
  if (hook.redirect) return redirect_frame(tstate, frame);
  if (__builtin_expect(py::is_traced(tstate), 0)) return run_frame(tstate, frame, 0);
  if (!code_can_be_captured(code)) return run_frame(tstate, frame, 0);
  if (ExtraState* extra = find_extra(code)) {
    if (extra->skip == Skip::code) return run_frame(tstate, frame, 0);
    if (extra->skip == Skip::recursive) {
      CallbackScope off(nullptr);
      return run_frame(tstate, frame, 0);
    }
    Hit hit;
    if (!extra->entries->empty() && find_entry(extra, call_of(frame), hook.callback, &hit))
      return run_hit(tstate, frame, hit, moved);
  }
  if (hook.callback == Py_False) return run_frame(tstate, frame, 0);
  return offer_frame(tstate, frame, moved);
}

// ---- Python functions -----------------------------------------------------------------------------------------------

// A thread can end with a callback in force; its state dict dies with it, and this capsule with that.
void thread_ends(PyObject* capsule) {
  if (PyCapsule_GetPointer(capsule, nullptr) != &thread_hook) return;  // cleared by another thread: nothing to reach
  Py_XDECREF(exchange_callback(nullptr));
}

bool watch_thread() {
  PyObject* dict = PyThreadState_GetDict();
  if (!dict) return true;
  static PyObject* key = PyUnicode_InternFromString("alternator._C.thread");
  if (!key || PyDict_GetItemWithError(dict, key)) return key != nullptr;
  if (PyErr_Occurred()) return false;
  Own capsule = Own::steal(PyCapsule_New(&thread_hook, nullptr, thread_ends));
  return capsule && PyDict_SetItem(dict, key, capsule.get()) == 0;
}

PyObject* set_eval_frame(PyObject*, PyObject* callback) {
  if (callback != Py_None && callback != Py_False && !PyCallable_Check(callback))
    return PyErr_Format(PyExc_TypeError, "set_eval_frame() takes None, False or a callable, not %s",
                        Py_TYPE(callback)->tp_name);
  if (!watch_thread()) return nullptr;
  PyObject* old = exchange_callback(callback == Py_None ? nullptr : Py_NewRef(callback));
  return old ? old : Py_NewRef(Py_None);
}

PyObject* get_eval_frame(PyObject*, PyObject*) {
  return Py_NewRef(thread_hook.callback ? thread_hook.callback : Py_None);
}

PyObject* call_redirected(PyObject*, PyObject* args) {
  PyObject *callback, *fn, *fn_args, *kwargs = Py_None;
  if (!PyArg_ParseTuple(args, "OOO|O:call_redirected", &callback, &fn, &fn_args, &kwargs)) return nullptr;
  if (kwargs != Py_None && !PyDict_Check(kwargs)) return PyErr_Format(PyExc_TypeError, "kwargs must be a dict or None");
  Own arguments = Own::steal(PySequence_Tuple(fn_args));
  if (!arguments) return nullptr;
  PyObject* old = exchange_redirect(Py_NewRef(callback));
  PyObject* result = PyObject_Call(fn, arguments.get(), kwargs == Py_None ? nullptr : kwargs);
  Py_XDECREF(exchange_redirect(old));
  return result;
}

PyCodeObject* code_argument(PyObject* obj) {
  if (PyMethod_Check(obj)) obj = PyMethod_GET_FUNCTION(obj);
  if (PyFunction_Check(obj)) obj = PyFunction_GET_CODE(obj);
  if (PyCode_Check(obj)) return reinterpret_cast<PyCodeObject*>(obj);
  PyErr_Format(PyExc_TypeError, "expected a code object, not %s", Py_TYPE(obj)->tp_name);
  return nullptr;
}

PyObject* debug_get_extra_state(PyObject*, PyObject* arg) {
  PyCodeObject* code = code_argument(arg);
  if (!code) return nullptr;
  auto extra = reinterpret_cast<PyObject*>(find_extra(code));
  return Py_NewRef(extra ? extra : Py_None);
}

PyObject* debug_get_cache_entry_list(PyObject*, PyObject* arg) {
  PyCodeObject* code = code_argument(arg);
  return code ? cache_entry_list(find_extra(code)) : nullptr;
}

PyObject* usable_entries_function(PyObject*, PyObject* args) {
  PyObject *arg, *callback;
  if (!PyArg_ParseTuple(args, "OO:usable_entries", &arg, &callback)) return nullptr;
  PyCodeObject* code = code_argument(arg);
  return code ? usable_entries(find_extra(code), callback) : nullptr;
}

PyObject* add_function(PyObject*, PyObject* args) {
  PyObject *arg, *entry, *callback;
  if (!PyArg_ParseTuple(args, "OOO:add", &arg, &entry, &callback)) return nullptr;
  if (!is_cache_entry(entry)) return PyErr_Format(PyExc_TypeError, "add() takes a _CacheEntry, not %s", Py_TYPE(entry)->tp_name);
  PyCodeObject* code = code_argument(arg);
  ExtraState* extra = code ? make_extra(code) : nullptr;
  if (!extra || !add_entry(extra, entry, callback)) return nullptr;
  Py_RETURN_NONE;
}

// find(func, values, callback): for a callback that had to wait. Its caller has taken the hook off.
PyObject* find_function(PyObject*, PyObject* args) {
  PyObject *func, *values, *callback;
  if (!PyArg_ParseTuple(args, "O!O!O:find", &PyFunction_Type, &func, &PyList_Type, &values, &callback)) return nullptr;
  auto function = reinterpret_cast<PyFunctionObject*>(func);
  ExtraState* extra = find_extra(reinterpret_cast<PyCodeObject*>(function->func_code));
  if (!extra || extra->entries->empty()) Py_RETURN_NONE;
  std::vector<Own> held;
  std::vector<PyObject*> given;
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(values); ++i) {
    PyObject* value = PyList_GET_ITEM(values, i);
    held.push_back(Own::share(value));
    given.push_back(value == null_value ? nullptr : value);
  }
  Hit hit;
  const Call call{function, given.data(), static_cast<Py_ssize_t>(given.size())};
  return Py_NewRef(find_entry(extra, call, callback, &hit) ? hit.entry() : Py_None);
}

PyObject* reset_code(PyObject*, PyObject* arg) {
  PyCodeObject* code = code_argument(arg);
  if (!code) return nullptr;
  if (ExtraState* extra = find_extra(code)) {
    extra->skip = Skip::no;
    drop_entries(extra);
  }
  Py_RETURN_NONE;
}

PyObject* skip_code_function(PyObject*, PyObject* args, PyObject* kwargs) {
  static const char* names[] = {"code", "recursive", nullptr};
  PyObject* arg;
  int recursive = 0;
  if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|p:skip_code", const_cast<char**>(names), &arg, &recursive)) return nullptr;
  PyCodeObject* code = code_argument(arg);
  ExtraState* extra = code ? make_extra(code) : nullptr;
  if (!extra) return nullptr;
  extra->skip = recursive ? Skip::recursive : Skip::code;
  Py_RETURN_NONE;
}

PyObject* unskip_code(PyObject*, PyObject* arg) {
  PyCodeObject* code = code_argument(arg);
  if (!code) return nullptr;
  if (ExtraState* extra = find_extra(code)) extra->skip = Skip::no;
  Py_RETURN_NONE;
}

PyObject* hide_code(PyObject*, PyObject* arg) {
  PyCodeObject* code = code_argument(arg);
  if (!code) return nullptr;
  py::hide_frames_of(code);
  Py_RETURN_NONE;
}

PyObject* place_frame(PyObject*, PyObject* args) {
  PyObject* frame;
  int offset;
  if (!PyArg_ParseTuple(args, "O!i:place_frame", &PyFrame_Type, &frame, &offset)) return nullptr;
  if (!py::place_frame(frame, offset)) return PyErr_Format(PyExc_ValueError, "the frame is running, or its code is shorter");
  Py_RETURN_NONE;
}

// For tests of graph breaks: something that nobody knows how to trace. Returns its last argument.
PyObject* unsupported(PyObject*, PyObject* args) {
  const Py_ssize_t count = PyTuple_GET_SIZE(args);
  return Py_NewRef(count ? PyTuple_GET_ITEM(args, count - 1) : Py_None);
}

bool add_sentinel(PyObject* module, const char* name, PyObject** out) {
  *out = make_sentinel(name);
  return *out && PyModule_AddObjectRef(module, name, *out) == 0;
}

}  // namespace

PyObject* exchange_callback(PyObject* callback) {
  PyObject* old = std::exchange(thread_hook.callback, callback);
  update_hook();
  return old;
}

PyObject* exchange_redirect(PyObject* redirect) {
  PyObject* old = std::exchange(thread_hook.redirect, redirect);
  update_hook();
  return old;
}

HookOff::HookOff() : callback_(exchange_callback(nullptr)), redirect_(exchange_redirect(nullptr)) {}
HookOff::~HookOff() {
  Py_XDECREF(exchange_callback(callback_));
  Py_XDECREF(exchange_redirect(redirect_));
}

bool code_can_be_captured(const PyCodeObject* code) {
  constexpr int kFunction = CO_OPTIMIZED | CO_NEWLOCALS;
  constexpr int kGenerators = CO_GENERATOR | CO_COROUTINE | CO_ASYNC_GENERATOR;
  return (py::code_flags(code) & (kFunction | kGenerators)) == kFunction;
}

bool init_frame_hook(PyObject* module) {
  previous_hook = py::default_eval_hook();
  static PyMethodDef methods[] = {
      {"set_eval_frame", set_eval_frame, METH_O, "set_eval_frame(callback) -> the callback before, for this thread"},
      {"get_eval_frame", get_eval_frame, METH_NOARGS, "the callback of this thread"},
      {"call_redirected", call_redirected, METH_VARARGS,
       "call_redirected(callback, fn, args, kwargs=None): run fn with its Python frames handed to the callback"},
      {"_debug_get_extra_state", debug_get_extra_state, METH_O, nullptr},
      {"_debug_get_cache_entry_list", debug_get_cache_entry_list, METH_O, nullptr},
      {"usable_entries", usable_entries_function, METH_VARARGS,
       "usable_entries(code, callback): those that a lookup under the callback considers now, the last used first"},
      {"add", add_function, METH_VARARGS, "add(code, entry, callback): put an entry in front of those of the code"},
      {"find", find_function, METH_VARARGS, "find(func, values, callback) -> the entry whose guards hold, or None"},
      {"reset_code", reset_code, METH_O, "drop all entries of a code object, and its skip mark"},
      {"skip_code", reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(skip_code_function)),
       METH_VARARGS | METH_KEYWORDS, "skip_code(code, recursive=False): never offer it to the callback"},
      {"unskip_code", unskip_code, METH_O, nullptr},
      {"hide_code", hide_code, METH_O, "hide_code(code): stacks and tracebacks leave its frames out"},
      {"set_cache_key", set_cache_key, METH_O,
       "set_cache_key(obj) -> the key before; entries are used only under the key they were made under"},
      {"place_frame", place_frame, METH_VARARGS, "place_frame(frame, offset): where a frame that never ran says that it is"},
      {"unsupported", unsupported, METH_VARARGS, nullptr},
      {"set_guard_error_hook", set_guard_error_hook, METH_O,
       "set_guard_error_hook(fn or None) -> the one before; fn gets the exceptions that guards raise"},
      {nullptr, nullptr, 0, nullptr}};
  builtins_module = PyImport_ImportModule("builtins");
  own_builtins = builtins_module ? PyDict_Copy(PyModule_GetDict(builtins_module)) : nullptr;
  if (!own_builtins) return false;
  for (const char* name : {"_", "__import__", "print", "input", "open", "help", "breakpoint", "exit", "quit", "display"}) {
    if (PyDict_GetItemString(own_builtins, name) && PyDict_DelItemString(own_builtins, name) < 0) return false;
  }
  return PyModule_AddFunctions(module, methods) == 0 && PyModule_AddObjectRef(module, "NULL", null_value) == 0 &&
         add_sentinel(module, "SKIP_CODE", &skip_code) &&
         add_sentinel(module, "SKIP_CODE_RECURSIVE", &skip_code_recursive) && add_sentinel(module, "RUN_PLAIN", &run_plain);
}

}  // namespace alt
