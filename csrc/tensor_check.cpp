#include "tensor_spec.h"

#include <algorithm>
#include <mutex>
#include <sstream>
#include <vector>

namespace alt {

namespace {

PyTypeObject* tensor_base = nullptr;  // torch._C.TensorBase
PyTypeObject* parameter = nullptr;    // torch.nn.Parameter

constexpr int64_t kDynamic = TensorSpec::kDynamic;

template <typename T>
std::string text_of(const T& value) {
  std::ostringstream out;
  out << value;
  return out.str();
}

std::string dims_text(const std::vector<int64_t>& dims) {
  std::string text = "(";
  for (size_t i = 0; i < dims.size(); ++i) {
    if (i) text += ", ";
    text += dims[i] == kDynamic ? "any" : std::to_string(dims[i]);
  }
  return text + ")";
}

std::string dims_text(c10::IntArrayRef dims) { return dims_text(std::vector<int64_t>(dims.begin(), dims.end())); }

}  // namespace

struct RandomState {
  at::mt19937 engine;
  std::optional<float> next_float;
  std::optional<double> next_double;
};

void RandomStateDelete::operator()(RandomState* state) const { delete state; }

static at::CPUGeneratorImpl* cpu_generator() {
  return at::check_generator<at::CPUGeneratorImpl>(at::detail::getDefaultCPUGenerator());
}

RandomStatePtr save_random_state() {
  at::CPUGeneratorImpl* generator = cpu_generator();
  std::lock_guard<std::mutex> lock(generator->mutex_);
  return RandomStatePtr(
      new RandomState{generator->engine(), generator->next_float_normal_sample(), generator->next_double_normal_sample()});
}

void restore_random_state(const RandomState& state) {
  at::CPUGeneratorImpl* generator = cpu_generator();
  std::lock_guard<std::mutex> lock(generator->mutex_);
  generator->set_engine(state.engine);
  generator->set_next_float_normal_sample(state.next_float);
  generator->set_next_double_normal_sample(state.next_double);
}

void TensorSpecDelete::operator()(TensorSpec* spec) const { delete spec; }

bool init_tensor_check() {
  Own module = Own::steal(PyImport_ImportModule("torch._C"));
  if (!module) return false;
  PyObject* base = PyObject_GetAttrString(module.get(), "TensorBase");
  if (!base) return false;
  if (!PyType_Check(base)) {
    PyErr_SetString(PyExc_ImportError, "alternator: torch._C.TensorBase is not a class");
    return false;
  }
  tensor_base = reinterpret_cast<PyTypeObject*>(base);
  Own nn = Own::steal(PyImport_ImportModule("torch.nn.parameter"));
  PyObject* cls = nn ? PyObject_GetAttrString(nn.get(), "Parameter") : nullptr;
  parameter = reinterpret_cast<PyTypeObject*>(cls);
  return cls && init_dim_marks();
}

bool is_tensor(PyObject* obj) {
  PyTypeObject* type = Py_TYPE(obj);
  return THPVariable_CheckTypeExact(type) || PyType_IsSubtype(type, tensor_base);
}

static bool read_dims(PyObject* dims, const char* what, int64_t rank, bool* check, std::vector<int64_t>* out) {
  *check = false;
  if (dims == Py_None) return true;
  if (!PyTuple_Check(dims)) {
    PyErr_Format(PyExc_TypeError, "TENSOR guard: %s must be None or a tuple", what);
    return false;
  }
  if (PyTuple_GET_SIZE(dims) != rank) {
    PyErr_Format(PyExc_ValueError, "TENSOR guard: %zd %s for a tensor of %lld dimensions", PyTuple_GET_SIZE(dims), what,
                 static_cast<long long>(rank));
    return false;
  }
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(dims); ++i) {
    PyObject* item = PyTuple_GET_ITEM(dims, i);
    int64_t value = kDynamic;
    if (item != Py_None) {
      value = PyLong_AsLongLong(item);
      if (value == -1 && PyErr_Occurred()) return false;
      *check = true;
    }
    out->push_back(value);
  }
  return true;
}

