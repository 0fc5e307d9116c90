// The frames of generators that wait, what is in them, and how it is changed; how far an enumerate has counted.
#include "util.h"

#include <vector>

namespace alt {

namespace {

PyObject* generator_argument(PyObject* obj) {
  if (PyGen_CheckExact(obj)) return obj;
  return PyErr_Format(PyExc_TypeError, "expected a generator, not %s", Py_TYPE(obj)->tp_name);
}

Own items(PyObject* const* at, int count) {
  Own made = Own::steal(PyTuple_New(count));
  for (int i = 0; made && i < count; ++i) PyTuple_SET_ITEM(made.get(), i, Py_NewRef(at[i] ? at[i] : null_value));
  return made;
}

// waiting(generator) -> (code, place, function, handled, variables, stack); (None, -1, None, None, (), ()) for one that is
// finished; None where it runs or is being traced.
PyObject* waiting(PyObject*, PyObject* arg) {
  PyObject* generator = generator_argument(arg);
  if (!generator) return nullptr;
  const py::Waits state = py::generator_waits(generator);
  if (state == py::Waits::no) Py_RETURN_NONE;
  if (state == py::Waits::finished) return Py_BuildValue("(OiOO()())", Py_None, -1, Py_None, Py_None);
  const py::Slots slots = py::generator_slots(generator);
  Own variables = items(slots.at, slots.locals), stack = items(slots.at + slots.locals, slots.count - slots.locals);
  if (!variables || !stack) return nullptr;
  PyObject* handled = *py::generator_handles(generator);
  return Py_BuildValue("(OiOOOO)", py::generator_code(generator), py::generator_place(generator),
                       py::generator_function(generator), handled ? handled : Py_None, variables.get(), stack.get());
}

bool is_waiting(PyObject* generator) {
  if (py::generator_waits(generator) >= py::Waits::at_start) return true;
  PyErr_SetString(PyExc_ValueError, "the generator does not wait, or is being traced");
  return false;
}

// Takes everything out of the stack. What is dropped runs code of the program's, which must find the frame in order.
void take_stack(PyObject* generator, std::vector<Own>* dropped) {
  const py::Slots slots = py::generator_slots(generator);
  for (int i = slots.locals; i < slots.count; ++i) dropped->push_back(Own::steal(std::exchange(slots.at[i], nullptr)));
  py::set_generator_stack(generator, slots.locals);
}

void set_handled(PyObject* generator, PyObject* handled, std::vector<Own>* dropped) {
  PyObject* now = !handled || handled == Py_None ? nullptr : Py_NewRef(handled);
  dropped->push_back(Own::steal(std::exchange(*py::generator_handles(generator), now)));
}

PyObject* given(PyObject* value) { return value == null_value ? nullptr : Py_NewRef(value); }

// set_waiting(generator, place, variables, stack, handled) -> the generator, which waits there now.
PyObject* set_waiting(PyObject*, PyObject* args) {
  PyObject *arg, *variables, *stack, *handled;
  int place;
  if (!PyArg_ParseTuple(args, "OiO!O!O:set_waiting", &arg, &place, &PyDict_Type, &variables, &PyTuple_Type, &stack, &handled))
    return nullptr;
  PyObject* generator = generator_argument(arg);
  if (!generator || !is_waiting(generator)) return nullptr;
  const py::Slots slots = py::generator_slots(generator);
  const Py_ssize_t depth = PyTuple_GET_SIZE(stack);
  if (place < 0 || place >= py::code_size(py::generator_code(generator)) || slots.locals + depth >= slots.room)
    return PyErr_Format(PyExc_ValueError, "the generator cannot wait there");
  std::vector<std::pair<long, PyObject*>> changes;
  Py_ssize_t at = 0;
  PyObject *key, *value;
  while (PyDict_Next(variables, &at, &key, &value)) {
    const long index = PyLong_AsLong(key);
    if (index == -1 && PyErr_Occurred()) return nullptr;
    if (index < 0 || index >= slots.locals) return PyErr_Format(PyExc_ValueError, "the generator has no such variable");
    changes.emplace_back(index, value);
  }
  std::vector<Own> dropped;
  for (auto [index, item] : changes) dropped.push_back(Own::steal(std::exchange(slots.at[index], given(item))));
  take_stack(generator, &dropped);
  for (Py_ssize_t i = 0; i < depth; ++i) slots.at[slots.locals + i] = given(PyTuple_GET_ITEM(stack, i));
  py::set_generator_stack(generator, slots.locals + static_cast<int>(depth));
  set_handled(generator, handled, &dropped);
  py::place_generator(generator, place, true);
  return Py_NewRef(generator);
}

// set_finished(generator): as if it had returned.
PyObject* set_finished(PyObject*, PyObject* arg) {
  PyObject* generator = generator_argument(arg);
  if (!generator || !is_waiting(generator)) return nullptr;
  std::vector<Own> dropped;
  take_stack(generator, &dropped);
  set_handled(generator, nullptr, &dropped);
  py::place_generator(generator, 0, false);  // a place without a handler: none of the program's code runs
  return PyObject_CallMethod(generator, "close", nullptr);
}

// set_count(enumerate, n): the number that it gives next.
PyObject* set_count(PyObject*, PyObject* args) {
  PyObject* counter;
  Py_ssize_t count;
  if (!PyArg_ParseTuple(args, "O!n:set_count", &PyEnum_Type, &counter, &count)) return nullptr;
  if (!py::set_enumerate(counter, count)) return PyErr_Format(PyExc_OverflowError, "the number is too large");
  Py_RETURN_NONE;
}

}  // namespace

bool init_generators(PyObject* module) {
  static PyMethodDef methods[] = {
      {"waiting", waiting, METH_O, "waiting(generator) -> (code, place, function, handled, variables, stack), or None"},
      {"set_waiting", set_waiting, METH_VARARGS,
       "set_waiting(generator, place, variables, stack, handled) -> the generator, which waits there now"},
      {"set_finished", set_finished, METH_O, "set_finished(generator): as if it had returned"},
      {"set_count", set_count, METH_VARARGS, "set_count(enumerate, n): the number that it gives next"},
      {nullptr, nullptr, 0, nullptr}};
  return PyModule_AddFunctions(module, methods) == 0;
}

}  // namespace alt
