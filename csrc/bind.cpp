#include "bind.h"

#include "frame_hook.h"

namespace alt {

bool Binding::bind(PyFunctionObject* func, PyObject* self, PyObject* const* args, size_t count, PyObject* kwnames) {
  auto code = reinterpret_cast<PyCodeObject*>(func->func_code);
  if (!py::func_is_plain(func) || !code_can_be_captured(code)) return false;
  const int flags = py::code_flags(code);
  const Py_ssize_t positional = py::code_argcount(code), named = positional + py::code_kwonly(code);
  const Py_ssize_t before = self ? 1 : 0, given = before + static_cast<Py_ssize_t>(count);
  func_ = func;
  if (!self && !kwnames && given == named && named == positional && !(flags & (CO_VARARGS | CO_VARKEYWORDS))) {
    values_ = args;
    total_ = given;
    return true;
  }
  total_ = named + ((flags & CO_VARARGS) != 0) + ((flags & CO_VARKEYWORDS) != 0);
  if (total_ > kLocals) return false;
  values_ = locals_;
  const Py_ssize_t taken = given < positional ? given : positional;
  Py_ssize_t at = 0;
  if (self && taken > 0) locals_[at++] = self;
  for (; at < taken; ++at) locals_[at] = args[at - before];
  for (; at < total_; ++at) locals_[at] = nullptr;
  if (given > taken && !(flags & CO_VARARGS)) return false;
  if (flags & CO_VARARGS) {
    rest_ = Own::steal(PyTuple_New(given - taken));
    if (!rest_) return PyErr_Clear(), false;
    for (Py_ssize_t i = taken; i < given; ++i)
      PyTuple_SET_ITEM(rest_.get(), i - taken, Py_NewRef(i < before ? self : args[i - before]));
    locals_[named] = rest_.get();
  }
  if (flags & CO_VARKEYWORDS) {
    named_rest_ = Own::steal(PyDict_New());
    if (!named_rest_) return PyErr_Clear(), false;
    locals_[total_ - 1] = named_rest_.get();
  }
  if (kwnames && !keywords(code, args + count, kwnames, named)) return false;
  return defaults(code, positional, named);
}

bool Binding::keywords(PyCodeObject* code, PyObject* const* values, PyObject* names, Py_ssize_t named) {
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(names); ++i) {
    PyObject* name = PyTuple_GET_ITEM(names, i);
    if (!PyUnicode_CheckExact(name)) return false;
    const Py_ssize_t at = py::code_find_argument(code, name, named);
    if (at >= 0) {
      if (locals_[at]) return false;  // given twice
      locals_[at] = values[i];
    } else if (!named_rest_) {
      return false;
    } else if (PyDict_SetItem(named_rest_.get(), name, values[i]) < 0) {
      return PyErr_Clear(), false;
    }
  }
  return true;
}

bool Binding::defaults(PyCodeObject* code, Py_ssize_t positional, Py_ssize_t named) {
  PyObject* defaults = func_->func_defaults;
  const Py_ssize_t first = positional - (defaults ? PyTuple_GET_SIZE(defaults) : 0);
  for (Py_ssize_t i = 0; i < positional; ++i) {
    if (locals_[i]) continue;
    if (i < first) return false;
    if (!defaults_) defaults_ = Own::share(defaults);
    locals_[i] = PyTuple_GET_ITEM(defaults, i - first);
  }
  for (Py_ssize_t i = positional; i < named; ++i) {
    if (locals_[i]) continue;
    PyObject* name = py::code_local_name(code, i);
    locals_[i] = func_->func_kwdefaults ? PyDict_GetItemWithError(func_->func_kwdefaults, name) : nullptr;
    if (!locals_[i]) return PyErr_Clear(), false;
    kwdefaults_.push_back(Own::share(locals_[i]));
  }
  return true;
}

}  // namespace alt
