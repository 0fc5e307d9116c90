// The one place that knows CPython's internals and its version. Everything else uses what is declared here.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <opcode.h>
#include <structmember.h>

#if PY_VERSION_HEX < 0x030B0000 || PY_VERSION_HEX >= 0x030C0000
#error "alternator supports Python 3.11 only"
#endif

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#pragma GCC diagnostic ignored "-Wpedantic"
#define Py_BUILD_CORE 1
#undef HAVE_STD_ATOMIC  // C's atomics are no C++; the compiler's own have the same layout
#undef _PyGC_FINALIZED  // which two headers define
#include <internal/pycore_code.h>
#include <internal/pycore_dict.h>
#include <internal/pycore_frame.h>
#include <internal/pycore_runtime.h>
#undef Py_BUILD_CORE
#pragma GCC diagnostic pop

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace alt::py {

using Frame = _PyInterpreterFrame;

// ---- frames ---------------------------------------------------------------------------------------------------------

inline PyFunctionObject* frame_func(const Frame* frame) { return frame->f_func; }
inline PyCodeObject* frame_code(const Frame* frame) { return frame->f_code; }
inline PyObject** frame_locals(Frame* frame) { return frame->localsplus; }

// True for the frame of a generator or coroutine that already exists, i.e. one that is being resumed.
inline bool frame_is_resumed(const Frame* frame) { return frame->owner == FRAME_OWNED_BY_GENERATOR; }

// The names under which CPython's own evaluator and its hook are reached. On 3.11 the caller of the hook clears the
// frame, so a hook that answers without evaluating just returns its result.
inline PyObject* eval_default(PyThreadState* tstate, Frame* frame, int throwflag) {
  return _PyEval_EvalFrameDefault(tstate, frame, throwflag);
}
using EvalFn = PyObject* (*)(PyThreadState*, Frame*, int);
// A debugger or a tool that measures coverage wants to see each line (a profiler sees calls only).
inline bool is_traced(const PyThreadState* tstate) { return tstate->c_tracefunc != nullptr; }

inline EvalFn get_eval_hook() { return _PyInterpreterState_GetEvalFrameFunc(PyInterpreterState_Get()); }
inline void set_eval_hook(EvalFn fn) { _PyInterpreterState_SetEvalFrameFunc(PyInterpreterState_Get(), fn); }
inline EvalFn default_eval_hook() { return _PyEval_EvalFrameDefault; }

// Whether Python runs in other threads, too.
inline bool other_threads(PyThreadState* tstate) {
  PyThreadState* head = PyInterpreterState_ThreadHead(PyThreadState_GetInterpreter(tstate));
  return head != tstate || PyThreadState_Next(head) != nullptr;
}

// Whether a signal, or an exception from another thread, waits for Python to look: the frame that is evaluated next may raise it.
inline bool is_interrupted(const PyThreadState* tstate) {
  return _Py_atomic_load_relaxed(&_PyRuntime.ceval.signals_pending) || tstate->async_exc;
}

// ---- generators -----------------------------------------------------------------------------------------------------

enum class Waits : int8_t { no, finished, at_start, at_yield };

inline Frame* generator_frame(PyObject* generator) {
  return reinterpret_cast<Frame*>(reinterpret_cast<PyGenObject*>(generator)->gi_iframe);
}

// Whether a generator waits; not one whose steps a debugger follows.
inline Waits generator_waits(PyObject* generator) {
  const int8_t state = reinterpret_cast<PyGenObject*>(generator)->gi_frame_state;
  if (state >= FRAME_COMPLETED) return Waits::finished;
  const Frame* frame = generator_frame(generator);
  if (state == FRAME_EXECUTING || (frame->frame_obj && frame->frame_obj->f_trace)) return Waits::no;
  return state == FRAME_CREATED ? Waits::at_start : Waits::at_yield;
}

// The generator of a frame that is being resumed, if it is an ordinary one; what it is sent is on its stack. Null where
// somebody holds the frame, and could look into it.
inline PyObject* resumed_generator(Frame* frame) {
  constexpr int kKinds = CO_GENERATOR | CO_COROUTINE | CO_ASYNC_GENERATOR | CO_ITERABLE_COROUTINE;
  if ((frame->f_code->co_flags & kKinds) != CO_GENERATOR || frame->frame_obj) return nullptr;
  return reinterpret_cast<PyObject*>(_PyFrame_GetGenerator(frame));
}
// It is in no evaluator, but in the middle of being resumed; until it is put somewhere.
inline void leave_frame(Frame* frame, bool yielded) {
  if (yielded) ++frame->prev_instr;  // nobody takes it for one that delegates
  frame->stacktop = -1;
}
inline void enter_frame(Frame* frame) { frame->stacktop = frame->f_code->co_nlocalsplus; }
inline bool starts_there(const Frame* frame, int offset) {
  return _Py_OPCODE(_PyCode_CODE(frame->f_code)[offset / 2]) == RETURN_GENERATOR;
}

// What follows is for those that wait at a place. The place: that of the last instruction, in bytes.
inline PyCodeObject* generator_code(PyObject* generator) { return generator_frame(generator)->f_code; }
inline PyFunctionObject* generator_function(PyObject* generator) { return generator_frame(generator)->f_func; }
// The function finds the builtins that the other one does, whatever its namespace has by now.
inline void give_builtins(PyObject* fn, const PyFunctionObject* of) {
  Py_SETREF(reinterpret_cast<PyFunctionObject*>(fn)->func_builtins, Py_NewRef(of->func_builtins));
}
inline int generator_place(PyObject* generator) { return 2 * _PyInterpreterFrame_LASTI(generator_frame(generator)); }
inline void place_generator(PyObject* generator, int offset, bool started) {
  Frame* frame = generator_frame(generator);
  frame->prev_instr = _PyCode_CODE(frame->f_code) + offset / 2;
  reinterpret_cast<PyGenObject*>(generator)->gi_frame_state = started ? FRAME_SUSPENDED : FRAME_CREATED;
}
// One whose frame has been given away runs, although no evaluator has its frame: what was in it is elsewhere.
inline bool generator_is_away(PyObject* generator) {
  return reinterpret_cast<PyGenObject*>(generator)->gi_frame_state == FRAME_EXECUTING && generator_frame(generator)->stacktop >= 0;
}
inline bool is_cell(PyCodeObject* code, int variable) {
  return (_PyLocals_GetKind(code->co_localspluskinds, variable) & (CO_FAST_CELL | CO_FAST_FREE)) != 0;
}
inline void give_frame_away(PyObject* generator) {  // one that waits, with nothing in its frame any more
  Frame* frame = generator_frame(generator);
  auto inner = reinterpret_cast<PyGenObject*>(generator);
  if (inner->gi_frame_state == FRAME_SUSPENDED) ++frame->prev_instr;  // nobody takes it for one that delegates
  inner->gi_frame_state = FRAME_EXECUTING;
}
inline int code_size(PyCodeObject* code) { return static_cast<int>(Py_SIZE(code)) * 2; }

// Its variables, and behind them its stack; all of it is `count` long, and may be as long as `room`.
struct Slots {
  PyObject** at;
  int locals, count, room;
};
inline Slots generator_slots(PyObject* generator) {
  Frame* frame = generator_frame(generator);
  const int locals = frame->f_code->co_nlocalsplus;
  return {frame->localsplus, locals, frame->stacktop, locals + frame->f_code->co_stacksize};
}
inline void set_generator_stack(PyObject* generator, int count) { generator_frame(generator)->stacktop = count; }

// The exception that it is handling.
inline PyObject** generator_handles(PyObject* generator) {
  return &reinterpret_cast<PyGenObject*>(generator)->gi_exc_state.exc_value;
}

// The frames in the tracebacks of an error, and of those that it came of, that `caller` has called: as if a generator had run
// in them, which forgets who resumed it as soon as it waits. What it keeps alive would else keep it alive.
inline void forget_caller(PyObject* error, PyFrameObject* caller) {
  constexpr int kMost = 100;
  for (int i = 0; error && i < kMost; ++i, error = reinterpret_cast<PyBaseExceptionObject*>(error)->context) {
    auto trace = reinterpret_cast<PyTracebackObject*>(reinterpret_cast<PyBaseExceptionObject*>(error)->traceback);
    for (; trace; trace = trace->tb_next)
      if (trace->tb_frame->f_back == caller) Py_CLEAR(trace->tb_frame->f_back);
  }
}

inline bool generator_is_finished(PyObject* generator) {
  return reinterpret_cast<PyGenObject*>(generator)->gi_frame_state >= FRAME_COMPLETED;
}
// Whether an exception that is raised `offset` bytes into the code meets a handler there.
inline bool has_handler(PyCodeObject* code, int offset) {
  auto at = reinterpret_cast<const uint8_t*>(PyBytes_AS_STRING(code->co_exceptiontable));
  const uint8_t* end = at + PyBytes_GET_SIZE(code->co_exceptiontable);
  auto number = [&] {  // as CPython writes it: six bits to a byte, the first of an entry marked
    int value = *at & 63;
    while (at < end && (*at++ & 64)) value = value << 6 | (at < end ? *at & 63 : 0);
    return value;
  };
  while (at < end) {
    const int start = number(), size = number();
    (void)number();  // the handler
    (void)number();  // its depth
    if (offset / 2 >= start && offset / 2 < start + size) return true;
  }
  return false;
}

// The global and the builtin names of a frame.
inline std::pair<PyObject*, PyObject*> namespaces_of(PyFrameObject* frame) {
  return {frame->f_frame->f_globals, frame->f_frame->f_builtins};
}

// Weak references to an object of a class that allows them, one after the other; null: no more.
inline PyObject* first_weak_reference(PyObject* obj) {
  return *reinterpret_cast<PyObject**>(reinterpret_cast<char*>(obj) + Py_TYPE(obj)->tp_weaklistoffset);
}
inline PyObject* next_weak_reference(PyObject* ref) {
  return reinterpret_cast<PyObject*>(reinterpret_cast<PyWeakReference*>(ref)->wr_next);
}

// A weak reference is as if its object were gone; its callback is not called.
inline void clear_weak_reference(PyObject* ref) { _PyWeakref_ClearRef(reinterpret_cast<PyWeakReference*>(ref)); }

// How far an `enumerate` has counted, as long as that is a small number.
struct Enumerate {
  PyObject_HEAD
  Py_ssize_t count;
  PyObject *iterator, *result, *large_count, *one;
};
inline bool set_enumerate(PyObject* enumerate, Py_ssize_t count) {
  auto inner = reinterpret_cast<Enumerate*>(enumerate);
  if (inner->large_count || count == PY_SSIZE_T_MAX || PyEnum_Type.tp_basicsize != sizeof(Enumerate)) return false;
  inner->count = count;
  return true;
}

// ---- code objects ---------------------------------------------------------------------------------------------------

inline int code_nlocals(const PyCodeObject* code) { return code->co_nlocals; }
inline int code_argcount(const PyCodeObject* code) { return code->co_argcount; }
inline int code_kwonly(const PyCodeObject* code) { return code->co_kwonlyargcount; }
inline int code_flags(const PyCodeObject* code) { return code->co_flags; }

inline PyObject* code_local_name(PyCodeObject* code, Py_ssize_t i) { return PyTuple_GET_ITEM(code->co_localsplusnames, i); }
// Which of the first `named` variables a keyword argument is for; -1: none.
inline Py_ssize_t code_find_argument(PyCodeObject* code, PyObject* name, Py_ssize_t named) {
  for (Py_ssize_t i = code->co_posonlyargcount; i < named; ++i)
    if (code_local_name(code, i) == name) return i;
  for (Py_ssize_t i = code->co_posonlyargcount; i < named; ++i)
    if (_PyUnicode_EQ(code_local_name(code, i), name)) return i;
  return -1;
}

// Where a frame that is not running says that it is: `offset` bytes into its code.
inline bool place_frame(PyObject* frame, int offset) {
  Frame* inner = reinterpret_cast<PyFrameObject*>(frame)->f_frame;
  if (offset < 0 || offset / 2 >= Py_SIZE(inner->f_code) || inner->owner != FRAME_OWNED_BY_FRAME_OBJECT) return false;
  inner->prev_instr = _PyCode_CODE(inner->f_code) + offset / 2;
  return true;
}

// True for a function that takes its arguments plainly and whose body is run by calling CPython's own function call.
inline bool func_is_plain(const PyFunctionObject* fn) { return fn->vectorcall == _PyFunction_Vectorcall; }

// From now on frames of this code are taken for frames that have not begun yet: stacks and tracebacks leave them out.
inline void hide_frames_of(PyCodeObject* code) { code->_co_firsttraceable = static_cast<int>(Py_SIZE(code)); }

inline Py_ssize_t request_code_extra(freefunc free) { return _PyEval_RequestCodeExtraIndex(free); }
inline void* get_code_extra(PyCodeObject* code, Py_ssize_t index) {
  if (code->co_extra == nullptr) return nullptr;  // most code objects
  void* extra = nullptr;
  if (_PyCode_GetExtra(reinterpret_cast<PyObject*>(code), index, &extra) < 0) PyErr_Clear();
  return extra;
}
inline int set_code_extra(PyCodeObject* code, Py_ssize_t index, void* extra) {
  return _PyCode_SetExtra(reinterpret_cast<PyObject*>(code), index, extra);
}

// ---- dicts ----------------------------------------------------------------------------------------------------------

// Globally unique per state of a dict: equal versions mean the same dict with the same contents. Never 0.
inline uint64_t dict_version(PyObject* dict) { return reinterpret_cast<PyDictObject*>(dict)->ma_version_tag; }

// Where the version is kept, for those who look at many in a row. (From 3.12: a word of ours that a dict watcher changes.)
inline const uint64_t* version_word(PyObject* dict) { return &reinterpret_cast<PyDictObject*>(dict)->ma_version_tag; }

inline PyObject* dict_lookup(PyObject* dict, PyObject* key, Py_hash_t hash) {
  return _PyDict_GetItem_KnownHash(dict, key, hash);
}

enum class Slot { none, ready, unmade };

// Where an object keeps its __dict__. `unmade`: attributes are still inline; see make_dict() and InlineAttributes.
inline Slot dict_slot(PyObject* obj, PyObject*** slot) {
  PyTypeObject* type = Py_TYPE(obj);
  if (type->tp_flags & Py_TPFLAGS_MANAGED_DICT) {
    auto base = reinterpret_cast<PyObject**>(obj);
    *slot = base - 3;
    return base[-3] == nullptr && base[-4] != nullptr ? Slot::unmade : Slot::ready;
  }
  if (type->tp_dictoffset > 0) {
    *slot = reinterpret_cast<PyObject**>(reinterpret_cast<char*>(obj) + type->tp_dictoffset);
    return Slot::ready;
  }
  if (type->tp_dictoffset == 0) return Slot::none;
  *slot = _PyObject_GetDictPtr(obj);  // counted from the end of a var-sized object
  return *slot ? Slot::ready : Slot::none;
}
// The words that are 0 as long as an object whose slot is ready, and empty, has no __dict__.
inline std::array<const void*, 2> empty_dict_words(PyObject* obj, PyObject** slot) {
  if (Py_TYPE(obj)->tp_flags & Py_TPFLAGS_MANAGED_DICT) return {slot, slot - 1};
  return {slot, slot};
}
// Whether an object whose __dict__ is a field in front of it has attributes of its own; `obj` may be of any class.
inline bool has_attributes(PyObject* obj) {
  if (!(Py_TYPE(obj)->tp_flags & Py_TPFLAGS_MANAGED_DICT)) return Py_TYPE(obj)->tp_dictoffset != 0;  // who knows
  auto base = reinterpret_cast<PyObject**>(obj);
  if (base[-3]) return PyDict_GET_SIZE(base[-3]) != 0;
  return base[-4] && reinterpret_cast<uint8_t*>(base[-4])[-2] != 0;  // how many of the inline values were ever set
}
// One of them by its (interned) name, without making the dict; null: there is none, or it takes a look into the dict's own kind.
inline PyObject* own_attribute(PyObject* obj, PyObject* name) {
  PyObject** slot = nullptr;
  if (!(Py_TYPE(obj)->tp_flags & Py_TPFLAGS_MANAGED_DICT)) {
    slot = _PyObject_GetDictPtr(obj);
    return slot && *slot ? dict_lookup(*slot, name, PyObject_Hash(name)) : nullptr;
  }
  auto base = reinterpret_cast<PyObject**>(obj);
  if (base[-3]) return dict_lookup(base[-3], name, PyObject_Hash(name));
  PyDictKeysObject* keys = reinterpret_cast<PyHeapTypeObject*>(Py_TYPE(obj))->ht_cached_keys;
  if (!base[-4] || !keys || keys->dk_kind == DICT_KEYS_GENERAL) return nullptr;
  const PyDictUnicodeEntry* entries = DK_UNICODE_ENTRIES(keys);
  for (Py_ssize_t i = 0; i < keys->dk_nentries; ++i)
    if (entries[i].me_key == name) return reinterpret_cast<PyDictValues*>(base[-4])->values[i];
  return nullptr;
}
// The names that instances of a class have a place for in front of them, before they have a __dict__.
class InlineNames {
 public:
  explicit InlineNames(PyTypeObject* type)
      : keys_(type->tp_flags & Py_TPFLAGS_MANAGED_DICT ? reinterpret_cast<PyHeapTypeObject*>(type)->ht_cached_keys : nullptr) {
    if (keys_ && keys_->dk_kind == DICT_KEYS_GENERAL) keys_ = nullptr;
  }
  Py_ssize_t count() const { return keys_ ? keys_->dk_nentries : 0; }
  PyObject* operator[](Py_ssize_t at) const { return DK_UNICODE_ENTRIES(keys_)[at].me_key; }
  Py_ssize_t room() const { return keys_->dk_nentries + keys_->dk_usable; }  // for names that come later, too

 private:
  PyDictKeysObject* keys_;
};
// Values of such names, for an object that is being made. As CPython lays them out: behind the order in which they were set, the number
// of these, and how long all this is.
class InlineValues {
 public:
  explicit InlineValues(Py_ssize_t room) {
    const auto size = static_cast<size_t>(room), before = (size + 2 + sizeof(PyObject*) - 1) / sizeof(PyObject*) * sizeof(PyObject*);
    auto memory = static_cast<uint8_t*>(PyMem_Calloc(1, before + size * sizeof(PyObject*)));
    if (!memory) return;
    memory[before - 1] = static_cast<uint8_t>(before);
    values_ = reinterpret_cast<PyDictValues*>(memory + before);
  }
  explicit operator bool() const { return values_ != nullptr; }
  void set(Py_ssize_t at, PyObject* value) {
    values_->values[at] = Py_NewRef(value);
    _PyDictValues_AddToInsertionOrder(values_, at);
  }
  // To a new object of a class with such names, which has nothing yet. Once.
  void give_to(PyObject* obj) { reinterpret_cast<PyDictValues**>(obj)[-4] = values_; }

 private:
  PyDictValues* values_ = nullptr;
};
// The words that say that it has none, in two levels (the second is looked at only if the first stands); empty: they don't.
struct NoAttributes {
  std::array<const uint64_t*, 2> first{};
  const uint64_t* second = nullptr;
};
inline NoAttributes no_attributes_words(PyObject* obj) {
  if (!(Py_TYPE(obj)->tp_flags & Py_TPFLAGS_MANAGED_DICT)) return {};
  auto base = reinterpret_cast<const uint64_t*>(obj);
  NoAttributes words{{base - 3, base - 4}, nullptr};
  if (base[-4]) words.second = reinterpret_cast<const uint64_t*>(base[-4]) - 1;  // with the number of values set
  return words;
}
// Gives an object that can have one its __dict__: its attributes are inline, or it has none. Nothing else runs meanwhile: not the garbage collector either.
inline void make_dict(PyObject* obj) {
  const int enabled = PyGC_Disable();
  PyObject* made = PyObject_GenericGetDict(obj, nullptr);
  if (!made) PyErr_Clear();
  Py_XDECREF(made);
  if (enabled) PyGC_Enable();
}
// The attributes of an object whose __dict__ is `unmade`, as that would have them.
class InlineAttributes {
 public:
  static constexpr int kPerturbShift = 5;  // of dictobject.c
  explicit InlineAttributes(PyObject* obj)
      : keys_(reinterpret_cast<PyHeapTypeObject*>(Py_TYPE(obj))->ht_cached_keys),
        values_(reinterpret_cast<PyDictValues**>(obj)[-4]) {}
  bool can_be_read() const { return keys_ && keys_->dk_kind != DICT_KEYS_GENERAL && keys_->dk_log2_size < 8; }
  // For an exact str; null: there is none. As CPython probes, with one byte to an index.
  PyObject* operator[](const std::pair<PyObject*, Py_hash_t>& name) const {
    const auto indices = reinterpret_cast<const int8_t*>(keys_->dk_indices);
    const size_t mask = DK_SIZE(keys_) - 1;
    auto perturb = static_cast<size_t>(name.second);
    for (size_t i = perturb & mask;; i = (i * 5 + (perturb >>= kPerturbShift) + 1) & mask) {
      const int8_t at = indices[i];
      if (at == DKIX_EMPTY) return nullptr;
      PyObject* key = at < 0 ? nullptr : DK_UNICODE_ENTRIES(keys_)[at].me_key;
      if (key == name.first || (key && PyObject_Hash(key) == name.second && _PyUnicode_EQ(key, name.first)))
        return values_->values[at];
    }
  }

 private:
  PyDictKeysObject* keys_;
  PyDictValues* values_;
};

// Keys of an OrderedDict in their own order, which the version of its dict does not cover (move_to_end).
struct ODictNode {
  PyObject* key;
  Py_hash_t hash;
  ODictNode* next;
  ODictNode* prev;
};
struct ODict {
  PyDictObject dict;
  ODictNode* first;
  ODictNode* last;
};
inline const ODictNode* odict_first(PyObject* odict) { return reinterpret_cast<ODict*>(odict)->first; }

// ---- types ----------------------------------------------------------------------------------------------------------

// Unique per state of a type and of its bases; 0 when the type has none at the moment.
inline uint64_t type_version(PyTypeObject* type) {
  return (type->tp_flags & Py_TPFLAGS_VALID_VERSION_TAG) ? type->tp_version_tag : 0;
}
// Where the version is kept, with the padding behind it, which is never written. PyType_Modified() sets it to 0.
static_assert(sizeof(PyTypeObject::tp_version_tag) == 4 && offsetof(PyTypeObject, tp_version_tag) % 8 == 0 &&
              offsetof(PyTypeObject, tp_finalize) == offsetof(PyTypeObject, tp_version_tag) + 8);
inline const uint64_t* type_version_word(PyTypeObject* type) {
  return reinterpret_cast<const uint64_t*>(reinterpret_cast<const char*>(type) + offsetof(PyTypeObject, tp_version_tag));
}
inline PyObject* type_lookup(PyTypeObject* type, PyObject* name) { return _PyType_Lookup(type, name); }

// True if instances have nothing that only object's own allocation, and no C code of a base, has to set up.
inline bool is_python_class(PyTypeObject* type) {
  if (!(type->tp_flags & Py_TPFLAGS_HEAPTYPE) || type->tp_alloc != PyType_GenericAlloc || (type->tp_flags & Py_TPFLAGS_IS_ABSTRACT))
    return false;
  PyTypeObject* base = type;
  while (base->tp_base && (base->tp_flags & Py_TPFLAGS_HEAPTYPE)) base = base->tp_base;
  return base == &PyBaseObject_Type;
}
// Where an attribute is kept that is nothing but a field of the object, which reading it gives; null: reading it is more than that.
inline PyObject** member_of(PyObject* obj, PyObject* name) {
  PyTypeObject* type = Py_TYPE(obj);
  const bool of_class = type->tp_getattro == PyType_Type.tp_getattro;  // `__mro__`, say: what metaclasses define comes first
  if (type->tp_getattro != PyObject_GenericGetAttr && !of_class) return nullptr;
  PyObject* found = _PyType_Lookup(type, name);
  if (!found || Py_TYPE(found) != &PyMemberDescr_Type || (of_class && PyDescr_TYPE(found) != &PyType_Type)) return nullptr;
  const PyMemberDef* member = reinterpret_cast<PyMemberDescrObject*>(found)->d_member;
  if (!PyType_IsSubtype(type, PyDescr_TYPE(found)) || (member->type != T_OBJECT && member->type != T_OBJECT_EX)) return nullptr;
  auto at = reinterpret_cast<PyObject**>(reinterpret_cast<char*>(obj) + member->offset);
  return *at || member->type == T_OBJECT_EX ? at : nullptr;  // an empty one reads as None, or is missing
}
inline void enable_vectorcall(PyTypeObject* type) { type->tp_flags |= Py_TPFLAGS_HAVE_VECTORCALL; }

// Objects of some types can be given another type by `obj.__class__ = other`.
inline bool instances_can_change_type(PyTypeObject* type) {
  return !(type->tp_flags & Py_TPFLAGS_IMMUTABLETYPE) || PyType_IsSubtype(type, &PyModule_Type);
}
inline bool type_can_change(PyTypeObject* type) { return !(type->tp_flags & Py_TPFLAGS_IMMUTABLETYPE); }

// ---- other fields that change, by address ---------------------------------------------------------------------------

inline const void* type_word(PyObject* obj) { return &obj->ob_type; }
inline const void* size_word(PyObject* obj) { return &reinterpret_cast<PyVarObject*>(obj)->ob_size; }
inline const void* cell_word(PyObject* cell) { return &reinterpret_cast<PyCellObject*>(cell)->ob_ref; }
inline const void* weakref_word(PyObject* ref) { return &reinterpret_cast<PyWeakReference*>(ref)->wr_object; }
inline const uint64_t* list_items_word(PyObject* list) {
  return reinterpret_cast<const uint64_t*>(&reinterpret_cast<PyListObject*>(list)->ob_item);
}

// ---- what a class keeps ---------------------------------------------------------------------------------------------

// Something lives as long as a heap class, under a key of its own: in a field that no code uses any more, but that is visited by
// the collector. It is a dict, so the collector can take a cycle apart there.
inline bool class_keeps(PyObject* cls, PyObject* key, PyObject* value) {
  PyObject*& kept = reinterpret_cast<PyTypeObject*>(cls)->tp_cache;
  if (!kept && !(kept = PyDict_New())) return false;
  return PyDict_SetItem(kept, key, value) == 0;
}
inline void class_lets_go(PyObject* cls, PyObject* key) {
  PyObject *type, *value, *trace;
  PyErr_Fetch(&type, &value, &trace);
  if (PyDict_DelItem(reinterpret_cast<PyTypeObject*>(cls)->tp_cache, key) < 0) PyErr_Clear();
  PyErr_Restore(type, value, trace);
}

}  // namespace alt::py
