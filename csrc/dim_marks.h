// What users wrote on a tensor about its sizes: mark_dynamic and the like, PyTorch's or ours. They are attributes of the tensor.
#pragma once

#include "util.h"

#include <array>
#include <cstdint>
#include <string>

namespace alt {

struct DimMarks {
  enum Kind : uint8_t { dynamic, weak, unbacked, strictly_unbacked, fixed, kinds };
  std::array<uint64_t, kinds> dims{};  // a bit per dimension

  // Those that `other` lacks.
  DimMarks beyond(const DimMarks& other) const {
    DimMarks more;
    for (size_t kind = 0; kind < kinds; ++kind) more.dims[kind] = dims[kind] & ~other.dims[kind];
    return more;
  }
  bool none() const { return *this == DimMarks(); }
  bool operator==(const DimMarks&) const = default;
  std::string text() const;
};

// Called once when the module is imported; false with an exception set.
bool init_dim_marks();

DimMarks read_dim_marks(PyObject* tensor) noexcept;
// Quick, and true for hardly any tensor.
inline bool may_have_dim_marks(PyObject* tensor) noexcept { return py::has_attributes(tensor); }

}  // namespace alt