TensorSpecPtr make_tensor_spec(PyObject* example, PyObject* sizes, PyObject* strides) {
  if (!is_tensor(example)) {
    PyErr_Format(PyExc_TypeError, "TENSOR guard: the example is a %s, not a tensor", Py_TYPE(example)->tp_name);
    return nullptr;
  }
  TensorSpecPtr spec(new TensorSpec);
  try {
    const at::Tensor& t = tensor_of(example);
    spec->keys = t.key_set().raw_repr();
    spec->dtype = t.dtype();
    spec->layout = t.layout();
    spec->device = t.device();
    spec->requires_grad = t.requires_grad();
    spec->rank = t.dim();
  } catch (const std::exception& e) {
    PyErr_Format(PyExc_RuntimeError, "TENSOR guard: the example cannot be read: %s", e.what());
    return nullptr;
  }
  if (!read_dims(sizes, "sizes", spec->rank, &spec->check_sizes, &spec->sizes)) return nullptr;
  if (!read_dims(strides, "strides", spec->rank, &spec->check_strides, &spec->strides)) return nullptr;
  spec->asks_for_marks = Py_TYPE(example) != parameter;  // whose sizes are constants
  spec->marks = read_dim_marks(example);
  return spec;
}

bool tensor_check_may_run_python(const TensorSpec& spec) {
  return c10::DispatchKeySet(c10::DispatchKeySet::RAW, spec.keys).has(c10::DispatchKey::Python);
}

static bool dims_match(const std::vector<int64_t>& want, c10::IntArrayRef found) {
  if (want.size() != found.size()) return false;
  for (size_t i = 0; i < want.size(); ++i)
    if (want[i] != found[i] && want[i] != kDynamic) return false;
  return true;
}

// The marks of a tensor that what was compiled does not honour.
static DimMarks new_marks(const TensorSpec& spec, PyObject* obj) noexcept {
  DimMarks more = read_dim_marks(obj).beyond(spec.marks);
  for (int dim = 0; dim < 64 && dim < spec.rank; ++dim) more.dims[spec.is_open(dim) ? DimMarks::weak : DimMarks::fixed] &= ~(uint64_t{1} << dim);
  return more;
}

static bool marks_honoured(const TensorSpec& spec, PyObject* obj) noexcept {
  return !spec.asks_for_marks || !may_have_dim_marks(obj) || new_marks(spec, obj).none();
}

bool tensor_can_be_marked(const TensorSpec& spec) { return spec.asks_for_marks; }

bool tensor_matches(const TensorSpec& spec, PyObject* obj) noexcept {
  if (!is_tensor(obj)) return false;
  const c10::TensorImpl* impl = tensor_of(obj).unsafeGetTensorImpl();
  if (impl == c10::UndefinedTensorImpl::singleton()) return false;
  if (impl->key_set().raw_repr() != spec.keys || impl->dtype() != spec.dtype) return false;
  try {
    const c10::AutogradMetaInterface* autograd = impl->autograd_meta();
    if ((autograd && autograd->requires_grad()) != spec.requires_grad || impl->device() != spec.device) return false;
    // The dispatch keys tell strided tensors from all others.
    if (spec.layout != c10::kStrided && impl->layout() != spec.layout) return false;
    // Sizes that are symbolic make these throw.
    if (spec.check_sizes ? !dims_match(spec.sizes, impl->sizes()) : impl->dim() != spec.rank) return false;
    return (!spec.check_strides || dims_match(spec.strides, impl->strides())) && marks_honoured(spec, obj);
  } catch (...) {
    PyErr_Clear();
    return false;
  }
}

std::string tensor_mismatch(const TensorSpec& spec, PyObject* obj) {
  if (!is_tensor(obj)) return "expected a tensor, found " + short_repr(obj);
  const at::Tensor& t = tensor_of(obj);
  if (!t.defined()) return "expected a tensor, found an undefined one";
  try {
    auto differ = [](const char* what, const std::string& want, const std::string& found) {
      return std::string("tensor ") + what + ": expected " + want + ", found " + found;
    };
    if (t.dtype() != spec.dtype) return differ("dtype", text_of(spec.dtype), text_of(t.dtype()));
    if (t.device() != spec.device) return differ("device", text_of(spec.device), text_of(t.device()));
    if (t.layout() != spec.layout) return differ("layout", text_of(spec.layout), text_of(t.layout()));
    if (t.requires_grad() != spec.requires_grad)
      return differ("requires_grad", spec.requires_grad ? "True" : "False", t.requires_grad() ? "True" : "False");
    if (t.key_set().raw_repr() != spec.keys)
      return differ("dispatch keys", text_of(c10::DispatchKeySet(c10::DispatchKeySet::RAW, spec.keys)),
                    text_of(t.key_set()));
    if (t.dim() != spec.rank)
      return differ("number of dimensions", std::to_string(spec.rank), std::to_string(t.dim()));
    if (spec.check_sizes && !dims_match(spec.sizes, t.sizes()))
      return differ("sizes", dims_text(spec.sizes), dims_text(t.sizes()));
    if (spec.check_strides && !dims_match(spec.strides, t.strides()))
      return differ("strides", dims_text(spec.strides), dims_text(t.strides()));
    if (!marks_honoured(spec, obj)) return "newly marked: " + new_marks(spec, obj).text();
    return "";
  } catch (const std::exception& e) {
    PyErr_Clear();
    return std::string("tensor could not be read: ") + e.what();
  }
}

