// What a guard knows about a tensor. Only for the files that include ATen's headers.
#pragma once

#include "torch_headers.h"

#include "dim_marks.h"
#include "tensor_check.h"

namespace alt {

struct TensorSpec {
  uint64_t keys = 0;
  caffe2::TypeMeta dtype;
  c10::Layout layout = c10::Layout::Strided;
  c10::Device device = c10::Device(c10::kCPU);
  bool requires_grad = false;
  bool check_sizes = false;
  bool check_strides = false;
  int64_t rank = 0;
  std::vector<int64_t> sizes;
  std::vector<int64_t> strides;
  bool asks_for_marks = false;
  DimMarks marks;  // what the example had

  static constexpr int64_t kDynamic = INT64_MIN;  // a size or stride that is left open
  bool is_open(int dim) const { return !check_sizes || sizes[static_cast<size_t>(dim)] == kDynamic; }
};

inline const at::Tensor& tensor_of(PyObject* obj) { return THPVariable_Unpack(obj); }

}  // namespace alt
