#include "shape_program.h"

#include <cmath>
#include <cstring>

namespace alt {

enum class ShapeProgram::Op : uint8_t {
  in, constant,
  add, sub, mul, floordiv, mod, pow, truediv, min, max, shl, shr, bitand_, bitor_, bitxor,
  eq, ne, lt, le, gt, ge, and_, or_,
  neg, abs, not_, invert, to_float, trunc, floor, ceil, sqrt, is_integer,
  select,
};

struct ShapeProgram::Name {
  const char* name;
  Op op;
  int pops;
};

const ShapeProgram::Name ShapeProgram::kNames[] = {
    {"+", Op::add, 2}, {"-", Op::sub, 2}, {"*", Op::mul, 2}, {"//", Op::floordiv, 2}, {"%", Op::mod, 2},
    {"**", Op::pow, 2}, {"/", Op::truediv, 2}, {"min", Op::min, 2}, {"max", Op::max, 2}, {"<<", Op::shl, 2},
    {">>", Op::shr, 2}, {"&", Op::bitand_, 2}, {"|", Op::bitor_, 2}, {"^", Op::bitxor, 2}, {"==", Op::eq, 2},
    {"!=", Op::ne, 2}, {"<", Op::lt, 2}, {"<=", Op::le, 2}, {">", Op::gt, 2}, {">=", Op::ge, 2},
    {"and", Op::and_, 2}, {"or", Op::or_, 2}, {"neg", Op::neg, 1}, {"abs", Op::abs, 1}, {"not", Op::not_, 1},
    {"~", Op::invert, 1}, {"float", Op::to_float, 1}, {"trunc", Op::trunc, 1}, {"floor", Op::floor, 1},
    {"ceil", Op::ceil, 1}, {"sqrt", Op::sqrt, 1}, {"is_integer", Op::is_integer, 1},
    {"select", Op::select, 3},  // condition, if true, if false
};

bool number_of(PyObject* obj, bool want_float, Number* out) noexcept {
  if (want_float) {
    if (!PyFloat_CheckExact(obj)) return false;
    *out = {true, 0, PyFloat_AS_DOUBLE(obj)};
    return true;
  }
  if (!PyLong_CheckExact(obj) && !PyBool_Check(obj)) return false;
  int overflow = 0;
  long long value = PyLong_AsLongLongAndOverflow(obj, &overflow);
  if (overflow) return false;
  *out = {false, value, 0};
  return true;
}

bool ShapeProgram::parse(PyObject* program, size_t inputs) {
  Own items = Own::steal(PySequence_Fast(program, "SHAPE guard: the program must be a sequence"));
  if (!items) return false;
  size_t height = 0;
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(items.get()); ++i) {
    PyObject* item = PySequence_Fast_GET_ITEM(items.get(), i);
    Step step{};
    size_t pops = 0;
    if (PyTuple_Check(item) && PyTuple_GET_SIZE(item) == 2 && PyUnicode_Check(PyTuple_GET_ITEM(item, 0))) {
      PyObject* value = PyTuple_GET_ITEM(item, 1);
      if (PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(item, 0), "in") == 0) {
        size_t k = PyLong_AsSize_t(value);
        if (k == static_cast<size_t>(-1) && PyErr_Occurred()) return false;
        if (k >= inputs) {
          PyErr_Format(PyExc_ValueError, "SHAPE guard: there is no input %zu", k);
          return false;
        }
        step.op = Op::in;
        step.input = static_cast<uint32_t>(k);
      } else if (PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(item, 0), "const") == 0) {
        step.op = Op::constant;
        if (!number_of(value, PyFloat_CheckExact(value), &step.constant)) {
          PyErr_Format(PyExc_ValueError, "SHAPE guard: %R is no constant of 64 bits", value);
          return false;
        }
      } else {
        PyErr_Format(PyExc_ValueError, "SHAPE guard: unknown item %R", item);
        return false;
      }
    } else {
      const char* text = PyUnicode_Check(item) ? PyUnicode_AsUTF8(item) : nullptr;
      const Name* found = nullptr;
      for (const Name& name : kNames)
        if (text && std::strcmp(name.name, text) == 0) found = &name;
      if (!found) {
        PyErr_Format(PyExc_ValueError, "SHAPE guard: unknown item %R", item);
        return false;
      }
      step.op = found->op;
      pops = static_cast<size_t>(found->pops);
    }
    if (height < pops) {
      PyErr_SetString(PyExc_ValueError, "SHAPE guard: the program takes more values than it has");
      return false;
    }
    height = height - pops + 1;
    if (height > depth_) depth_ = height;
    steps_.push_back(step);
  }
  if (height != 1) {
    PyErr_SetString(PyExc_ValueError, "SHAPE guard: the program must leave one value");
    return false;
  }
  return true;
}

