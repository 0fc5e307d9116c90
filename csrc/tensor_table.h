// Tensors that stay: those that are alike are compared with one pattern, straight from their fields.
#pragma once

#include "tensor_check.h"

#include <map>

namespace alt {

// The caller proves that each object is alive, and that it is a tensor or can only have become an instance of another class with room for
// one, before match(). It holds when each is of the class that it was of, and matches what its guard says.
class TensorTable {
 public:
  // False: what this one needs does not fit; check it with tensor_matches(). The object has just been found to match.
  bool add(const TensorSpec& spec, PyObject* obj);
  void finish();  // none follow
  bool match() const noexcept;
  size_t size() const;

 private:
  // From the number of dimensions on, as far as the dispatch keys: sizes, strides, data type, device.
  static constexpr size_t kWords = 15;
  struct Group {
    uint64_t expected[kWords];
    uint64_t mask[kWords];  // 0 where nothing is expected
    PyTypeObject* type;
    bool requires_grad;
    bool is_short;  // few dimensions, and their strides need not be looked at
    std::vector<PyObject*> objects;
  };
  static const uint64_t* window(const void* impl);
  template <bool short_>
  static bool group_matches(const Group& group);
  bool compare() const;
  bool compare_wide() const;

  std::vector<Group> groups_;
  std::map<std::vector<uint64_t>, size_t> places_;  // in groups_; while it is made
};

}  // namespace alt
