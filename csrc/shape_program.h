// Conditions on sizes and numbers, compiled from postfix form and run without touching Python.
#pragma once

#include "util.h"

#include <cstdint>
#include <string>
#include <vector>

namespace alt {

struct Number {
  bool is_float = false;
  int64_t i = 0;
  double f = 0;
};

// Integers are exact: an overflow, a division by zero or an int that a double cannot hold makes the program fail, and a
// guard that fails is never wrong.
class ShapeProgram {
 public:
  // `program`: a sequence of ("in", k), ("const", number) and operator names (see the table in the .cpp file).
  bool parse(PyObject* program, size_t inputs);  // false with an exception set
  bool holds(const Number* inputs, Number* stack) const noexcept;
  size_t depth() const { return depth_; }

 private:
  enum class Op : uint8_t;
  struct Step {
    Op op;
    uint32_t input = 0;
    Number constant;
  };
  struct Name;
  static const Name kNames[];
  std::vector<Step> steps_;
  size_t depth_ = 0;
};

// An exact int or float object as a number.
bool number_of(PyObject* obj, bool want_float, Number* out) noexcept;

}  // namespace alt