namespace {

bool as_double(const Number& n, double* out) {
  if (n.is_float) {
    *out = n.f;
    return true;
  }
  *out = static_cast<double>(n.i);
  return n.i >= -(int64_t{1} << 53) && n.i <= (int64_t{1} << 53);
}

Number of_int(int64_t i) { return {false, i, 0}; }
Number of_bool(bool b) { return {false, b ? 1 : 0, 0}; }
Number of_float(double f) { return {true, 0, f}; }
bool truth(const Number& n) { return n.is_float ? n.f != 0 : n.i != 0; }

bool int_floordiv(int64_t a, int64_t b, int64_t* out) {
  if (b == 0 || (a == INT64_MIN && b == -1)) return false;
  int64_t q = a / b;
  if (a % b != 0 && ((a < 0) != (b < 0))) --q;
  *out = q;
  return true;
}

bool int_mod(int64_t a, int64_t b, int64_t* out) {
  if (b == 0) return false;
  if (b == -1) {
    *out = 0;
    return true;
  }
  int64_t r = a % b;
  if (r != 0 && ((r < 0) != (b < 0))) r += b;
  *out = r;
  return true;
}

bool int_pow(int64_t base, int64_t exponent, int64_t* out) {
  if (exponent < 0) return false;
  int64_t result = 1;
  while (true) {
    if ((exponent & 1) && __builtin_mul_overflow(result, base, &result)) return false;
    exponent >>= 1;
    if (exponent == 0) break;
    if (__builtin_mul_overflow(base, base, &base)) return false;
  }
  *out = result;
  return true;
}

bool to_int(double f, int64_t* out) {
  if (!(f >= -9223372036854775808.0 && f < 9223372036854775808.0)) return false;
  *out = static_cast<int64_t>(f);
  return true;
}

double float_mod(double a, double b) {
  double r = std::fmod(a, b);
  return r != 0 && ((r < 0) != (b < 0)) ? r + b : r;
}

}  // namespace

