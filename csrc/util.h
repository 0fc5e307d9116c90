// Small helpers: owned references, references that do not keep alive, text for messages.
#pragma once

#include "py_compat.h"

#include <string>
#include <utility>

namespace alt {

// An owned reference.
class Own {
 public:
  Own() = default;
  static Own steal(PyObject* p) { return Own(p); }
  static Own share(PyObject* p) { return Own(Py_XNewRef(p)); }
  Own(Own&& o) noexcept : p_(std::exchange(o.p_, nullptr)) {}
  Own& operator=(Own&& o) noexcept {
    PyObject* old = std::exchange(p_, std::exchange(o.p_, nullptr));
    Py_XDECREF(old);
    return *this;
  }
  Own(const Own&) = delete;
  Own& operator=(const Own&) = delete;
  ~Own() { Py_XDECREF(p_); }

  PyObject* get() const { return p_; }
  PyObject* release() { return std::exchange(p_, nullptr); }
  explicit operator bool() const { return p_ != nullptr; }
  void clear() { Py_CLEAR(p_); }
  int visit(visitproc visit, void* arg) const {
    Py_VISIT(p_);
    return 0;
  }

 private:
  explicit Own(PyObject* p) : p_(p) {}
  PyObject* p_ = nullptr;
};

// A new weak reference, of a type of our own: the program's can be told from it. A callback may be null.
PyObject* new_weak(PyObject* obj, PyObject* callback);

// A reference to an object that must be recognised later: weak where the object allows it, else strong. Never a bare
// address, which could come to belong to another object.
class Ref {
 public:
  Ref() = default;
  static bool make(PyObject* obj, Ref* out);  // false with an exception set

  // The object, borrowed; null when it is dead.
  PyObject* get() const {
    if (!weak_) return held_.get();
    PyObject* obj = PyWeakref_GET_OBJECT(held_.get());
    return obj == Py_None ? nullptr : obj;
  }
  bool dead() const { return weak_ && get() == nullptr; }
  bool weak() const { return weak_; }
  PyObject* object() const { return held_.get(); }  // itself, or the weak reference to it
  int visit(visitproc v, void* arg) const { return held_.visit(v, arg); }
  void clear() {
    held_.clear();
    weak_ = false;
  }

 private:
  Own held_;
  bool weak_ = false;
};

// True for exact builtin types whose instances never change (a tuple or frozenset: if all of its items are such).
bool is_plain_constant(PyObject* obj);

// A unique object that only stands for itself, such as SKIP_CODE. Lives for ever; `repr` must be a literal.
PyObject* make_sentinel(const char* repr);
extern PyObject* null_value;  // `_C.eval_frame.NULL`: a local variable without a value
bool init_sentinels();

// repr(obj), cut short; never fails and leaves no exception behind.
std::string short_repr(PyObject* obj);

// "module.name" of a type.
std::string type_name(PyTypeObject* type);

// The exception that is set, as one object with its traceback; none is set afterwards.
Own take_error();

// Keeps the exception that is set now away from what runs in its scope.
class KeepError {
 public:
  KeepError() { PyErr_Fetch(&type_, &value_, &tb_); }
  ~KeepError() { PyErr_Restore(type_, value_, tb_); }
  KeepError(const KeepError&) = delete;
  KeepError& operator=(const KeepError&) = delete;

 private:
  PyObject *type_, *value_, *tb_;
};

}  // namespace alt