static uint64_t signature(caffe2::TypeMeta dtype, c10::IntArrayRef sizes) {
  uint64_t result = static_cast<uint64_t>(dtype.toScalarType()) + 3;
  for (int64_t size : sizes) result = (result ^ static_cast<uint64_t>(size)) * 0x9E3779B97F4A7C15ull + 7;
  return result;
}

bool tensor_signature(PyObject* obj, uint64_t* out) noexcept {
  if (!is_tensor(obj)) return false;
  const at::Tensor& t = tensor_of(obj);
  if (!t.defined() || t.key_set().has(c10::DispatchKey::Python)) return false;
  try {
    *out = signature(t.dtype(), t.unsafeGetTensorImpl()->sizes());
    return true;
  } catch (...) {
    PyErr_Clear();
    return false;
  }
}

bool spec_signature(const TensorSpec& spec, uint64_t* out) {
  if (tensor_check_may_run_python(spec)) return false;
  if (spec.rank != 0 && (!spec.check_sizes || std::find(spec.sizes.begin(), spec.sizes.end(), kDynamic) != spec.sizes.end()))
    return false;
  *out = signature(spec.dtype, spec.rank ? c10::IntArrayRef(spec.sizes) : c10::IntArrayRef());
  return true;
}

bool tensor_number(PyObject* obj, TensorNumber what, int64_t dim, int64_t* out) noexcept {
  if (!is_tensor(obj)) return false;
  const at::Tensor& t = tensor_of(obj);
  if (!t.defined()) return false;
  try {
    const c10::TensorImpl* impl = t.unsafeGetTensorImpl();
    if (what == TensorNumber::offset) {
      *out = impl->storage_offset();
      return true;
    }
    c10::IntArrayRef dims = what == TensorNumber::size ? impl->sizes() : impl->strides();
    if (dim < 0 || dim >= static_cast<int64_t>(dims.size())) return false;
    *out = dims[dim];
    return true;
  } catch (...) {
    PyErr_Clear();
    return false;
  }
}

bool tensor_span(PyObject* obj, MemorySpan* out) noexcept {
  if (!is_tensor(obj)) return false;
  const at::Tensor& t = tensor_of(obj);
  if (!t.defined()) return false;
  try {
    if (!t.has_storage()) return true;
    const c10::StorageImpl* storage = t.unsafeGetTensorImpl()->unsafe_storage().unsafeGetStorageImpl();
    out->start = reinterpret_cast<uintptr_t>(storage->data());
    if (out->start == 0) {  // no memory (a meta tensor): the storage stands for it
      out->start = reinterpret_cast<uintptr_t>(storage);
      out->end = out->start + 1;
    } else {
      out->end = out->start + storage->nbytes();
    }
    return true;
  } catch (...) {
    PyErr_Clear();
    return false;
  }
}

bool history_is_stale(PyObject* obj) noexcept {
  if (!is_tensor(obj)) return false;
  const at::Tensor& t = tensor_of(obj);
  try {
    const torch::autograd::AutogradMeta* meta = torch::autograd::impl::get_autograd_meta(t);
    if (!meta || meta->grad_fn_ || !meta->requires_grad_ || !meta->is_view_) return false;
    const auto* view = static_cast<const torch::autograd::DifferentiableViewMeta*>(meta);
    return view->has_bw_view() && view->get_attr_version() != t._version() && view->get_backward_view().base_.requires_grad();
  } catch (...) {
    PyErr_Clear();
    return false;
  }
}

