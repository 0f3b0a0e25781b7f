// For tests and the bench: rows of any dtype with every code, sub-scale and sign in use, and scales near 1 / (codes'
// range), so that sums neither overflow nor vanish. Not what an encoder would write: harder.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "plan/weight_ref.h"
#include "quant/blocks.h"

namespace unicorn::cpu {

class RandomBits {  // splitmix64 (Steele, Lea, Flood 2014)
 public:
  explicit RandomBits(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  }
  float uniform(float low, float high) { return low + (high - low) * (static_cast<float>(next() >> 40) * 0x1p-24f); }
  float normal() {  // near enough: a sum of twelve uniforms
    float sum = -6.0f;
    for (int i = 0; i < 12; ++i) sum += uniform(0.0f, 1.0f);
    return sum;
  }

 private:
  std::uint64_t state_;
};

struct RandomWeights {
  std::vector<std::byte> bytes;
  std::size_t row_bytes = 0;
  DType dtype{};
  std::size_t n = 0, k = 0;

  const std::byte* row(std::size_t i) const { return bytes.data() + i * row_bytes; }
  // Looks at this object's bytes.
  WeightRef ref() const {
    WeightRef w;
    w.name = std::string("random ") + std::string(dtype_name(dtype));
    w.n = n;
    w.k = k;
    w.as = dtype;
    w.parts = {TensorView{dtype, Shape{n, k}, bytes.data(), row_bytes}};
    w.owner = std::shared_ptr<const void>(&bytes, [](const void*) {});
    return w;
  }
};

inline RandomWeights random_weights(DType dtype, std::size_t n, std::size_t k, std::uint64_t seed) {
  RandomWeights w;
  w.dtype = dtype;
  w.n = n;
  w.k = k;
  w.row_bytes = row_bytes(dtype, k);
  w.bytes.resize(n * w.row_bytes);
  RandomBits random(seed);
  for (std::size_t i = 0; i < w.bytes.size(); i += 8) {
    const std::uint64_t bits = random.next();
    std::memcpy(w.bytes.data() + i, &bits, std::min<std::size_t>(8, w.bytes.size() - i));
  }
  const auto scale = [&](float low, float high) {
    const float s = random.uniform(low, high);
    return f32_to_f16(random.next() % 2 == 0 ? s : -s);
  };
  const auto each_block = [&]<class Block>(const Block*, auto&& fix) {
    for (std::size_t i = 0; i + sizeof(Block) <= w.bytes.size(); i += sizeof(Block)) {
      Block block;
      std::memcpy(&block, w.bytes.data() + i, sizeof block);
      fix(block);
      std::memcpy(w.bytes.data() + i, &block, sizeof block);
    }
  };
  const auto fix_d = [&](float high) { return [&, high](auto& b) { b.d = scale(high / 8, high); }; };
  switch (dtype) {
    case DType::f32:
      for (std::size_t i = 0; i < w.bytes.size(); i += 4) {
        const float v = random.uniform(-1, 1);
        std::memcpy(w.bytes.data() + i, &v, 4);
      }
      break;
    case DType::f16:
    case DType::bf16:
      for (std::size_t i = 0; i < w.bytes.size(); i += 2) {
        const float v = random.uniform(-1, 1);
        const std::uint16_t h = dtype == DType::f16 ? f32_to_f16(v) : f32_to_bf16(v);
        std::memcpy(w.bytes.data() + i, &h, 2);
      }
      break;
    case DType::q4_0:
      each_block(static_cast<const BlockQ4_0*>(nullptr), fix_d(0.1f));
      break;
    case DType::q5_0:
      each_block(static_cast<const BlockQ5_0*>(nullptr), fix_d(0.05f));
      break;
    case DType::q8_0:
      each_block(static_cast<const BlockQ8_0*>(nullptr), fix_d(0.01f));
      break;
    case DType::iq4_nl:
      each_block(static_cast<const BlockIq4Nl*>(nullptr), fix_d(0.01f));
      break;
    case DType::q4_1:
      each_block(static_cast<const BlockQ4_1*>(nullptr),
                 [&](auto& b) { b.d = scale(0.01f, 0.1f), b.m = scale(0.1f, 1); });
      break;
    case DType::q5_1:
      each_block(static_cast<const BlockQ5_1*>(nullptr),
                 [&](auto& b) { b.d = scale(0.01f, 0.05f), b.m = scale(0.1f, 1); });
      break;
    case DType::mxfp4:
      each_block(static_cast<const BlockMxfp4*>(nullptr),
                 [&](auto& b) { b.e = static_cast<std::uint8_t>(121 + random.next() % 6); });
      break;
    case DType::q2_k:
      each_block(static_cast<const BlockQ2K*>(nullptr),
                 [&](auto& b) { b.d = scale(0.01f, 0.05f), b.dmin = scale(0.01f, 0.05f); });
      break;
    case DType::q3_k:
      each_block(static_cast<const BlockQ3K*>(nullptr), fix_d(0.01f));
      break;
    case DType::q4_k:
      each_block(static_cast<const BlockQ4K*>(nullptr),
                 [&](auto& b) { b.d = scale(0.0002f, 0.002f), b.dmin = scale(0.002f, 0.02f); });
      break;
    case DType::q5_k:
      each_block(static_cast<const BlockQ5K*>(nullptr),
                 [&](auto& b) { b.d = scale(0.0001f, 0.001f), b.dmin = scale(0.002f, 0.02f); });
      break;
    case DType::q6_k:
      each_block(static_cast<const BlockQ6K*>(nullptr), fix_d(0.0005f));
      break;
    case DType::iq4_xs:
      each_block(static_cast<const BlockIq4Xs*>(nullptr), fix_d(0.0005f));
      break;
  }
  return w;
}

// What is added to scale · code for weight `i` of the row (q4_1, q5_1, q2_k, q4_k, q5_k), else 0. For error bounds.
inline float weight_min(DType dtype, const std::byte* row, std::size_t i) {
  switch (dtype) {
    case DType::q4_1:
      return f16_to_f32(load_block<BlockQ4_1>(row, i / 32).m);
    case DType::q5_1:
      return f16_to_f32(load_block<BlockQ5_1>(row, i / 32).m);
    case DType::q2_k: {
      const auto b = load_block<BlockQ2K>(row, i / 256);
      return -f16_to_f32(b.dmin) * static_cast<float>(b.scales[i % 256 / 16] >> 4);
    }
    case DType::q4_k: {
      const auto b = load_block<BlockQ4K>(row, i / 256);
      const std::size_t sub_block = i % 256 / 32;
      return -f16_to_f32(b.dmin) * static_cast<float>(unpack_scale_min(b.scales, sub_block).min);
    }
    case DType::q5_k: {
      const auto b = load_block<BlockQ5K>(row, i / 256);
      const std::size_t sub_block = i % 256 / 32;
      return -f16_to_f32(b.dmin) * static_cast<float>(unpack_scale_min(b.scales, sub_block).min);
    }
    default:
      return 0.0f;
  }
}

}  // namespace unicorn::cpu
