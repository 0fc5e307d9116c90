#include "dim_marks.h"

namespace alt {

namespace {

struct Name {
  const char* attribute;
  const char* text;
  PyObject* interned = nullptr;
};
Name names[DimMarks::kinds] = {{"_dynamo_dynamic_indices", "dynamic"},
                               {"_dynamo_weak_dynamic_indices", "dynamic where possible"},
                               {"_dynamo_unbacked_indices", "unbacked"},
                               {"_dynamo_strict_unbacked_indices", "strictly unbacked"},
                               {"_dynamo_static_indices", "static"}};

uint64_t bits_of(PyObject* set) {
  uint64_t bits = 0;
  Py_ssize_t at = 0;
  PyObject* item;
  Py_hash_t hash;
  while (_PySet_NextEntry(set, &at, &item, &hash)) {
    if (!PyLong_CheckExact(item)) continue;
    int overflow;
    const long dim = PyLong_AsLongAndOverflow(item, &overflow);
    if (dim >= 0 && dim < 64) bits |= uint64_t{1} << dim;
  }
  return bits;
}

}  // namespace

bool init_dim_marks() {
  for (Name& name : names)
    if (!name.interned && !(name.interned = PyUnicode_InternFromString(name.attribute))) return false;
  return true;
}

DimMarks read_dim_marks(PyObject* tensor) noexcept {
  DimMarks marks;
  if (!may_have_dim_marks(tensor)) return marks;
  for (size_t kind = 0; kind < DimMarks::kinds; ++kind) {
    PyObject* set = py::own_attribute(tensor, names[kind].interned);
    if (set && PyAnySet_Check(set)) marks.dims[kind] = bits_of(set);
  }
  return marks;
}

std::string DimMarks::text() const {
  std::string text;
  for (size_t kind = 0; kind < kinds; ++kind) {
    for (int dim = 0; dim < 64; ++dim)
      if (dims[kind] >> dim & 1)
        text += (text.empty() ? "" : ", ") + std::string("dimension ") + std::to_string(dim) + " as " + names[kind].text;
  }
  return text;
}

}  // namespace alt
