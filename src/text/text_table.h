// TextTable: the texts of a vocabulary by id, in one block of memory, with an index from text to id.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "core/token_id.h"

namespace unicorn {

namespace text_table_internal {

inline std::uint64_t read64(const char* p) noexcept {
  std::uint64_t v;
  std::memcpy(&v, p, 8);
  return v;
}
inline std::uint32_t read32(const char* p) noexcept {
  std::uint32_t v;
  std::memcpy(&v, p, 4);
  return v;
}

}  // namespace text_table_internal

// Not for hostile keys: whoever chooses both the table and the queries can make it slow.
inline std::uint64_t hash_text(std::string_view text) noexcept {
  using namespace text_table_internal;
  constexpr std::uint64_t kMul = 0x9E3779B97F4A7C15u;
  const auto mix = [](std::uint64_t h, std::uint64_t word) {
    h = (h ^ word) * kMul;
    return h ^ (h >> 32);
  };
  const char* p = text.data();
  const std::size_t n = text.size();
  std::uint64_t h = n * kMul;
  if (n >= 8) {
    for (std::size_t i = 0; i + 8 < n; i += 8) h = mix(h, read64(p + i));
    h = mix(h, read64(p + n - 8));
  } else if (n >= 4) {
    h = mix(h, read32(p) | std::uint64_t{read32(p + n - 4)} << 32);
  } else if (n > 0) {
    const auto byte = [&](std::size_t i) { return std::uint64_t{static_cast<unsigned char>(p[i])}; };
    h = mix(h, byte(0) | byte(n / 2) << 8 | byte(n - 1) << 16);
  }
  h *= kMul;
  return h ^ (h >> 29);
}

// a == b without a call: pieces are short.
inline bool equal_text(std::string_view a, std::string_view b) noexcept {
  using namespace text_table_internal;
  const std::size_t n = a.size();
  if (n != b.size()) return false;
  if (n > 16) return a == b;
  const char *p = a.data(), *q = b.data();
  if (n >= 8) return read64(p) == read64(q) && read64(p + n - 8) == read64(q + n - 8);
  if (n >= 4) return read32(p) == read32(q) && read32(p + n - 4) == read32(q + n - 4);
  return n == 0 || (p[0] == q[0] && p[n / 2] == q[n / 2] && p[n - 1] == q[n - 1]);
}

class TextTable {
 public:
  static constexpr std::size_t kMaxBytes = std::size_t{1} << 30;  // of all texts together: offsets are 32-bit

  // Precondition: the texts fit in kMaxBytes.
  void reserve(std::size_t n_texts, std::size_t n_bytes) {
    offsets_.reserve(n_texts + 1);
    arena_.reserve(n_bytes);
    std::size_t n_slots = 16;
    while (n_slots < 2 * n_texts) n_slots *= 2;
    slots_.assign(n_slots, Slot{});
  }

  // The next id gets `text`; find() sees it only once index() was called.
  void push_back(std::string_view text) {
    arena_.append(text);
    offsets_.push_back(static_cast<std::uint32_t>(arena_.size()));
  }

  // False when an earlier id has the same text and keeps it. Precondition: at most as many calls as reserved texts.
  bool index(TokenId id) {
    const std::string_view text = (*this)[id];
    const std::uint64_t hash = hash_text(text);
    for (std::size_t i = hash & (slots_.size() - 1);; i = (i + 1) & (slots_.size() - 1)) {
      if (slots_[i].id < 0) {
        slots_[i] = {tag(hash), id};
        return true;
      }
      if (slots_[i].tag == tag(hash) && equal_text((*this)[slots_[i].id], text)) return false;
    }
  }

  std::size_t size() const { return offsets_.size() - 1; }
  std::string_view operator[](TokenId id) const {
    const std::uint32_t begin = offsets_[static_cast<std::size_t>(id)];
    return {arena_.data() + begin, offsets_[static_cast<std::size_t>(id) + 1] - begin};
  }

  void prefetch(std::uint64_t hash) const { __builtin_prefetch(&slots_[hash & (slots_.size() - 1)]); }
  TokenId find(std::string_view text) const { return find(text, hash_text(text)); }  // -1: no such text
  TokenId find(std::string_view text, std::uint64_t hash) const {
    for (std::size_t i = hash & (slots_.size() - 1);; i = (i + 1) & (slots_.size() - 1)) {
      if (slots_[i].id < 0) return -1;
      if (slots_[i].tag == tag(hash) && equal_text((*this)[slots_[i].id], text)) return slots_[i].id;
    }
  }

 private:
  struct Slot {
    std::uint32_t tag = 0;
    TokenId id = -1;
  };
  static std::uint32_t tag(std::uint64_t hash) { return static_cast<std::uint32_t>(hash >> 32); }

  std::string arena_;
  std::vector<std::uint32_t> offsets_{0};
  std::vector<Slot> slots_{Slot{}};
};

}  // namespace unicorn