namespace {

constexpr const char* kHistory = "alternator.history";

void drop_history(PyObject* capsule) {
  delete static_cast<torch::autograd::Edge*>(PyCapsule_GetPointer(capsule, kHistory));
}

// That of a tensor whose history is one edge, and nothing else.
torch::autograd::AutogradMeta* meta_of_plain(const at::Tensor& t) {
  torch::autograd::AutogradMeta* meta = torch::autograd::impl::get_autograd_meta(t);
  if (!meta || !meta->grad_fn_ || meta->is_view_ || !meta->hooks_.empty() || meta->retains_grad_) return nullptr;
  return meta;
}

}  // namespace

PyObject* history_of(PyObject* obj) noexcept {
  if (!is_tensor(obj)) Py_RETURN_NONE;
  const torch::autograd::AutogradMeta* meta = meta_of_plain(tensor_of(obj));
  if (!meta) Py_RETURN_NONE;
  auto edge = std::make_unique<torch::autograd::Edge>(meta->grad_fn_, meta->output_nr_);
  PyObject* capsule = PyCapsule_New(edge.get(), kHistory, drop_history);
  if (capsule) edge.release();
  return capsule;
}

bool set_history(PyObject* obj, PyObject* history) noexcept {
  auto* edge = static_cast<torch::autograd::Edge*>(PyCapsule_GetPointer(history, kHistory));
  if (!edge) return false;
  if (!is_tensor(obj) || tensor_of(obj).is_view()) {
    PyErr_SetString(PyExc_TypeError, "set_history() takes a tensor that is no view");
    return false;
  }
  try {
    torch::autograd::impl::set_gradient_edge(tensor_of(obj), *edge);
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
    return false;
  }
  return true;
}

bool torch_is_tracing() { return c10::impl::tls_local_dispatch_key_set().included_.has(c10::DispatchKey::Tracer); }

// ---- global state ---------------------------------------------------------------------------------------------------

namespace {

constexpr c10::DeviceType kAutocastDevices[] = {c10::kCPU, c10::kCUDA};
// Where nothing is set for an operation, these give what its backend or everything has been set to.
constexpr std::pair<at::Float32Backend, at::Float32Op> kPrecisions[] = {
    {at::Float32Backend::CUDA, at::Float32Op::CONV},     {at::Float32Backend::CUDA, at::Float32Op::RNN},
    {at::Float32Backend::CUDA, at::Float32Op::MATMUL},   {at::Float32Backend::MKLDNN, at::Float32Op::CONV},
    {at::Float32Backend::MKLDNN, at::Float32Op::RNN},    {at::Float32Backend::MKLDNN, at::Float32Op::MATMUL}};

// Everything that is compared bit by bit: (name, value).
template <typename Sink>
bool each_setting(Sink&& sink) {
  const auto& context = at::globalContext();
  const c10::AutogradState& autograd = c10::AutogradState::get_tls_state();
  const auto tls = c10::impl::tls_local_dispatch_key_set();
  if (!sink("grad mode", autograd.get_grad_mode()) ||
      !sink("inference mode", autograd.get_inference_mode()) ||
      !sink("forward grad mode", autograd.get_fw_grad_mode()) ||
      !sink("multithreading mode", autograd.get_multithreading_enabled()) ||
      !sink("view replay mode", autograd.get_view_replay_enabled()) ||
      !sink("autocast on the CPU", at::autocast::is_autocast_enabled(c10::kCPU)) ||
      !sink("autocast on CUDA", at::autocast::is_autocast_enabled(c10::kCUDA)) ||
      !sink("autocast dtype on the CPU", at::autocast::get_autocast_dtype(c10::kCPU)) ||
      !sink("autocast dtype on CUDA", at::autocast::get_autocast_dtype(c10::kCUDA)) ||
      !sink("autocast cache", at::autocast::is_autocast_cache_enabled()) ||
      !sink("default dtype", c10::get_default_dtype_as_scalartype()) ||
      !sink("included dispatch keys", tls.included_.raw_repr()) ||
      !sink("excluded dispatch keys", tls.excluded_.raw_repr()) ||
      !sink("deterministic algorithms", context.deterministicAlgorithms()) ||
      !sink("deterministic algorithms (warn only)", context.deterministicAlgorithmsWarnOnly()) ||
      !sink("deterministic fill of uninitialized memory", context.deterministicFillUninitializedMemory()) ||
      !sink("reduced fp16 reduction in cuBLAS", context.allowFP16ReductionCuBLAS()) ||
      !sink("reduced bf16 reduction in cuBLAS", context.allowBF16ReductionCuBLAS()) ||
      !sink("fp16 accumulation in cuBLAS", context.allowFP16AccumulationCuBLAS()) ||
      !sink("torch function state", at::impl::PythonTorchFunctionTLS::get_disabled_state()) ||
      !sink("number of torch function modes", at::impl::PythonTorchFunctionTLS::stack_len()) ||
      !sink("number of torch dispatch modes", c10::impl::TorchDispatchModeTLS::stack_len()))
    return false;
  for (auto [backend, op] : kPrecisions)
    if (!sink("float32 precision", context.float32Precision(backend, op))) return false;
  return true;
}

constexpr size_t kSettings = 22 + std::size(kPrecisions);

// Whether a functorch transform is active. (Its header cannot be included: it needs a JSON library that torch does not ship.)
bool functorch_is_active() {
  return c10::impl::tls_local_dispatch_key_set().included_.has(c10::DispatchKey::FuncTorchDynamicLayerFrontMode);
}

}  // namespace

