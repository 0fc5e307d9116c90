#include "lifetimes.h"

#include "tensor_check.h"

#include <cstring>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <vector>

namespace alt {

namespace {

// ---- classes --------------------------------------------------------------------------------------------------------

enum Facts : uint16_t {
  kApart = 1,       // not looked at: it has no end, or one that is none of our business
  kHolder = 2,      // no end of its own that shows, whatever it holds
  kSilent = 4,      // likewise, but only of objects of this very class
  kDel = 8,
  kWeak = 16,       // objects can be referred to weakly
  kGenerator = 32,
  kCoroutine = 64,
  kFunction = 128,
  kFrame = 256,
  kOurs = 512,      // of the package itself
};

// What is known of classes. They are told apart by their versions, which no two classes share: nothing here keeps one alive.
class Classes {
 public:
  bool set(PyObject* plain, PyObject* holders, PyObject* silent, PyObject* apart) {
    return fix(plain, kApart) && fix(holders, kHolder) && fix(silent, kSilent) && apart_from(apart);
  }

  uint16_t facts(PyTypeObject* type) {
    if (type == last_ && version_of(type) == last_version_ && last_version_ != 0) return last_facts_;
    last_ = type;
    last_facts_ = look_up(type);
    last_version_ = version_of(type);
    return last_facts_;
  }

 private:
  struct Known {
    uint64_t version;
    uint16_t facts;
  };

  static uint64_t version_of(PyTypeObject* type) { return py::type_version(type); }

  bool fix(PyObject* types, uint16_t facts) {
    Own items = Own::steal(PySequence_Tuple(types));
    for (Py_ssize_t i = 0; items && i < PyTuple_GET_SIZE(items.get()); ++i) {
      PyObject* type = PyTuple_GET_ITEM(items.get(), i);
      fixed_[reinterpret_cast<PyTypeObject*>(Py_NewRef(type))] |= facts;  // for ever: these are builtin
    }
    return static_cast<bool>(items);
  }

  bool apart_from(PyObject* types) {
    bases_ = Own::steal(PySequence_Tuple(types));
    del_ = Own::steal(PyUnicode_InternFromString("__del__"));
    module_ = Own::steal(PyUnicode_InternFromString("__module__"));
    known_.clear();
    last_ = nullptr;
    return bases_ && del_ && module_;
  }

  uint16_t look_up(PyTypeObject* type) {
    if (auto found = known_.find(type); found != known_.end() && found->second.version == version_of(type) && version_of(type) != 0)
      return found->second.facts;
    const uint16_t facts = find_out(type);
    if (known_.size() > 4096) known_.clear();  // most of these classes are gone
    known_[type] = {version_of(type), facts};
    return facts;
  }

  uint16_t find_out(PyTypeObject* type) {
    uint16_t facts = 0;
    const bool has_del = py::type_lookup(type, del_.get()) != nullptr;  // gives the class a version, too
    if (auto fixed = fixed_.find(type); fixed != fixed_.end()) facts = fixed->second;
    if (is_ours(type)) facts |= kOurs | kApart;
    for (Py_ssize_t i = 0; bases_ && i < PyTuple_GET_SIZE(bases_.get()); ++i)
      if (PyType_IsSubtype(type, reinterpret_cast<PyTypeObject*>(PyTuple_GET_ITEM(bases_.get(), i)))) facts |= kApart;
    if (has_del && !(facts & kSilent)) facts |= kDel;
    if (type->tp_weaklistoffset > 0) facts |= kWeak;
    if (type == &PyGen_Type) facts |= kGenerator;
    if (type == &PyCoro_Type || type == &PyAsyncGen_Type) facts |= kCoroutine;
    if (type == &PyFunction_Type) facts |= kFunction;
    if (type == &PyFrame_Type) facts |= kFrame;
    return facts;
  }

