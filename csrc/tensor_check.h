// What a guard knows about a tensor, and the global state of PyTorch. The implementation is the only file with ATen headers.
#pragma once

#include "util.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace alt {

struct TensorSpec;
struct TensorSpecDelete {
  void operator()(TensorSpec* spec) const;
};
using TensorSpecPtr = std::unique_ptr<TensorSpec, TensorSpecDelete>;

// Called once when the module is imported; false with an exception set.
bool init_tensor_check();

bool is_tensor(PyObject* obj);

// `sizes` and `strides`: None (nothing is checked but the rank) or tuples with None for a dimension that may change.
TensorSpecPtr make_tensor_spec(PyObject* example, PyObject* sizes, PyObject* strides);
bool tensor_matches(const TensorSpec& spec, PyObject* obj) noexcept;
std::string tensor_mismatch(const TensorSpec& spec, PyObject* obj);
// A tensor subclass may answer questions about its sizes with Python code.
bool tensor_check_may_run_python(const TensorSpec& spec);

// Whether marks that appear on it later (mark_dynamic and the like) ask for another version of the compiled code.
bool tensor_can_be_marked(const TensorSpec& spec);

// A number that is equal for tensors of the same dtype and sizes; false: not a tensor, or one whose sizes are not plain. And the
// same of what a guard expects; false: it leaves some size open.
bool tensor_signature(PyObject* obj, uint64_t* out) noexcept;
bool spec_signature(const TensorSpec& spec, uint64_t* out);

enum class TensorNumber { size, stride, offset };
bool tensor_number(PyObject* obj, TensorNumber what, int64_t dim, int64_t* out) noexcept;

// The memory of a tensor's storage; both are 0 where it has none.
struct MemorySpan {
  uintptr_t start = 0, end = 0;
  bool changed = false;
};
bool tensor_span(PyObject* obj, MemorySpan* out) noexcept;

// The state of the CPU's generator of random numbers.
struct RandomState;
struct RandomStateDelete {
  void operator()(RandomState* state) const;
};
using RandomStatePtr = std::unique_ptr<RandomState, RandomStateDelete>;

RandomStatePtr save_random_state();
void restore_random_state(const RandomState& state);

// The tensor is a leaf that requires gradients, and a view of what has been written to since: asking for its history makes it
// another one, which is no leaf.
bool history_is_stale(PyObject* obj) noexcept;

// The tensor's place in autograd's graph (a new reference), which it can be given again after it was written into: None for a leaf,
// a view, and a tensor with hooks, whose places are more than that.
PyObject* history_of(PyObject* obj) noexcept;
bool set_history(PyObject* obj, PyObject* history) noexcept;

bool torch_is_tracing();  // by torch.jit.trace

struct GlobalState;
struct GlobalStateDelete {
  void operator()(GlobalState* state) const;
};
using GlobalStatePtr = std::unique_ptr<GlobalState, GlobalStateDelete>;

GlobalStatePtr snapshot_global_state();  // null with an exception set
bool global_state_matches(const GlobalState& state) noexcept;
bool global_state_dead(const GlobalState& state) noexcept;  // a mode that it names is gone: it can never match again
std::string global_state_mismatch(const GlobalState& state);
int visit_global_state(const GlobalState& state, visitproc visit, void* arg);

}  // namespace alt
