// One walk over a guard tree: from the roots down, with what the walk before has left behind.
#pragma once

#include "guard_tree.h"

namespace alt {

enum class Result : uint8_t { fail, cold, hot };

// One walk over a tree. `native`: guards and accesses that run Python are taken as they were found by the walk before.
class Walk {
 public:
  // `values`: of all nodes that the tail asks for, where the state does not have them; `asked`: the nodes whose values this
  // walk is to find, in order; see GuardScan. What is walked like this is another object at each call.
  Walk(GuardTree& tree, TreeState& state, const Call& call, bool native, Why* why, PyObject* const* values = nullptr,
       const std::vector<uint32_t>* asked = nullptr)
      : tree_(tree), state_(state), call_(call), why_(why), values_(values), asked_(asked), native_(native) {}

  bool run();
  bool loose(uint32_t id, PyObject* parent);  // one subtree, as it is now
  bool tail(size_t i);
  bool ran_python() const { return ran_python_; }  // a guard did that usually runs none

 private:
  Result verify(uint32_t id, PyObject* value, bool same);
  Result verify_items(uint32_t id, PyObject* dict);
  Result verify_attrs(uint32_t id, PyTypeObject* type);
  Result follow(uint32_t id, PyObject* parent, bool same);
  Result missing(uint32_t id);
  Result empty_dict(uint32_t id);
  bool reads_inline(uint32_t id) const;
  Result inline_dict(uint32_t id, PyObject* parent);
  Result instance_dict(uint32_t id, PyObject* parent);
  Result item(uint32_t id, PyObject* dict);
  bool root(uint32_t id);
  bool distinct(const TailGuard& guard, std::vector<PyObject*>& seen);
  bool unshared(const TailGuard& guard);
  bool shape(const TailGuard& guard);
  bool quiet(const TailGuard& guard);
  bool unregistered(TailGuard& guard);
  bool whole_dict_guards(uint32_t id, PyObject* dict, bool only_odict_order);

  PyObject* value_of(uint32_t id) const { return values_ ? values_[id] : state_.nodes[id].value; }

  template <typename Text>
  Result fail(uint32_t id, int position, Text&& text) {
    if (why_) {
      why_->node = static_cast<int>(id);
      why_->position = position;
      why_->text = tree_.path(id, call_.func) + ": " + text();
    }
    return Result::fail;
  }
  Result fail(uint32_t id, const char* text) {
    return fail(id, 0, [&] { return std::string(text); });
  }
  Result fail_guard(uint32_t id, const Guard& guard, PyObject* value) {
    if ((guard.kind == Kind::is || guard.kind == Kind::type || guard.kind == Kind::waits) && guard.ref.dead()) tree_.dead_ = true;
    return fail(id, guard.position, [&] { return guard_mismatch(guard, value); });
  }

  GuardTree& tree_;
  TreeState& state_;
  const Call& call_;
  Why* why_;
  PyObject* const* values_;
  const std::vector<uint32_t>* asked_;
  bool native_;
  bool ran_python_ = false;
};

}  // namespace alt