  // Of a class of the package, as its own namespace, or what C code called it, says.
  bool is_ours(PyTypeObject* type) const {
    constexpr std::string_view kPackage = "alternator";
    const char* name = type->tp_name;
    Py_ssize_t size = static_cast<Py_ssize_t>(std::strlen(name));
    if (type->tp_flags & Py_TPFLAGS_HEAPTYPE) {
      PyObject* module = PyDict_GetItem(type->tp_dict, module_.get());
      if (!module || !PyUnicode_CheckExact(module)) return false;
      name = PyUnicode_AsUTF8AndSize(module, &size);
      if (!name) PyErr_Clear();
    }
    if (!name) return false;
    const std::string_view text(name, static_cast<size_t>(size));
    return text.starts_with(kPackage) && (text.size() == kPackage.size() || text[kPackage.size()] == '.');
  }

  std::unordered_map<PyTypeObject*, uint16_t> fixed_;
  std::unordered_map<PyTypeObject*, Known> known_;
  Own bases_, del_, module_;
  PyTypeObject* last_ = nullptr;
  uint64_t last_version_ = 0;
  uint16_t last_facts_ = 0;
};

Classes& classes() {
  static Classes* all = new Classes;  // never destroyed: the interpreter may be gone by then
  return *all;
}

// ---- objects --------------------------------------------------------------------------------------------------------

// Addresses that were seen.
class Seen {
 public:
  Seen() : slots_(64) {}
  bool has(const void* at) const { return slots_[find(at)] != nullptr; }
  void add(const void* at) {
    const void*& slot = slots_[find(at)];
    if (slot) return;
    slot = at;
    if (++size_ * 2 <= slots_.size()) return;
    std::vector<const void*> old(slots_.size() * 2);
    old.swap(slots_);
    for (const void* one : old)
      if (one) slots_[find(one)] = one;
  }
  size_t size() const { return size_; }