struct GlobalState {
  std::array<uint64_t, kSettings> settings{};
  std::vector<Ref> modes;
  bool functorch = false;
};

void GlobalStateDelete::operator()(GlobalState* state) const { delete state; }

GlobalStatePtr snapshot_global_state() {
  GlobalStatePtr state(new GlobalState);
  try {
    size_t count = 0;
    each_setting([&](const char*, auto value) {
      state->settings.at(count++) = static_cast<uint64_t>(value);
      return true;
    });
    if (count != kSettings) {
      PyErr_SetString(PyExc_SystemError, "alternator: wrong number of global settings");
      return nullptr;
    }
    for (int64_t i = 0; i < at::impl::PythonTorchFunctionTLS::stack_len(); ++i) {
      Ref ref;
      PyObject* mode = at::impl::PythonTorchFunctionTLS::get_stack_at(i)->ptr(getPyInterpreter());
      if (!Ref::make(mode, &ref)) return nullptr;
      state->modes.push_back(std::move(ref));
    }
    state->functorch = functorch_is_active();
  } catch (const std::exception& e) {
    PyErr_Format(PyExc_RuntimeError, "alternator: cannot read PyTorch's global state: %s", e.what());
    return nullptr;
  }
  return state;
}

static bool layers_match(const GlobalState& state) { return functorch_is_active() == state.functorch; }

static bool modes_match(const GlobalState& state) {
  for (size_t i = 0; i < state.modes.size(); ++i)
    if (at::impl::PythonTorchFunctionTLS::get_stack_at(static_cast<int64_t>(i))->ptr(getPyInterpreter()) !=
        state.modes[i].get())
      return false;
  return true;
}

bool global_state_matches(const GlobalState& state) noexcept {
  try {
    const uint64_t* want = state.settings.data();
    return each_setting([&](const char*, auto value) { return static_cast<uint64_t>(value) == *want++; }) &&
           modes_match(state) && layers_match(state);
  } catch (...) {
    PyErr_Clear();
    return false;
  }
}

bool global_state_dead(const GlobalState& state) noexcept {
  for (const Ref& mode : state.modes)
    if (mode.dead()) return true;
  return false;
}

template <typename T>
static std::string setting_text(T, uint64_t value) {
  if constexpr (std::is_same_v<T, bool>) return value ? "True" : "False";
  else if constexpr (std::is_same_v<T, uint64_t>) return text_of(c10::DispatchKeySet(c10::DispatchKeySet::RAW, value));
  else if constexpr (std::is_same_v<T, at::ScalarType>) return c10::toString(static_cast<at::ScalarType>(value));
  else return std::to_string(value);
}

std::string global_state_mismatch(const GlobalState& state) {
  try {
    std::string text;
    const uint64_t* want = state.settings.data();
    each_setting([&](const char* name, auto value) {
      uint64_t expected = *want++;
      if (static_cast<uint64_t>(value) == expected) return true;
      text = std::string(name) + ": expected " + setting_text(value, expected) + ", found " +
             setting_text(value, static_cast<uint64_t>(value));
      return false;
    });
    if (text.empty() && !modes_match(state)) text = "other torch function modes are active";
    if (text.empty() && !layers_match(state)) text = "other functorch transforms are active";
    return text;
  } catch (const std::exception& e) {
    PyErr_Clear();
    return std::string("global state could not be read: ") + e.what();
  }
}

int visit_global_state(const GlobalState& state, visitproc visit, void* arg) {
  for (const Ref& mode : state.modes)
    if (int stop = mode.visit(visit, arg)) return stop;
  return 0;
}

}  // namespace alt
