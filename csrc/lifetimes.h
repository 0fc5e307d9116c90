// Whether a program can tell when an object dies: see alternator/provenance/ends.py.
#pragma once

#include "util.h"

#include <cstddef>
#include <cstdint>

namespace alt {

// Where a value is found whose end is in question.
enum class HeldBy : uint8_t { itself, attribute, global, cls, cell };
bool parse_held_by(PyObject* text, HeldBy* out);

// What the holder has there under the name; null: nothing. No error is set, no Python code runs.
Own held_there(HeldBy how, PyObject* holder, PyObject* name);

// In doubt it can. `apart`: what the value may hold as well, but is looked at by itself. A value that holds more than `most`
// others is not looked through. No Python code runs.
bool is_observed(PyObject* value, PyObject* const* apart, size_t count, size_t most);

bool init_lifetimes(PyObject* module);

}  // namespace alt