 private:
  size_t find(const void* at) const {
    const size_t mask = slots_.size() - 1;
    size_t i = (reinterpret_cast<uintptr_t>(at) >> 4) * 0x9E3779B97F4A7C15u >> 20 & mask;
    while (slots_[i] && slots_[i] != at) i = (i + 1) & mask;
    return i;
  }
  std::vector<const void*> slots_;
  size_t size_ = 0;
};

struct Found {
  std::vector<PyObject*> pending;
  PyObject *globals = nullptr, *builtins = nullptr;  // of a frame
  bool frame = false;
};

int visit(PyObject* obj, void* arg) {
  auto& found = *static_cast<Found*>(arg);
  if (found.frame && (Py_TYPE(obj) == &PyFrame_Type || obj == found.globals || obj == found.builtins)) return 0;
  found.pending.push_back(obj);
  return 0;
}

// What an object holds; of a function and a frame without the namespaces that they share with others, and without the frames
// that called it, which are at work, or have tracebacks of their own.
void held_by(PyObject* obj, uint16_t facts, Found& found) {
  if (facts & kFunction) {
    auto fn = reinterpret_cast<PyFunctionObject*>(obj);
    for (PyObject* part : {fn->func_defaults, fn->func_kwdefaults, fn->func_closure, fn->func_dict})
      if (part) found.pending.push_back(part);
    return;
  }
  found.frame = (facts & kFrame) != 0;
  if (found.frame) std::tie(found.globals, found.builtins) = py::namespaces_of(reinterpret_cast<PyFrameObject*>(obj));
  if (PyObject_IS_GC(obj) && Py_TYPE(obj)->tp_traverse) Py_TYPE(obj)->tp_traverse(obj, visit, &found);
  found.frame = false;
}

// Whether its end runs code: it waits inside of try or with; a coroutine that was not begun warns.
bool cleans_up(PyObject* generator, uint16_t facts) {
  if (py::generator_is_finished(generator)) return false;
  return (facts & kCoroutine) || py::has_handler(py::generator_code(generator), py::generator_place(generator));
}

bool shows(PyObject* obj, uint16_t facts) {
  if (facts & (kGenerator | kCoroutine)) return cleans_up(obj, facts);
  if (facts & kSilent) return false;
  if (facts & kDel) return true;
  if (!(facts & kWeak)) return false;
  for (PyObject* ref = py::first_weak_reference(obj); ref; ref = py::next_weak_reference(ref))
    if (!(classes().facts(Py_TYPE(ref)) & kOurs)) return true;
  return false;
}

}  // namespace

bool is_observed(PyObject* value, PyObject* const* apart, size_t count, size_t most) {
  Seen seen;
  for (size_t i = 0; i < count; ++i)
    if (apart[i] != value) seen.add(apart[i]);
  most += seen.size();
  Found found;
  found.pending.push_back(value);
  while (!found.pending.empty()) {
    PyObject* one = found.pending.back();
    found.pending.pop_back();
    const uint16_t facts = classes().facts(Py_TYPE(one));
    if ((facts & kApart) || seen.has(one)) continue;
    if (!(facts & kHolder) && shows(one, facts)) return true;
    seen.add(one);
    if (seen.size() > most) return true;
    held_by(one, facts, found);
  }
  return false;
}

// ---- where values are held ------------------------------------------------------------------------------------------

bool parse_held_by(PyObject* text, HeldBy* out) {
  static constexpr std::pair<const char*, HeldBy> kNames[] = {{"itself", HeldBy::itself},
                                                              {"attribute", HeldBy::attribute},
                                                              {"global", HeldBy::global},
                                                              {"class", HeldBy::cls},
                                                              {"cell", HeldBy::cell}};
  for (auto [name, how] : kNames)
    if (PyUnicode_Check(text) && PyUnicode_CompareWithASCIIString(text, name) == 0) {
      *out = how;
      return true;
    }
  PyErr_Format(PyExc_ValueError, "values are not held by %R", text);
  return false;
}

static Own in_dict(PyObject* dict, PyObject* name) {
  PyObject* found = dict && PyDict_Check(dict) ? py::dict_lookup(dict, name, PyObject_Hash(name)) : nullptr;
  if (!found) PyErr_Clear();
  return Own::share(found);
}

// In the object itself: in its dict, or in a slot.
static Own attribute(PyObject* obj, PyObject* name) {
  PyObject** slot = nullptr;
  py::Slot state = py::dict_slot(obj, &slot);
  const bool is_dict = PyUnicode_CompareWithASCIIString(name, "__dict__") == 0;
  if (state == py::Slot::unmade) {
    const py::InlineAttributes attributes(obj);
    if (!is_dict && attributes.can_be_read()) {
      if (PyObject* value = attributes[{name, PyObject_Hash(name)}]) return Own::share(value);
    } else {
      py::make_dict(obj);
      state = py::dict_slot(obj, &slot);
    }
  }
  if (state == py::Slot::ready && slot) {
    if (is_dict) return Own::share(*slot);
    if (Own value = in_dict(*slot, name)) return value;
  }
  PyObject* mro = Py_TYPE(obj)->tp_mro;
  for (Py_ssize_t i = 0; mro && i < PyTuple_GET_SIZE(mro); ++i) {
    auto base = reinterpret_cast<PyTypeObject*>(PyTuple_GET_ITEM(mro, i));
    Own raw = in_dict(base->tp_dict, name);
    if (!raw || Py_TYPE(raw.get()) != &PyMemberDescr_Type) continue;
    Own value = Own::steal(PyMember_GetOne(reinterpret_cast<char*>(obj), reinterpret_cast<PyMemberDescrObject*>(raw.get())->d_member));
    if (!value) PyErr_Clear();
    return value;
  }
  return Own();
}

Own held_there(HeldBy how, PyObject* holder, PyObject* name) {
  if (how == HeldBy::itself) return Own::share(holder);
  if (how == HeldBy::cell) return Own::share(PyCell_Check(holder) ? PyCell_GET(holder) : nullptr);
  if (!PyUnicode_CheckExact(name)) return Own();
  if (how == HeldBy::attribute) return attribute(holder, name);
  if (how == HeldBy::global) return in_dict(holder, name);
  return in_dict(PyType_Check(holder) ? reinterpret_cast<PyTypeObject*>(holder)->tp_dict : nullptr, name);
}

// ---- for Python -----------------------------------------------------------------------------------------------------

static PyObject* set_kinds(PyObject*, PyObject* args) {
  PyObject *plain, *holders, *silent, *apart;
  if (!PyArg_ParseTuple(args, "OOOO", &plain, &holders, &silent, &apart)) return nullptr;
  if (!classes().set(plain, holders, silent, apart)) return nullptr;
  Py_RETURN_NONE;
}

static PyObject* py_is_observed(PyObject*, PyObject* args) {
  PyObject *value, *given;
  Py_ssize_t most;
  if (!PyArg_ParseTuple(args, "OOn", &value, &given, &most)) return nullptr;
  Own apart = Own::steal(PySequence_Tuple(given));
  if (!apart) return nullptr;
  return PyBool_FromLong(is_observed(value, PySequence_Fast_ITEMS(apart.get()), static_cast<size_t>(PyTuple_GET_SIZE(apart.get())),
                                     static_cast<size_t>(most)));
}

static PyObject* py_is_apart(PyObject*, PyObject* type) {
  if (!PyType_Check(type)) return PyErr_Format(PyExc_TypeError, "is_apart() takes a class");
  return PyBool_FromLong(classes().facts(reinterpret_cast<PyTypeObject*>(type)) & kApart);
}

static PyObject* py_held_by(PyObject*, PyObject* obj) {
  Found found;
  held_by(obj, classes().facts(Py_TYPE(obj)), found);
  for (PyObject* one : found.pending) Py_INCREF(one);  // a collection may come in between
  PyObject* result = PyTuple_New(static_cast<Py_ssize_t>(found.pending.size()));
  for (size_t i = 0; i < found.pending.size(); ++i) {
    if (result) PyTuple_SET_ITEM(result, static_cast<Py_ssize_t>(i), found.pending[i]);
    else Py_DECREF(found.pending[i]);
  }
  return result;
}

static PyObject* py_held(PyObject*, PyObject* args) {
  PyObject *text, *holder, *name, *missing;
  HeldBy how;
  if (!PyArg_ParseTuple(args, "OOOO", &text, &holder, &name, &missing) || !parse_held_by(text, &how)) return nullptr;
  Own value = held_there(how, holder, name);
  return value ? value.release() : Py_NewRef(missing);
}

static PyObject* py_history_is_stale(PyObject*, PyObject* obj) { return PyBool_FromLong(history_is_stale(obj)); }

static PyObject* py_history_of(PyObject*, PyObject* obj) { return history_of(obj); }

static PyObject* py_set_history(PyObject*, PyObject* args) {
  PyObject *obj, *history;
  if (!PyArg_ParseTuple(args, "OO", &obj, &history) || !set_history(obj, history)) return nullptr;
  Py_RETURN_NONE;
}

static PyObject* py_instance_dict(PyObject*, PyObject* obj) {
  if (Py_TYPE(obj)->tp_dictoffset == 0) Py_RETURN_NONE;
  return PyObject_GenericGetDict(obj, nullptr);
}

static PyObject* py_weak(PyObject*, PyObject* obj) { return new_weak(obj, nullptr); }

static PyObject* py_let_go(PyObject*, PyObject* obj) {
  let_go(obj);
  Py_RETURN_NONE;
}

bool init_lifetimes(PyObject* module) {
  static PyMethodDef methods[] = {
      {"set_lifetime_kinds", set_kinds, METH_VARARGS, "set_lifetime_kinds(plain, holders, silent, apart)"},
      {"is_observed", py_is_observed, METH_VARARGS, "is_observed(value, apart, most) -> whether a program can tell when it dies"},
      {"is_apart", py_is_apart, METH_O, "is_apart(cls) -> whether the ends of its objects are not looked at"},
      {"held_by", py_held_by, METH_O, "held_by(obj) -> a tuple of what it holds"},
      {"held", py_held, METH_VARARGS, "held(how, holder, name, missing) -> what it has there"},
      {"history_is_stale", py_history_is_stale, METH_O, "history_is_stale(tensor) -> whether to ask for its history would change it"},
      {"history_of", py_history_of, METH_O, "history_of(tensor) -> what set_history() takes; None for leaves, views, and hooks"},
      {"set_history", py_set_history, METH_VARARGS, "set_history(tensor, history): the history that it had before a write"},
      {"instance_dict", py_instance_dict, METH_O, "instance_dict(obj) -> its __dict__, whatever its class makes of that; or None"},
      {"weak", py_weak, METH_O, "weak(obj) -> a weak reference that can be told from the program's"},
      {"let_go", py_let_go, METH_O, "let_go(obj): all guards that refer weakly to it hold no more, and refer to it no more"},
      {nullptr, nullptr, 0, nullptr}};
  return PyModule_AddFunctions(module, methods) == 0;
}

}  // namespace alt
