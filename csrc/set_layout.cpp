// The table of a set: which member lies in which slot. The order of a set, of what is added to it later and of sets made of it
// follow from that, so two sets of the same members may differ.
#include "guard_tree.h"

#include <algorithm>
#include <vector>

namespace alt {

namespace {

struct Layout {
  Py_ssize_t mask = 0, finger = 0;     // where pop() begins to look
  std::vector<Py_ssize_t> slots, gone;  // of the members, in the set's order; those that once had a member

  static bool parse(PyObject* tuple, Layout* out);
  static Layout of(const PySetObject* set);
};

bool numbers(PyObject* tuple, std::vector<Py_ssize_t>* out) {
  if (!PyTuple_CheckExact(tuple)) return false;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(tuple); ++i) {
    out->push_back(PyLong_AsSsize_t(PyTuple_GET_ITEM(tuple, i)));
    if (PyErr_Occurred()) return false;
  }
  return true;
}

bool Layout::parse(PyObject* tuple, Layout* out) {
  if (!PyTuple_CheckExact(tuple) || PyTuple_GET_SIZE(tuple) != 4) return false;
  out->mask = PyLong_AsSsize_t(PyTuple_GET_ITEM(tuple, 0));
  out->finger = PyErr_Occurred() ? 0 : PyLong_AsSsize_t(PyTuple_GET_ITEM(tuple, 1));
  return !PyErr_Occurred() && numbers(PyTuple_GET_ITEM(tuple, 2), &out->slots) && numbers(PyTuple_GET_ITEM(tuple, 3), &out->gone);
}

Layout Layout::of(const PySetObject* set) {
  Layout made{set->mask, set->finger & set->mask, {}, {}};
  for (Py_ssize_t i = 0; i <= set->mask; ++i)
    if (PyObject* key = set->table[i].key) (key == _PySet_Dummy ? made.gone : made.slots).push_back(i);
  return made;
}

PySetObject* as_set(PyObject* obj) { return PyAnySet_Check(obj) ? reinterpret_cast<PySetObject*>(obj) : nullptr; }

PyObject* tuple_of(const std::vector<Py_ssize_t>& values) {
  Own made = Own::steal(PyTuple_New(static_cast<Py_ssize_t>(values.size())));
  for (size_t i = 0; made && i < values.size(); ++i) {
    PyObject* value = PyLong_FromSsize_t(values[i]);
    if (!value) return nullptr;
    PyTuple_SET_ITEM(made.get(), static_cast<Py_ssize_t>(i), value);
  }
  return made.release();
}

// set_layout(set) -> (mask, finger, slots, gone)
PyObject* set_layout(PyObject*, PyObject* obj) {
  PySetObject* set = as_set(obj);
  if (!set) return PyErr_Format(PyExc_TypeError, "set_layout() takes a set");
  const Layout layout = Layout::of(set);
  Own slots = Own::steal(tuple_of(layout.slots)), gone = Own::steal(tuple_of(layout.gone));
  if (!slots || !gone) return nullptr;
  return Py_BuildValue("(nnOO)", layout.mask, layout.finger, slots.get(), gone.get());
}

bool fits(const Layout& layout, const PySetObject* set) {
  const Py_ssize_t size = layout.mask + 1, fill = static_cast<Py_ssize_t>(layout.slots.size() + layout.gone.size());
  if (size < PySet_MINSIZE || (size & layout.mask) || layout.finger < 0 || layout.finger > layout.mask) return false;
  if (static_cast<Py_ssize_t>(layout.slots.size()) != set->used || fill > layout.mask) return false;  // a search ends at a free slot
  std::vector<bool> taken(static_cast<size_t>(size));
  for (const auto* part : {&layout.slots, &layout.gone})
    for (Py_ssize_t slot : *part) {
      if (slot < 0 || slot > layout.mask || taken[static_cast<size_t>(slot)]) return false;
      taken[static_cast<size_t>(slot)] = true;
    }
  return true;
}

// arrange_set(set, layout): the members, in the set's present order, come to lie in these slots. It must be the layout of a set
// of the same members (with the same hashes).
PyObject* arrange_set(PyObject*, PyObject* const* args, Py_ssize_t count) {
  PySetObject* set = count == 2 ? as_set(args[0]) : nullptr;
  Layout layout;
  if (!set || !Layout::parse(args[1], &layout) || !fits(layout, set)) {
    if (PyErr_Occurred()) return nullptr;
    return PyErr_Format(PyExc_ValueError, "arrange_set() takes a set and a layout of as many members");
  }
  const size_t size = static_cast<size_t>(layout.mask) + 1;
  std::vector<setentry> table(size, setentry{nullptr, 0});
  size_t next = 0;
  for (Py_ssize_t i = 0; i <= set->mask; ++i) {
    const setentry entry = set->table[i];
    if (entry.key && entry.key != _PySet_Dummy) table[static_cast<size_t>(layout.slots[next++])] = entry;
  }
  for (Py_ssize_t slot : layout.gone) table[static_cast<size_t>(slot)] = {_PySet_Dummy, -1};
  setentry* place = set->smalltable;
  if (size > PySet_MINSIZE && !(place = PyMem_New(setentry, size))) return PyErr_NoMemory();
  if (set->table != set->smalltable) PyMem_Free(set->table);
  std::copy(table.begin(), table.end(), place);
  set->table = place;
  set->mask = layout.mask;
  set->finger = layout.finger;
  set->fill = static_cast<Py_ssize_t>(layout.slots.size() + layout.gone.size());
  Py_RETURN_NONE;
}

// same_table(a, b): two sets of the very same members in the same slots.
PyObject* same_table(PyObject*, PyObject* const* args, Py_ssize_t count) {
  PySetObject *a = count == 2 ? as_set(args[0]) : nullptr, *b = count == 2 ? as_set(args[1]) : nullptr;
  if (!a || !b) return PyErr_Format(PyExc_TypeError, "same_table() takes two sets");
  bool same = a->mask == b->mask && a->fill == b->fill && ((a->finger ^ b->finger) & a->mask) == 0;
  for (Py_ssize_t i = 0; same && i <= a->mask; ++i) same = a->table[i].key == b->table[i].key;
  return PyBool_FromLong(same);
}

}  // namespace

