// A hit: the values that the guards of an entry found, and the calls of its graph and its function with them.
#include "cache_entry.h"

namespace alt {

static PyObject* graph_failed_type = nullptr;

Hit::~Hit() { release(); }

void Hit::release() {
  const size_t count = std::exchange(count_, 0);
  for (size_t i = std::exchange(first_, 0); i < count; ++i) Py_XDECREF(values_[i]);
}

PyObject* Hit::entry() const { return entry_.get(); }
bool Hit::keep_hook() const { return data_of(entry_.get()).keep_hook; }

bool Hit::check(CacheEntry* entry, const Call& call) {
  EntryData& data = *entry->data;
  if (!data.fn) return false;
  const size_t count = data.loads.size();
  if (count >= kInline && large_.size() <= count) large_.resize(count + 1);
  values_ = (count < kInline ? inline_ : large_.data()) + 1;
  Own hold = Own::share(object_of(entry));  // Python code in a guard may invalidate the entry
  bool ok;
  if (data.tree->may_run_python()) {
    HookOff off;
    ok = data.tree->check(call, data.loads.data(), count, values_);
  } else {
    ok = data.tree->check(call, data.loads.data(), count, values_);
  }
  if (!ok) return false;
  count_ = count;
  entry_ = std::move(hold);
  for (size_t i = 0; i < count; ++i)
    if (!values_[i]) values_[i] = Py_NewRef(null_value);
  return true;
}

bool Hit::build_arguments() {
  const EntryData& data = data_of(entry_.get());
  if (!data.nested) return true;
  std::vector<PyObject*> built(1);
  built.reserve(data.arguments + 1);
  size_t item = 0, value = 0;
  auto build = [&](auto&& self) -> PyObject* {
    int size = data.layout[item++];
    if (size < 0) return std::exchange(values_[value++], nullptr);
    Own tuple = Own::steal(PyTuple_New(size));
    if (!tuple) return nullptr;
    for (int i = 0; i < size; ++i) {
      PyObject* part = self(self);
      if (!part) return nullptr;
      PyTuple_SET_ITEM(tuple.get(), i, part);
    }
    return tuple.release();
  };
  bool ok = true;
  for (size_t i = 0; ok && i < data.arguments; ++i) {
    PyObject* argument = build(build);
    if (argument) built.push_back(argument);
    else ok = false;
  }
  for (size_t i = 0; i < count_; ++i) Py_XDECREF(values_[i]);
  large_ = std::move(built);
  values_ = large_.data() + 1;
  count_ = large_.size() - 1;
  return ok;
}

static void raise_error(PyObject* value) {
  PyErr_Restore(Py_NewRef(reinterpret_cast<PyObject*>(Py_TYPE(value))), Py_NewRef(value), PyException_GetTraceback(value));
}

PyObject* Hit::fail(PyObject* recover, const RandomState* random) {
  Own error = take_error();
  Own hold = Own::share(recover), answer;
  {
    HookOff off;
    answer = Own::steal(PyObject_CallOneArg(recover, error.get()));
  }
  if (!answer) PyErr_WriteUnraisable(recover);
  if (PyErr_GivenExceptionMatches(error.get(), graph_failed_type)) {  // raised by a function that calls its graph itself
    if (Own cause = Own::steal(PyException_GetCause(error.get()))) error = std::move(cause);
  }
  if (!answer || answer.get() == Py_None) {
    raise_error(error.get());
  } else {
    if (random) restore_random_state(*random);
    may_be_handled_ = answer.get() == Py_True;
    failure_ = std::move(error);
  }
  return nullptr;
}

PyObject* Hit::raise_failure() {
  raise_error(failure_.get());
  return nullptr;
}

PyObject* Hit::call() {
  const EntryData& data = data_of(entry_.get());
  Own fn = Own::share(data.fn.get());
  constexpr size_t kOffset = PY_VECTORCALL_ARGUMENTS_OFFSET;
  if (!data.graph) {
    if (!data.recover) release_spent();
    PyObject* answer = PyObject_Vectorcall(fn.get(), values_, data.arguments | kOffset, nullptr);
    return !answer && data.recover && PyErr_ExceptionMatches(graph_failed_type) ? fail(data.recover.get(), nullptr) : answer;
  }
  Own graph = Own::share(data.graph.get());
  const RandomStatePtr random = data.draws ? save_random_state() : nullptr;
  Own result = Own::steal(PyObject_Vectorcall(graph.get(), values_, data.inputs | kOffset, nullptr));
  if (!result) return data.recover ? fail(data.recover.get(), random.get()) : nullptr;
  if (data.single) {
    if (PyTuple_CheckExact(result.get()) && PyTuple_GET_SIZE(result.get()) == 1)
      return Py_NewRef(PyTuple_GET_ITEM(result.get(), 0));
    if (PyList_CheckExact(result.get()) && PyList_GET_SIZE(result.get()) == 1)
      return Py_NewRef(PyList_GET_ITEM(result.get(), 0));
  }
  // The inputs are free now: what has been returned takes the place in front of the other arguments. The graph may have
  // let go of them, so that the memory that they hold can be used again while fn runs.
  for (; first_ < data.inputs; ++first_) Py_XDECREF(std::exchange(values_[first_], nullptr));
  release_spent();
  PyObject** arguments = values_ + data.inputs - 1;
  PyObject* before = std::exchange(*arguments, result.get());
  PyObject* answer = PyObject_Vectorcall(fn.get(), arguments, data.arguments + 1, nullptr);
  *arguments = before;
  return answer;
}

bool init_hit(PyObject* module) {
  graph_failed_type = PyErr_NewException("alternator._C.eval_frame.GraphFailed", PyExc_BaseException, nullptr);
  return graph_failed_type && PyModule_AddObjectRef(module, "GraphFailed", graph_failed_type) == 0;
}

}  // namespace alt
