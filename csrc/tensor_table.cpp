#include "tensor_table.h"

#include "tensor_spec.h"

#include <algorithm>
#include <cstring>

namespace alt {

namespace {

// Where a TensorImpl keeps what a guard asks for. Fields that classes below it may name.
struct Fields : c10::TensorImpl {
  static const uint64_t* keys(const c10::TensorImpl* impl) {
    static_assert(sizeof(c10::DispatchKeySet) == 8);
    return reinterpret_cast<const uint64_t*>(&(impl->*(&Fields::key_set_)));
  }
  static const uint64_t* dims(const c10::TensorImpl* impl) {
    return reinterpret_cast<const uint64_t*>(&(impl->*(&Fields::sizes_and_strides_)));
  }
  // Symbolic sizes, for example.
  static bool has_extra(const c10::TensorImpl* impl) { return static_cast<bool>(impl->*(&Fields::extra_meta_)); }
  // The field in front of that one; see add().
  static const c10::AutogradMetaInterface* autograd(const c10::TensorImpl* impl) {
    return reinterpret_cast<const c10::AutogradMetaInterface* const*>(&(impl->*(&Fields::extra_meta_)))[-1];
  }
  // Data type and device, and flags that follow from sizes and strides, are in the word at this place.
  static bool has_kind_at(const c10::TensorImpl* impl, const uint64_t* place) {
    const auto type = reinterpret_cast<uintptr_t>(&(impl->*(&Fields::data_type_)));
    const auto device = reinterpret_cast<uintptr_t>(&(impl->*(&Fields::device_opt_)));
    const auto at = reinterpret_cast<uintptr_t>(place);
    return type == at && device > type && device + sizeof(std::optional<c10::Device>) <= at + 8;
  }
};

constexpr size_t kMost = C10_SIZES_AND_STRIDES_MAX_INLINE_SIZE;
constexpr size_t kSizes = 1, kStrides = kSizes + kMost, kKind = 13, kKeys = 14;

bool all_fixed(const TensorSpec& spec) {
  auto all = [&](const std::vector<int64_t>& dims, bool checked) {
    return spec.rank == 0 || (checked && std::find(dims.begin(), dims.end(), TensorSpec::kDynamic) == dims.end());
  };
  return !tensor_check_may_run_python(spec) && spec.layout == c10::kStrided && all(spec.sizes, spec.check_sizes) &&
         all(spec.strides, spec.check_strides);
}

// A view asks its base, if it has nothing of its own.
[[gnu::always_inline]] inline bool requires_grad(const c10::TensorImpl* impl) {
  auto meta = static_cast<const torch::autograd::AutogradMeta*>(Fields::autograd(impl));
  if (!meta) return false;
  if (meta->requires_grad_ || meta->grad_fn_) return true;
  return meta->is_view_ && static_cast<const c10::AutogradMetaInterface*>(meta)->requires_grad();
}

// Whether the flag for it, which is kept with the data type, and the sizes say what the strides are: the strides of dimensions of size 1
// are free.
bool strides_follow(const c10::TensorImpl* impl) {
  return impl->is_contiguous() && std::all_of(impl->sizes().begin(), impl->sizes().end(), [](int64_t size) { return size > 1; });
}

// Words at a place that is aligned for one.
typedef uint64_t Two __attribute__((vector_size(16), aligned(8), may_alias));
typedef uint64_t Four __attribute__((vector_size(32), aligned(8), may_alias));

}  // namespace

const uint64_t* TensorTable::window(const void* impl) { return Fields::dims(static_cast<const c10::TensorImpl*>(impl)); }

bool TensorTable::add(const TensorSpec& spec, PyObject* obj) {
  const auto rank = static_cast<size_t>(spec.rank);
  if (!all_fixed(spec) || rank > kMost || !tensor_matches(spec, obj)) return false;
  const c10::TensorImpl* impl = tensor_of(obj).unsafeGetTensorImpl();
  const uint64_t* words = window(impl);
  // Else this is another version of PyTorch, or a TensorImpl that keeps its sizes elsewhere.
  if (Fields::has_extra(impl) || Fields::autograd(impl) != impl->autograd_meta() || Fields::keys(impl) != words + kKeys || !Fields::has_kind_at(impl, words + kKind) || words[0] != rank ||
      reinterpret_cast<const uint64_t*>(impl->sizes().data()) != words + kSizes ||
      reinterpret_cast<const uint64_t*>(impl->strides().data()) != words + kStrides)
    return false;
  const bool short_ = rank <= 3 && strides_follow(impl);
  Group made{{}, {}, Py_TYPE(obj), spec.requires_grad, short_, {}};
  auto expect = [&](size_t first, size_t count) {
    for (size_t i = first; i < first + count; ++i) made.expected[i] = words[i], made.mask[i] = ~uint64_t{0};
  };
  expect(0, 1 + rank);
  if (!short_) expect(kStrides, rank);
  expect(kKind, 2);
  std::vector<uint64_t> key(made.expected, made.expected + kWords);
  key.push_back(reinterpret_cast<uint64_t>(made.type));
  key.push_back(made.requires_grad);
  auto [found, fresh] = places_.emplace(std::move(key), groups_.size());
  if (fresh) groups_.push_back(std::move(made));
  groups_[found->second].objects.push_back(obj);
  return true;
}

void TensorTable::finish() {
  decltype(places_)().swap(places_);
  for (Group& group : groups_) {
    std::sort(group.objects.begin(), group.objects.end());
    group.objects.erase(std::unique(group.objects.begin(), group.objects.end()), group.objects.end());
  }
}

size_t TensorTable::size() const {
  size_t count = 0;
  for (const Group& group : groups_) count += group.objects.size();
  return count;
}

template <bool short_>
[[gnu::always_inline]] inline bool TensorTable::group_matches(const Group& group) {
  auto two = [](const uint64_t* at) -> const Two& { return *reinterpret_cast<const Two*>(at); };
  auto four = [](const uint64_t* at) -> const Four& { return *reinterpret_cast<const Four*>(at); };
  const Four e0 = four(group.expected), e1 = four(group.expected + 4), e2 = four(group.expected + 8);
  const Four m0 = four(group.mask), m1 = four(group.mask + 4), m2 = four(group.mask + 8);
  const Two kind = two(group.expected + kKind);
  PyTypeObject* const type = group.type;
  const bool grad = group.requires_grad;
  Two other{};
  Four off{};
  for (PyObject* obj : group.objects) {
    const c10::TensorImpl* impl = tensor_of(obj).unsafeGetTensorImpl();
    if (Py_TYPE(obj) != type || requires_grad(impl) != grad) return false;
    const uint64_t* words = window(impl);
    other |= two(words + kKind) ^ kind;
    off |= (four(words) ^ e0) & m0;
    if constexpr (!short_) off |= ((four(words + 4) ^ e1) & m1) | ((four(words + 8) ^ e2) & m2);
  }
  return (off[0] | off[1] | off[2] | off[3] | other[0] | other[1]) == 0;
}

[[gnu::always_inline]] inline bool TensorTable::compare() const {
  for (const Group& group : groups_)
    if (!(group.is_short ? group_matches<true>(group) : group_matches<false>(group))) return false;
  return true;
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) bool TensorTable::compare_wide() const { return compare(); }
static const bool has_wide_words = __builtin_cpu_supports("avx2");
#else
bool TensorTable::compare_wide() const { return compare(); }
static constexpr bool has_wide_words = true;
#endif

bool TensorTable::match() const noexcept { return has_wide_words ? compare_wide() : compare(); }

}  // namespace alt
