// geglu: out = gelu(gate) ∘ up, n values; out may be either input.
// softcap: x = cap · tanh(x / cap).
#pragma once

namespace unicorn::cpu::UNICORN_CPU_ISA {
namespace {

void geglu(const float* gate, const float* up, float* out, std::size_t n) {
  for_lanes(n, [=](std::size_t i, auto t) { store(out + i, gelu(load(gate + i, t)) * load(up + i, t), t); });
}

void softcap(float* x, std::size_t n, float cap) {
  const Vec c = set1(cap), inverse = set1(1.0f / cap);
  for_lanes(n, [=](std::size_t i, auto t) { store(x + i, tanh(load(x + i, t) * inverse) * c, t); });
}

}  // namespace
}  // namespace unicorn::cpu::UNICORN_CPU_ISA
