// The frames of generators that wait, what is in them, and how it is changed; how far an enumerate has counted.
#include "frame_hook.h"

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
// finished; with the place -2 one whose frame is away; None where it runs or is being traced.
PyObject* waiting(PyObject*, PyObject* arg) {
  PyObject* generator = generator_argument(arg);
  if (!generator) return nullptr;
  const py::Waits state = py::generator_waits(generator);
  const bool away = py::generator_is_away(generator);
  if (state == py::Waits::no && !away) Py_RETURN_NONE;
  if (state == py::Waits::finished) return Py_BuildValue("(OiOO()())", Py_None, -1, Py_None, Py_None);
  const py::Slots slots = py::generator_slots(generator);
  Own variables = items(slots.at, slots.locals), stack = items(slots.at + slots.locals, slots.count - slots.locals);
  if (!variables || !stack) return nullptr;
  PyObject* handled = *py::generator_handles(generator);
  return Py_BuildValue("(OiOOOO)", py::generator_code(generator), away ? -2 : py::generator_place(generator),
                       py::generator_function(generator), handled ? handled : Py_None, variables.get(), stack.get());
}

bool is_waiting(PyObject* generator) {  // or has its frame elsewhere: we can say where it is
  if (py::generator_waits(generator) >= py::Waits::at_start || py::generator_is_away(generator)) return true;
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

bool set_variables(PyObject* generator, PyObject* variables, std::vector<Own>* dropped) {
  const py::Slots slots = py::generator_slots(generator);
  std::vector<std::pair<long, PyObject*>> changes;
  Py_ssize_t at = 0;
  PyObject *key, *value;
  while (PyDict_Next(variables, &at, &key, &value)) {
    const long index = PyLong_AsLong(key);
    if (index == -1 && PyErr_Occurred()) return false;
    if (index < 0 || index >= slots.locals) {
      PyErr_SetString(PyExc_ValueError, "the generator has no such variable");
      return false;
    }
    changes.emplace_back(index, value);
  }
  for (auto [index, item] : changes) dropped->push_back(Own::steal(std::exchange(slots.at[index], given(item))));
  return true;
}

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
  std::vector<Own> dropped;
  if (!set_variables(generator, variables, &dropped)) return nullptr;
  take_stack(generator, &dropped);
  for (Py_ssize_t i = 0; i < depth; ++i) slots.at[slots.locals + i] = given(PyTuple_GET_ITEM(stack, i));
  py::set_generator_stack(generator, slots.locals + static_cast<int>(depth));
  set_handled(generator, handled, &dropped);
  py::place_generator(generator, place, true);
  return Py_NewRef(generator);
}

// All but the cells, which are in closures as well.
void take_variables(PyObject* generator, std::vector<Own>* dropped) {
  const py::Slots slots = py::generator_slots(generator);
  for (int i = 0; i < slots.locals; ++i)
    if (!py::is_cell(py::generator_code(generator), i)) dropped->push_back(Own::steal(std::exchange(slots.at[i], nullptr)));
}

// set_running(generator, cells) -> the generator, which runs from now on, elsewhere: what its frame held is let go of, but for
// cells, of which these are put in their places.
PyObject* set_running(PyObject*, PyObject* args) {
  PyObject *arg, *cells;
  if (!PyArg_ParseTuple(args, "OO!:set_running", &arg, &PyDict_Type, &cells)) return nullptr;
  PyObject* generator = generator_argument(arg);
  if (!generator || !is_waiting(generator)) return nullptr;
  std::vector<Own> dropped;
  take_stack(generator, &dropped);
  take_variables(generator, &dropped);
  set_handled(generator, nullptr, &dropped);
  if (!set_variables(generator, cells, &dropped)) return nullptr;
  py::give_frame_away(generator);
  return Py_NewRef(generator);
}

