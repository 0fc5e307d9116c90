// The PEP 523 frame hook: cached entries, the capture callback, and redirection. Knows nothing of PyTorch.
#pragma once

#include "cache.h"

namespace alt {

// Arguments that the frame of a function is to have alone, as soon as it has them.
struct Moving {
  PyObject* fn;
  PyObject** items;
  Py_ssize_t count;
};

// What is in force in this thread. Null stands for None.
struct ThreadHook {
  PyObject* callback;  // Py_False: use cached entries only
  PyObject* redirect;
  bool counted;  // among the threads for which the hook is installed
  Moving* moving;
};

extern thread_local ThreadHook thread_hook __attribute__((tls_model("initial-exec")));

// Takes over the reference to the new callback and hands over the one to the old.
PyObject* exchange_callback(PyObject* callback);
PyObject* exchange_redirect(PyObject* redirect);

class CallbackScope {
 public:
  explicit CallbackScope(PyObject* callback) : old_(exchange_callback(Py_XNewRef(callback))) {}
  ~CallbackScope() { Py_XDECREF(exchange_callback(old_)); }
  CallbackScope(const CallbackScope&) = delete;
  CallbackScope& operator=(const CallbackScope&) = delete;

 private:
  PyObject* old_;
};

// Holds, of each small size, the memory that was given back last, and gives it back last: what the program makes next lies where
// it would have without a capture in between.  Addresses of what is gone come again plainly: `id((1, 2)) == id((3, 4))`.
class MemoryHeld {
 public:
  MemoryHeld() {
    for (int i = 0; i < kBlocks; ++i) blocks_[i] = PyObject_Malloc(static_cast<size_t>(16 * (i + 1)));
    for (int i = 0; i < kTuples; ++i) objects_[i] = PyTuple_New(i + 1);
    objects_[kTuples] = PyList_New(0);
    objects_[kTuples + 1] = PyDict_New();
    objects_[kTuples + 2] = PyFloat_FromDouble(0.0);
    PyErr_Clear();
  }
  ~MemoryHeld() {
    for (PyObject* object : objects_) Py_XDECREF(object);
    for (void* block : blocks_) PyObject_Free(block);
  }
  MemoryHeld(const MemoryHeld&) = delete;
  MemoryHeld& operator=(const MemoryHeld&) = delete;

 private:
  static constexpr int kBlocks = 8, kTuples = 4;
  void* blocks_[kBlocks];
  PyObject* objects_[kTuples + 3];
};

// drive.cpp: an entry behind whose graph the function goes on returns a Bounce, which says what to call next.
bool is_root_bounce(PyObject* result);  // of an entry that was not called by drive()
PyObject* drive(PyObject* result);      // steals it; calls what comes next until there is a result
bool take_moving(PyObject* func);       // its frame has its arguments now, and nobody else, if this is true
bool init_drive(PyObject* module);

// generators.cpp: runs a piece of its code in the place of a generator's frame that is being resumed, as far as there is one.
enum class Resumed : uint8_t { plainly, in_a_piece };
Resumed resume_in_a_piece(PyThreadState* tstate, py::Frame* frame, PyObject** result);
PyObject* call_moving(Own fn, Own given);  // drive.cpp: with the items of the list, which loses them

bool code_can_be_captured(const PyCodeObject* code);

bool init_frame_hook(PyObject* module);
bool init_compiled_function(PyObject* module);  // CompiledFunction, DisabledCall
extern int64_t live_compiled_functions;

}  // namespace alt
