// laurel_merge, one row of d: attn = active + rms(o, post_attn); lau = x + rms(laurel, post_laurel);
// out = (attn + lau)/√2; normed = rms(out, ffn_norm). `out` may be any of the four inputs.
#pragma once

namespace unicorn::cpu::UNICORN_CPU_ISA {
namespace {

void laurel_merge(const LaurelMergeArgs& a) {
  const std::size_t d = a.d;
  const Vec scale_o = set1(inverse_rms(sum_squares(a.o, d), d, a.eps));
  const Vec scale_l = set1(inverse_rms(sum_squares(a.laurel, d), d, a.eps));
  const Vec half_root = set1(0.70710678118654752f);
  const LaurelMergeArgs b = a;
  const float squares = sum_lanes(d, [=](Vec acc, std::size_t i, auto t) {
    const Vec attn = fma(load(b.o + i, t) * scale_o, load(b.post_attn + i, t), load(b.active + i, t));
    const Vec lau = fma(load(b.laurel + i, t) * scale_l, load(b.post_laurel + i, t), load(b.x + i, t));
    const Vec v = (attn + lau) * half_root;
    store(b.out + i, v, t);
    return fma(v, v, acc);
  });
  scale_row(a.out, inverse_rms(squares, d, a.eps), a.ffn_norm, a.normed, d);
}

}  // namespace
}  // namespace unicorn::cpu::UNICORN_CPU_ISA
