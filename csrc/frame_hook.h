// The PEP 523 frame hook: cached entries, the capture callback, and redirection. Knows nothing of PyTorch.
#pragma once

#include "cache.h"

namespace alt {

// What is in force in this thread. Null stands for None.
struct ThreadHook {
  PyObject* callback;  // Py_False: use cached entries only
  PyObject* redirect;
  bool counted;  // among the threads for which the hook is installed
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

bool code_can_be_captured(const PyCodeObject* code);

bool init_frame_hook(PyObject* module);
bool init_compiled_function(PyObject* module);  // CompiledFunction, DisabledCall
extern int64_t live_compiled_functions;

}  // namespace alt
