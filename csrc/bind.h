// From the arguments of a call to what the function's frame would have in its local variables, without making a frame.
#pragma once

#include "guard_tree.h"

namespace alt {

class Binding {
 public:
  Binding() = default;
  Binding(const Binding&) = delete;
  Binding& operator=(const Binding&) = delete;

  // As a vectorcall hands them over; `self`: an argument that comes before them, or null. False, without an exception:
  // CPython must bind them (an error to be raised, too many variables, a function that is not plain).
  bool bind(PyFunctionObject* func, PyObject* self, PyObject* const* args, size_t count, PyObject* kwnames);
  Call call() const { return {func_, values_, total_}; }

 private:
  bool keywords(PyCodeObject* code, PyObject* const* values, PyObject* names, Py_ssize_t named);
  bool defaults(PyCodeObject* code, Py_ssize_t positional, Py_ssize_t named);

  static constexpr Py_ssize_t kLocals = 48;
  PyFunctionObject* func_ = nullptr;
  PyObject* const* values_ = nullptr;  // the caller's own array, if nothing has to be added
  Py_ssize_t total_ = 0;
  PyObject* locals_[kLocals];  // borrowed
  Own rest_, named_rest_;      // *args, **kwargs
  Own defaults_;               // what a guard that runs Python could drop
  std::vector<Own> kwdefaults_;
};

}  // namespace alt