bool same_spread(PyObject* a, PyObject* b) {
  PySetObject *x = as_set(a), *y = as_set(b);
  if (!x || !y || x->mask != y->mask || x->fill != y->fill || ((x->finger ^ y->finger) & x->mask)) return false;
  auto kind = [](const setentry& entry) { return !entry.key ? 0 : entry.key == _PySet_Dummy ? 1 : 2; };
  for (Py_ssize_t i = 0; i <= x->mask; ++i)
    if (kind(x->table[i]) != kind(y->table[i])) return false;
  return true;
}

bool is_set_layout(PyObject* tuple) {
  Layout layout;
  if (Layout::parse(tuple, &layout)) return true;
  PyErr_Clear();
  return false;
}

bool has_layout(PyObject* obj, PyObject* expected) {
  PySetObject* set = as_set(obj);
  auto number = [](PyObject* tuple, Py_ssize_t i) { return PyLong_AsSsize_t(PyTuple_GET_ITEM(tuple, i)); };
  if (!set || number(expected, 0) != set->mask || number(expected, 1) != (set->finger & set->mask)) return false;
  PyObject *slots = PyTuple_GET_ITEM(expected, 2), *gone = PyTuple_GET_ITEM(expected, 3);
  if (PyTuple_GET_SIZE(slots) != set->used || PyTuple_GET_SIZE(slots) + PyTuple_GET_SIZE(gone) != set->fill) return false;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(slots); ++i) {
    PyObject* key = set->table[number(slots, i)].key;
    if (!key || key == _PySet_Dummy) return false;
  }
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(gone); ++i)
    if (set->table[number(gone, i)].key != _PySet_Dummy) return false;
  return true;
}

bool init_set_layout(PyObject* module) {
  static PyMethodDef methods[] = {
      {"set_layout", set_layout, METH_O, "set_layout(set) -> (mask, finger, slots of the members in order, slots once used)"},
      {"arrange_set", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(arrange_set)), METH_FASTCALL,
       "arrange_set(set, layout): move the members, in the set's order, to these slots"},
      {"same_table", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(same_table)), METH_FASTCALL,
       "same_table(a, b) -> whether the very same members lie in the same slots"},
      {nullptr, nullptr, 0, nullptr}};
  return PyModule_AddFunctions(module, methods) == 0;
}

}  // namespace alt