bool ShapeProgram::holds(const Number* inputs, Number* stack) const noexcept {
  Number* top = stack - 1;
  for (const Step& step : steps_) {
    if (step.op == Op::in) {
      *++top = inputs[step.input];
      continue;
    }
    if (step.op == Op::constant) {
      *++top = step.constant;
      continue;
    }
    if (step.op == Op::select) {
      Number picked = truth(top[-2]) ? top[-1] : top[0];
      top -= 2;
      *top = picked;
      continue;
    }
    if (step.op >= Op::neg) {  // one operand
      Number a = *top;
      int64_t i = 0;
      switch (step.op) {
        case Op::neg:
          if (!a.is_float && __builtin_sub_overflow(int64_t{0}, a.i, &i)) return false;
          *top = a.is_float ? of_float(-a.f) : of_int(i);
          break;
        case Op::abs:
          if (!a.is_float && a.i == INT64_MIN) return false;
          *top = a.is_float ? of_float(std::fabs(a.f)) : of_int(a.i < 0 ? -a.i : a.i);
          break;
        case Op::not_: *top = of_bool(!truth(a)); break;
        case Op::invert:
          if (a.is_float) return false;
          *top = of_int(~a.i);
          break;
        case Op::to_float: {
          double f;
          if (!as_double(a, &f)) return false;
          *top = of_float(f);
          break;
        }
        case Op::trunc:
        case Op::floor:
        case Op::ceil: {
          if (!a.is_float) break;
          double f = step.op == Op::trunc ? std::trunc(a.f) : step.op == Op::floor ? std::floor(a.f) : std::ceil(a.f);
          if (!to_int(f, &i)) return false;
          *top = of_int(i);
          break;
        }
        case Op::sqrt: {
          double f;
          if (!as_double(a, &f) || f < 0) return false;
          *top = of_float(std::sqrt(f));
          break;
        }
        case Op::is_integer: *top = of_bool(!a.is_float || (std::isfinite(a.f) && std::floor(a.f) == a.f)); break;
        default: return false;
      }
      continue;
    }
    Number a = top[-1], b = top[0];
    --top;
    if (step.op == Op::and_ || step.op == Op::or_) {
      *top = of_bool(step.op == Op::and_ ? truth(a) && truth(b) : truth(a) || truth(b));
      continue;
    }
    if (a.is_float || b.is_float || step.op == Op::truediv) {
      double x, y;
      if (!as_double(a, &x) || !as_double(b, &y)) return false;
      switch (step.op) {
        case Op::add: *top = of_float(x + y); break;
        case Op::sub: *top = of_float(x - y); break;
        case Op::mul: *top = of_float(x * y); break;
        case Op::truediv:
          if (y == 0) return false;
          *top = of_float(x / y);
          break;
        case Op::floordiv:
          if (y == 0) return false;
          *top = of_float(std::floor((x - float_mod(x, y)) / y + 0.5));
          break;
        case Op::mod:
          if (y == 0) return false;
          *top = of_float(float_mod(x, y));
          break;
        case Op::pow: {
          double p = std::pow(x, y);
          if (!std::isfinite(p)) return false;
          *top = of_float(p);
          break;
        }
        case Op::min: *top = y < x ? b : a; break;
        case Op::max: *top = y > x ? b : a; break;
        case Op::eq: *top = of_bool(x == y); break;
        case Op::ne: *top = of_bool(x != y); break;
        case Op::lt: *top = of_bool(x < y); break;
        case Op::le: *top = of_bool(x <= y); break;
        case Op::gt: *top = of_bool(x > y); break;
        case Op::ge: *top = of_bool(x >= y); break;
        default: return false;
      }
      continue;
    }
    int64_t x = a.i, y = b.i, r = 0;
    switch (step.op) {
      case Op::add:
        if (__builtin_add_overflow(x, y, &r)) return false;
        break;
      case Op::sub:
        if (__builtin_sub_overflow(x, y, &r)) return false;
        break;
      case Op::mul:
        if (__builtin_mul_overflow(x, y, &r)) return false;
        break;
      case Op::floordiv:
        if (!int_floordiv(x, y, &r)) return false;
        break;
      case Op::mod:
        if (!int_mod(x, y, &r)) return false;
        break;
      case Op::pow:
        if (!int_pow(x, y, &r)) return false;
        break;
      case Op::min: r = y < x ? y : x; break;
      case Op::max: r = y > x ? y : x; break;
      case Op::shl:
        if (y < 0 || y > 62 || __builtin_mul_overflow(x, int64_t{1} << y, &r)) return false;
        break;
      case Op::shr:
        if (y < 0) return false;
        r = x >> (y > 63 ? 63 : y);
        break;
      case Op::bitand_: r = x & y; break;
      case Op::bitor_: r = x | y; break;
      case Op::bitxor: r = x ^ y; break;
      case Op::eq: r = x == y; break;
      case Op::ne: r = x != y; break;
      case Op::lt: r = x < y; break;
      case Op::le: r = x <= y; break;
      case Op::gt: r = x > y; break;
      case Op::ge: r = x >= y; break;
      default: return false;
    }
    *top = of_int(r);
  }
  return truth(*top);
}

}  // namespace alt