bool is_away(PyObject* generator) {
  if (py::generator_is_away(generator)) return true;
  PyErr_SetString(PyExc_ValueError, "the generator has its frame itself");
  return false;
}

PyObject* bad_state() { return PyErr_Format(PyExc_ValueError, "that is not the state of such a generator"); }

// An item of a stack: that of this number behind the variables; or NULL, None, a number.
PyObject* stack_item(long what, PyObject* state, Py_ssize_t first) {
  if (what >= 0) return first + what < PyTuple_GET_SIZE(state) ? Py_NewRef(PyTuple_GET_ITEM(state, first + what)) : bad_state();
  return what == -1 ? nullptr : what == -2 ? Py_NewRef(Py_None) : PyLong_FromLong(-3 - what);
}

// What a piece of a generator's code returns where it yields: ((offset, slots, stack, handles), value, variables..., stack
// items..., handled).
bool put_state(PyObject* generator, PyObject* state) {
  PyObject *variables, *stack;
  int place, handles;
  if (!PyArg_ParseTuple(PyTuple_GET_ITEM(state, 0), "iO!O!p", &place, &PyTuple_Type, &variables, &PyTuple_Type, &stack, &handles))
    return false;
  const py::Slots slots = py::generator_slots(generator);
  const Py_ssize_t count = PyTuple_GET_SIZE(variables), depth = PyTuple_GET_SIZE(stack), first = 2 + count;
  if (place < 0 || place >= py::code_size(py::generator_code(generator)) || slots.locals + depth >= slots.room ||
      first + handles > PyTuple_GET_SIZE(state))
    return bad_state() != nullptr;
  for (Py_ssize_t i = 0; i < count; ++i) {
    const long slot = PyLong_AsLong(PyTuple_GET_ITEM(variables, i));
    if (slot < 0 || slot >= slots.locals) return bad_state() != nullptr;
    slots.at[slot] = given(PyTuple_GET_ITEM(state, 2 + i));
  }
  for (Py_ssize_t i = 0; i < depth; ++i) {
    slots.at[slots.locals + i] = stack_item(PyLong_AsLong(PyTuple_GET_ITEM(stack, i)), state, first);
    py::set_generator_stack(generator, slots.locals + static_cast<int>(i) + 1);
    if (PyErr_Occurred()) return false;
  }
  py::set_generator_stack(generator, slots.locals + static_cast<int>(depth));
  if (handles) *py::generator_handles(generator) = Py_NewRef(PyTuple_GET_ITEM(state, PyTuple_GET_SIZE(state) - 1));
  py::place_generator(generator, place, true);
  return true;
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

// set_yielded(generator, state) -> what a generator that ran elsewhere yields; StopIteration if it has returned.
PyObject* set_yielded(PyObject*, PyObject* args) {
  PyObject *generator, *state;
  if (!PyArg_ParseTuple(args, "OO!:set_yielded", &generator, &PyTuple_Type, &state)) return nullptr;
  if (!generator_argument(generator) || !is_away(generator)) return nullptr;
  if (PyTuple_GET_SIZE(state) < 2) return bad_state();
  Own value = Own::share(PyTuple_GET_ITEM(state, 1));
  if (PyTuple_GET_ITEM(state, 0) != Py_None) return put_state(generator, state) ? value.release() : nullptr;
  Own finished = Own::steal(set_finished(nullptr, generator));
  if (finished) _PyGen_SetStopIterationValue(value.get());
  return nullptr;
}

// set_count(enumerate, n): the number that it gives next.
PyObject* set_count(PyObject*, PyObject* args) {
  PyObject* counter;
  Py_ssize_t count;
  if (!PyArg_ParseTuple(args, "O!n:set_count", &PyEnum_Type, &counter, &count)) return nullptr;
  if (!py::set_enumerate(counter, count)) return PyErr_Format(PyExc_OverflowError, "the number is too large");
  Py_RETURN_NONE;
}

// How a generator waits: its place, and which of its slots are empty.
PyObject* key_of(PyObject* generator) {
  const py::Slots slots = py::generator_slots(generator);
  const int place = py::generator_place(generator);
  std::string key(reinterpret_cast<const char*>(&place), sizeof place);
  for (int i = 0; i < slots.count; ++i) key.push_back(slots.at[i] ? '\0' : '\1');
  return PyBytes_FromStringAndSize(key.data(), static_cast<Py_ssize_t>(key.size()));
}

// What is to run where a generator is resumed like this: (code, slots of its arguments, slots of its cells, handles), borrowed; or None.
PyObject* find_piece(ExtraState* extra, PyObject* generator) {
  if (!extra->pieces && !(extra->pieces = PyDict_New())) return nullptr;
  Own key = Own::steal(key_of(generator));
  if (!key) return nullptr;
  if (PyObject* known = PyDict_GetItemWithError(extra->pieces, key.get())) return known;
  if (PyErr_Occurred()) return nullptr;
  Own callback = Own::share(thread_hook.callback), made = Own::share(Py_None);
  if (PyObject_HasAttrString(callback.get(), "piece_of")) {
    HookOff off;
    MemoryHeld held;
    made = Own::steal(PyObject_CallMethod(callback.get(), "piece_of", "OOiOi", py::generator_function(generator),
                                          py::generator_code(generator), py::generator_place(generator), key.get(),
                                          static_cast<int>(sizeof(int))));
    if (!made) return nullptr;
  }
  if (PyDict_SetItem(extra->pieces, key.get(), made.get()) < 0) return nullptr;
  return PyDict_GetItemWithError(extra->pieces, key.get());
}

// Takes what a piece is called with out of the frame, but for cells; the rest is dropped.
Own take_arguments(PyObject* generator, PyObject* wanted, bool handles, std::vector<Own>* dropped) {
  const py::Slots slots = py::generator_slots(generator);
  Own given = Own::steal(PyList_New(0));
  for (Py_ssize_t i = 0; given && i < PyTuple_GET_SIZE(wanted); ++i) {
    const long slot = PyLong_AsLong(PyTuple_GET_ITEM(wanted, i));
    if (slot < 0 || slot >= slots.count || !slots.at[slot] || PyList_Append(given.get(), slots.at[slot]) < 0) return {};
  }
  PyObject* handled = *py::generator_handles(generator);
  if (given && handles && PyList_Append(given.get(), handled ? handled : Py_None) < 0) return {};
  take_stack(generator, dropped);
  take_variables(generator, dropped);
  set_handled(generator, nullptr, dropped);
  return given;
}

Own cells_of(PyObject* generator, PyObject* wanted) {
  const py::Slots slots = py::generator_slots(generator);
  Own cells = Own::steal(PyTuple_New(PyTuple_GET_SIZE(wanted)));
  for (Py_ssize_t i = 0; cells && i < PyTuple_GET_SIZE(wanted); ++i) {
    const long slot = PyLong_AsLong(PyTuple_GET_ITEM(wanted, i));
    if (slot < 0 || slot >= slots.locals || !slots.at[slot]) return {};
    PyTuple_SET_ITEM(cells.get(), i, Py_NewRef(slots.at[slot]));
  }
  return cells;
}

// The piece as a function of the generator's module, with its cells.
Own function_of(PyObject* generator, PyObject* piece) {
  Own cells = cells_of(generator, PyTuple_GET_ITEM(piece, 2));
  if (!cells) return {};
  const PyFunctionObject* whole = py::generator_function(generator);
  Own fn = Own::steal(PyFunction_New(PyTuple_GET_ITEM(piece, 0), whole->func_globals));
  if (fn) py::give_builtins(fn.get(), whole);
  if (fn && PyTuple_GET_SIZE(cells.get()) && PyFunction_SetClosure(fn.get(), cells.get()) < 0) return {};
  return fn;
}

// See py::forget_caller(): for the errors that a generator holds while it waits.
void forget_caller(PyObject* generator) {
  const py::Slots slots = py::generator_slots(generator);
  std::vector<PyObject*> errors{*py::generator_handles(generator)};
  errors.insert(errors.end(), slots.at, slots.at + slots.count);
  PyFrameObject* caller = nullptr;
  for (PyObject* one : errors) {
    if (!one || !PyExceptionInstance_Check(one)) continue;
    if (!caller && !(caller = PyEval_GetFrame())) return;
    py::forget_caller(one, caller);
  }
}

PyObject* call_piece(PyObject* generator, py::Frame* frame, Own fn, Own given, bool at_start) {
  py::leave_frame(frame, !at_start);
  Own state = Own::steal(drive(call_moving(std::move(fn), std::move(given))));
  py::enter_frame(frame);
  if (!state) return nullptr;
  if (!PyTuple_CheckExact(state.get()) || PyTuple_GET_SIZE(state.get()) < 2) return bad_state();
  if (PyTuple_GET_ITEM(state.get(), 0) != Py_None) {
    if (!put_state(generator, state.get())) return nullptr;
    forget_caller(generator);
  }
  return Py_NewRef(PyTuple_GET_ITEM(state.get(), 1));
}

}  // namespace

