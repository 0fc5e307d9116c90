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

// Those to an object are as if it were gone, so that nobody finds them any more.
void let_go(PyObject* obj);

// A reference to an object that must be recognised later, and that does not keep it alive. Never a bare address, which could
// come to belong to another object. It is weak where the object allows it. A property or a slot of a class does not: the class
// that it belongs to keeps it then, for as long as there is the reference, which is weak to the class. What belongs to no class
// that can end is held.
class Ref {
 public:
  Ref() = default;
  Ref(Ref&& o) noexcept { *this = std::move(o); }
  Ref& operator=(Ref&& o) noexcept {
    std::swap(held_, o.held_);
    std::swap(key_, o.key_);
    std::swap(kept_, o.kept_);
    std::swap(weak_, o.weak_);
    return *this;
  }
  ~Ref() { clear(); }
  // `found_in`: the class in whose namespace it was found, or null. False with an exception set.
  static bool make(PyObject* obj, Ref* out, PyTypeObject* found_in = nullptr);

  // The object, borrowed; null when it is dead.
  PyObject* get() const {
    if (!weak_) return held_.get();
    PyObject* obj = target();
    return obj == Py_None ? nullptr : kept_ ? kept_ : obj;
  }
  bool dead() const { return weak_ && target() == Py_None; }
  bool weak() const { return weak_; }
  // Of a weak one: the weak reference, and what it is to.
  PyObject* reference() const { return held_.get(); }
  PyObject* target() const { return PyWeakref_GET_OBJECT(held_.get()); }
  int visit(visitproc v, void* arg) const { return held_.visit(v, arg); }
  void clear();

 private:
  Own held_;                   // the object, or a weak reference to it or to the class that keeps it
  Own key_;                    // under which the class does
  PyObject* kept_ = nullptr;   // the object, if a class keeps it
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
