#include "word_table.h"

#include <algorithm>
#include <functional>

namespace alt {

static constexpr size_t kDone = SIZE_MAX;

void WordTable::add(const void* at, uint64_t expected, unsigned level) {
  auto [found, fresh] = where_.emplace(at, made_.size());
  if (fresh) made_.push_back({level, {static_cast<const uint64_t*>(at), expected}});
  else if (found->second != kDone) made_[found->second].first = std::min(made_[found->second].first, level);
}

// Within a level in the order in which they lie in memory.
void WordTable::end_segment() {
  std::sort(made_.begin(), made_.end(), [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first < b.first : std::less<>()(a.second.at, b.second.at);
  });
  if (segments_.empty()) segments_.push_back(0);
  for (const auto& [level, word] : made_) {
    words_.push_back(word);
    where_[word.at] = kDone;
  }
  segments_.push_back(words_.size());
  made_.clear();
}

void WordTable::finish() {
  decltype(made_)().swap(made_);
  decltype(where_)().swap(where_);
  words_.shrink_to_fit();
}

bool WordTable::unchanged(size_t segment) const {
  const Word *word = words_.data() + segments_[segment], *end = words_.data() + segments_[segment + 1];
#pragma GCC unroll 8
  for (; word != end; ++word)
    if (*word->at != word->expected) return false;
  return true;
}

}  // namespace alt
