// What a matrix product is set against, with this instruction set:
//   multiply_adds  int8 products from registers alone, nothing loaded. Independent chains hide the latency.
//   read_bytes     memory read in one ascending run, prefetched as far ahead as the matvec does.
#pragma once

#include "backends/cpu/kernels/packed_codes.inl"

namespace unicorn::cpu {
namespace {

// Returns how many multiply-adds were done: 48 or 192 · kLanes a round.
std::uint64_t multiply_adds(std::uint64_t rounds) {
  constexpr int kChains = V::kHasDot ? 12 : 6, kPerChain = V::kHasDot ? 1 : 8;
  V::I acc[kChains];
  UNICORN_UNROLL for (int i = 0; i < kChains; ++i) acc[i] = V::set1(i);
  V::I u = V::set1(0x01020304), s = V::set1(0x04030201);
  for (std::uint64_t r = 0; r < rounds; ++r) {
    UNICORN_UNROLL for (int i = 0; i < kChains; ++i) {
      // The compiler may neither hoist the product out of the loop nor merge the chains.
      if constexpr (V::kHasDot) {
        acc[i] = V::dot(acc[i], u, s);
      } else {
        // As 4-bit codes allow: eight byte products summed in 16 bits, widened once.
        V::I sum = V::mul_pairs(u, s);
        UNICORN_UNROLL for (int j = 1; j < kPerChain; ++j) {
          V::keep(u);
          sum = V::add16(sum, V::mul_pairs(u, s));
        }
        V::keep(u);
        acc[i] = V::add_pairs(acc[i], sum);
      }
      V::keep(acc[i]);
    }
  }
  UNICORN_UNROLL for (int i = 1; i < kChains; ++i) acc[0] = V::add(acc[0], acc[i]);
  V::keep(acc[0]);
  return rounds * kChains * kPerChain * 4 * V::kLanes;
}

// Reads whole lines of [p, p + n); returns something that depends on them all.
std::uint64_t read_bytes(const std::uint8_t* p, std::size_t n) {
  constexpr std::size_t kVector = 4 * V::kLanes, kStep = 4 * kVector, kAhead = 4096;
  V::I x[4] = {V::zero(), V::zero(), V::zero(), V::zero()};
  for (std::size_t i = 0; i + kStep <= n; i += kStep) {
    for (std::size_t line = 0; line < kStep; line += 64) V::prefetch(p + i + kAhead + line);
    UNICORN_UNROLL for (std::size_t j = 0; j < 4; ++j) x[j] = V::xor_(x[j], V::load(p + i + j * kVector));
  }
  alignas(64) std::uint8_t bytes[kVector];
  V::store(bytes, V::xor_(V::xor_(x[0], x[1]), V::xor_(x[2], x[3])));
  std::uint64_t first;
  __builtin_memcpy(&first, bytes, 8);
  return first;
}

}  // namespace
}  // namespace unicorn::cpu
