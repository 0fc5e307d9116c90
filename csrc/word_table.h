// Machine words that are to be what they were.
#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

namespace alt {

// Words come by levels: one is looked at only after those of all levels before it have been found unchanged. Segments come one after
// the other: what is done between two of them is the caller's business.
class WordTable {
 public:
  // While it is made: each word once, at the lowest of the levels that it is added with, unless an earlier segment has it.
  void add(const void* at, uint64_t expected, unsigned level);
  void end_segment();
  void finish();  // no words follow

  bool unchanged(size_t segment) const;

  size_t size() const { return words_.size(); }

 private:
  struct Word {
    const uint64_t* at;
    uint64_t expected;
  };
  std::vector<Word> words_;
  std::vector<size_t> segments_;  // where each begins, and where the last one ends
  // While it is made:
  std::vector<std::pair<unsigned, Word>> made_;    // of this segment: with its level
  std::unordered_map<const void*, size_t> where_;  // in made_; kDone: in an earlier segment
};

}  // namespace alt
