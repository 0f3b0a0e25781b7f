// multiply_adds: the instruction set's int8 products from registers alone, nothing loaded: the limit that a matmul of
// quantised weights is set against. Twelve independent chains hide the latency.
#pragma once

#include "backends/cpu/kernels/packed_codes.inl"

namespace unicorn::cpu {
namespace {

// Returns how many multiply-adds were done: about 4 · kLanes · 12 · rounds.
std::uint64_t multiply_adds(std::uint64_t rounds) {
  constexpr int kChains = 12;
  V::I acc[kChains];
  UNICORN_UNROLL for (int i = 0; i < kChains; ++i) acc[i] = V::set1(i);
  V::I u = V::set1(0x01020304), s = V::set1(0x04030201);
  for (std::uint64_t r = 0; r < rounds; ++r) {
    UNICORN_UNROLL for (int i = 0; i < kChains; ++i) {
      // The compiler may neither hoist the product out of the loop nor merge the chains.
      if constexpr (V::kHasDot) {
        acc[i] = V::dot(acc[i], u, s);
      } else {
        V::keep(u);
        acc[i] = V::add_pairs(acc[i], V::mul_pairs(u, s));
      }
      V::keep(acc[i]);
    }
  }
  UNICORN_UNROLL for (int i = 1; i < kChains; ++i) acc[0] = V::add(acc[0], acc[i]);
  V::keep(acc[0]);
  return rounds * kChains * 4 * V::kLanes;
}

}  // namespace
}  // namespace unicorn::cpu
