// The module alternator._C and its submodules.
#include "frame_hook.h"
#include "guard_tree.h"
#include "lifetimes.h"

namespace alt {

bool init_build(PyObject* module);       // build_object.cpp
bool init_set_layout(PyObject* module);  // set_layout.cpp
bool init_tables(PyObject* module);      // tables.cpp
bool init_generators(PyObject* module);  // generators.cpp

namespace {

PyObject* live_counts(PyObject*, PyObject*) {
  return Py_BuildValue("{sLsLsLsLsL}", "entries", live_entries, "trees", GuardTree::live_trees, "nodes",
                       GuardTree::live_nodes, "extra_states", live_extra_states, "compiled_functions",
                       live_compiled_functions);
}

// Inline cache entries per opcode, as CPython's own `opcode` module tells them.
Own opcode_caches() {
  Own opcode = Own::steal(PyImport_ImportModule("opcode"));
  Own counts = Own::steal(opcode ? PyObject_GetAttrString(opcode.get(), "_inline_cache_entries") : nullptr);
  return Own::steal(counts ? PySequence_List(counts.get()) : nullptr);
}

PyObject* submodule(PyObject* parent, const char* name) {
  std::string full = std::string("alternator._C.") + name;
  PyObject* module = PyImport_AddModule(full.c_str());  // borrowed; stands in sys.modules
  if (!module || PyModule_AddObjectRef(parent, name, module) < 0) return nullptr;
  return module;
}

PyMethodDef methods[] = {{"live_counts", live_counts, METH_NOARGS, "numbers of native objects that are alive"},
                         {nullptr, nullptr, 0, nullptr}};

PyModuleDef definition = {PyModuleDef_HEAD_INIT, "alternator._C", "Native parts of Alternator.", -1, methods,
                          nullptr, nullptr, nullptr, nullptr};

bool fill(PyObject* module) {
  if (!init_sentinels() || !init_tensor_check()) return false;
  PyObject* eval_frame = submodule(module, "eval_frame");
  PyObject* guards = eval_frame ? submodule(module, "guards") : nullptr;
  PyObject* build = guards ? submodule(module, "build") : nullptr;
  if (!build || !init_build(build) || !init_set_layout(build) || !init_tables(build)) return false;
  PyObject* caches = guards ? submodule(module, "py_opcode_caches") : nullptr;
  if (!caches) return false;
  Own counts = opcode_caches();
  return counts && PyModule_AddObjectRef(caches, "py_opcode_caches", counts.get()) == 0 &&
         PyModule_AddObjectRef(eval_frame, "py_opcode_caches", counts.get()) == 0 && init_cache(eval_frame) &&
         init_frame_hook(eval_frame) && init_drive(eval_frame) && init_compiled_function(eval_frame) && init_generators(eval_frame) && init_guard_tree_type(guards) &&
         init_lifetimes(guards);
}

}  // namespace

}  // namespace alt

PyMODINIT_FUNC PyInit__C() {
  PyObject* module = PyModule_Create(&alt::definition);
  if (module && !alt::fill(module)) Py_CLEAR(module);
  return module;
}