Resumed resume_in_a_piece(PyThreadState* tstate, py::Frame* frame, PyObject** result) {
  PyObject* generator = py::resumed_generator(frame);
  if (!generator || thread_hook.callback == Py_False || py::is_traced(tstate)) return Resumed::plainly;
  if (py::is_interrupted(tstate)) return Resumed::plainly;  // it is raised in the innermost one: those that delegate do not look
  ExtraState* extra = make_extra(py::frame_code(frame));
  if (!extra) return Resumed::in_a_piece;  // with an exception set
  if (extra->skip != Skip::no) return Resumed::plainly;
  PyObject* piece = find_piece(extra, generator);
  if (!piece) return Resumed::in_a_piece;
  if (piece == Py_None || extra->skip != Skip::no) return Resumed::plainly;
  Own held = Own::share(piece);
  ExtraState* known = find_extra(reinterpret_cast<PyCodeObject*>(PyTuple_GET_ITEM(piece, 0)));
  if (known && known->skip != Skip::no) return Resumed::plainly;
  const bool at_start = py::starts_there(frame, py::generator_place(generator));
  Own fn = function_of(generator, piece);
  if (!fn) return Resumed::in_a_piece;
  std::vector<Own> dropped;
  Own given = take_arguments(generator, PyTuple_GET_ITEM(piece, 1), PyTuple_GET_ITEM(piece, 3) == Py_True, &dropped);
  if (!given) return Resumed::in_a_piece;
  dropped.clear();
  *result = call_piece(generator, frame, std::move(fn), std::move(given), at_start);
  return Resumed::in_a_piece;
}

bool init_generators(PyObject* module) {
  static PyMethodDef methods[] = {
      {"waiting", waiting, METH_O, "waiting(generator) -> (code, place, function, handled, variables, stack), or None"},
      {"set_waiting", set_waiting, METH_VARARGS,
       "set_waiting(generator, place, variables, stack, handled) -> the generator, which waits there now"},
      {"set_running", set_running, METH_VARARGS, "set_running(generator, cells) -> the generator, which runs elsewhere from now on"},
      {"set_yielded", set_yielded, METH_VARARGS,
       "set_yielded(generator, state) -> what one that ran elsewhere yields, from what a piece of its code returned"},
      {"set_finished", set_finished, METH_O, "set_finished(generator): as if it had returned"},
      {"set_count", set_count, METH_VARARGS, "set_count(enumerate, n): the number that it gives next"},
      {nullptr, nullptr, 0, nullptr}};
  return PyModule_AddFunctions(module, methods) == 0;
}

}  // namespace alt
