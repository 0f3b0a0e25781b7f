#include "backends/cpu/packed_matrix.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "backends/cpu/file_codes.h"
#include "backends/cpu/packed_format.h"
#include "core/mapped_file.h"
#include "quant/block.h"

namespace unicorn::cpu {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;

// Calls f.template operator()<D>() for the quantised dtype.
template <class F>
decltype(auto) with_quantised(DType dtype, F&& f) {
  switch (dtype) {
    case DType::q4_0: return f.template operator()<DType::q4_0>();
    case DType::q4_1: return f.template operator()<DType::q4_1>();
    case DType::q5_0: return f.template operator()<DType::q5_0>();
    case DType::q5_1: return f.template operator()<DType::q5_1>();
    case DType::q8_0: return f.template operator()<DType::q8_0>();
    case DType::q2_k: return f.template operator()<DType::q2_k>();
    case DType::q3_k: return f.template operator()<DType::q3_k>();
    case DType::q4_k: return f.template operator()<DType::q4_k>();
    case DType::q5_k: return f.template operator()<DType::q5_k>();
    case DType::q6_k: return f.template operator()<DType::q6_k>();
    case DType::iq4_nl: return f.template operator()<DType::iq4_nl>();
    case DType::iq4_xs: return f.template operator()<DType::iq4_xs>();
    case DType::mxfp4: return f.template operator()<DType::mxfp4>();
    case DType::f32:
    case DType::f16:
    case DType::bf16: break;
  }
  UNICORN_CHECK_MSG(false, dtype_name(dtype));
  std::abort();
}

void store_u32(std::uint8_t* p, std::uint32_t v) { std::memcpy(p, &v, 4); }
void store_u16(std::uint8_t* p, std::uint16_t v) { std::memcpy(p, &v, 2); }
std::uint16_t load_u16(const void* p) {
  std::uint16_t v;
  std::memcpy(&v, p, 2);
  return v;
}

// ---- Bit planes. `c` holds the 32 codes of the row's block, `out` is the row's first dword in the plane.

void write_byte_plane(const std::uint8_t* c, std::uint8_t* out) {
  for (std::size_t g = 0; g < 8; ++g) store_u32(out + 64 * g, load_u32(c + 4 * g));
}
void write_nibble_plane(const std::uint8_t* c, std::uint8_t* out) {
  for (std::size_t j = 0; j < 4; ++j)
    store_u32(out + 64 * j, (load_u32(c + 4 * j) & 0x0f0f0f0fu) | (load_u32(c + 16 + 4 * j) & 0x0f0f0f0fu) << 4);
}
void write_pair_plane(const std::uint8_t* c, int shift, std::uint8_t* out) {
  for (std::size_t j = 0; j < 2; ++j) {
    std::uint32_t v = 0;
    for (std::size_t p = 0; p < 4; ++p) v |= (load_u32(c + 4 * j + 8 * p) >> shift & 0x03030303u) << (2 * p);
    store_u32(out + 64 * j, v);
  }
}
void write_bit_plane(const std::uint8_t* c, int shift, std::uint8_t* out) {
  std::uint32_t v = 0;
  for (std::size_t g = 0; g < 8; ++g) v |= (load_u32(c + 4 * g) >> shift & 0x01010101u) << g;
  store_u32(out, v);
}

void write_codes(Codes kind, const std::uint8_t* c, std::uint8_t* out) {
  switch (kind) {
    case Codes::byte: write_byte_plane(c, out); break;
    case Codes::nibble: write_nibble_plane(c, out); break;
    case Codes::nibble_bit:
      write_nibble_plane(c, out);
      write_bit_plane(c, 4, out + 256);
      break;
    case Codes::nibble_pair:
      write_nibble_plane(c, out);
      write_pair_plane(c, 4, out + 256);
      break;
    case Codes::pair: write_pair_plane(c, 0, out); break;
    case Codes::pair_bit:
      write_pair_plane(c, 0, out);
      write_bit_plane(c, 2, out + 128);
      break;
  }
}

// The way back: 32 codes of one row.
void read_codes(Codes kind, const std::uint8_t* in, std::uint8_t* c) {
  for (std::size_t k = 0; k < 32; ++k) {
    const std::size_t g = k / 4, b = k % 4;
    const auto nibble = [&] { return in[64 * (g & 3) + b] >> (g < 4 ? 0 : 4) & 15; };
    const auto pair = [&](const std::uint8_t* plane) { return plane[64 * (g & 1) + b] >> (2 * (g >> 1)) & 3; };
    const auto bit = [&](const std::uint8_t* plane) { return plane[b] >> g & 1; };
    int code = 0;
    switch (kind) {
      case Codes::byte: code = in[64 * g + b]; break;
      case Codes::nibble: code = nibble(); break;
      case Codes::nibble_bit: code = nibble() | bit(in + 256) << 4; break;
      case Codes::nibble_pair: code = nibble() | pair(in + 256) << 4; break;
      case Codes::pair: code = pair(in); break;
      case Codes::pair_bit: code = pair(in) | bit(in + 128) << 2; break;
    }
    c[k] = static_cast<std::uint8_t>(code);
  }
}

// ---- One panel.

// Scales of the row's file block into the unit's head; `block` is the block's place in the unit (32-wide types).
void write_scales(Scales kind, const FileBlock& fb, std::size_t block, std::size_t r, std::uint8_t* unit) {
  switch (kind) {
    case Scales::f16: store_u16(unit + 32 * block + 2 * r, fb.d); break;
    case Scales::e8m0: unit[16 * block + r] = static_cast<std::uint8_t>(fb.d); break;
    case Scales::f16_min:
      store_u16(unit + 2 * r, fb.d);
      store_u16(unit + 32 + 2 * r, fb.m);
      break;
    case Scales::sub32:
    case Scales::sub16:
      store_u16(unit + 2 * r, fb.d);
      for (std::size_t s = 0; s < (kind == Scales::sub32 ? 8u : 16u); ++s) unit[64 + 16 * s + r] = fb.scale[s];
      break;
    case Scales::sub32_min:
      store_u16(unit + 2 * r, fb.d);
      store_u16(unit + 32 + 2 * r, fb.m);
      for (std::size_t s = 0; s < 8; ++s) {
        unit[64 + 16 * s + r] = fb.scale[s];
        unit[192 + 16 * s + r] = fb.min[s];
      }
      break;
    case Scales::sub16_min:
      store_u16(unit + 2 * r, fb.d);
      store_u16(unit + 32 + 2 * r, fb.m);
      for (std::size_t s = 0; s < 16; ++s) unit[64 + 16 * s + r] = fb.scale[s];
      break;
  }
}

template <DType D>
void pack_quantised(const std::byte* const* rows, std::size_t n_rows, std::size_t k, std::uint8_t* panel) {
  constexpr PackedFormat f = packed_format(D);
  constexpr std::size_t kFileBlock = file_block(D);
  FileBlock fb;
  for (std::size_t i = 0; i < k / kFileBlock; ++i) {
    const std::size_t first = i * (kFileBlock / 32);  // in blocks of 32
    std::uint8_t* unit = panel + first / f.blocks * unit_bytes(f);
    for (std::size_t r = 0; r < n_rows; ++r) {
      read_file_block<D>(rows[r], i, fb);
      write_scales(f.scales, fb, first % f.blocks, r, unit);
      std::uint8_t* codes = unit + f.scale_bytes + first % f.blocks * f.code_bytes + 4 * r;
      for (std::size_t b = 0; b < kFileBlock / 32; ++b)
        write_codes(f.codes, fb.codes + 32 * b, codes + b * f.code_bytes);
    }
  }
}

void pack_f32(const std::byte* const* rows, std::size_t n_rows, std::size_t n_dwords, std::uint8_t* panel) {
  for (std::size_t i = 0; i < n_dwords; ++i)
    for (std::size_t r = 0; r < n_rows; ++r) store_u32(panel + 64 * i + 4 * r, load_u32(rows[r] + 4 * i));
}

void pack_panel(DType dtype, const std::byte* const* rows, std::size_t n_rows, std::size_t k, std::uint8_t* panel) {
  switch (dtype) {
    case DType::f32: pack_f32(rows, n_rows, k, panel); break;
    case DType::bf16:
      pack_f32(rows, n_rows, k / 2, panel);
      if (k % 2 != 0)
        for (std::size_t r = 0; r < n_rows; ++r)
          store_u32(panel + 64 * (k / 2) + 4 * r, load_u16(rows[r] + 2 * (k - 1)));
      break;
    case DType::f16:
      for (std::size_t i = 0; i < k; ++i)
        for (std::size_t r = 0; r < n_rows; ++r) store_u16(panel + 32 * i + 2 * r, load_u16(rows[r] + 2 * i));
      break;
    default: with_quantised(dtype, [&]<DType D>() { pack_quantised<D>(rows, n_rows, k, panel); });
  }
}

// ---- One row back.

template <DType D>
void decode_quantised(const std::uint8_t* panel, std::size_t r, std::size_t k, float* out) {
  constexpr PackedFormat f = packed_format(D);
  for (std::size_t b = 0; b < k / 32; ++b, out += 32) {
    const std::uint8_t* unit = panel + b / f.blocks * unit_bytes(f);
    const std::size_t in_unit = b % f.blocks;
    std::uint8_t codes[32];
    read_codes(f.codes, unit + f.scale_bytes + in_unit * f.code_bytes + 4 * r, codes);

    // The products are exact (11 + 8 bits and 11 + 6 bits), so each weight is rounded once as in the file's formula.
    float scale[2], min[2] = {0.0f, 0.0f};
    const float d = f16_to_f32(load_u16(unit + 2 * r));
    const float m = f16_to_f32(load_u16(unit + 32 + 2 * r));
    if constexpr (f.scales == Scales::f16) {
      scale[0] = scale[1] = f16_to_f32(load_u16(unit + 32 * in_unit + 2 * r));
    } else if constexpr (f.scales == Scales::e8m0) {
      scale[0] = scale[1] = mxfp4_scale(unit[16 * in_unit + r]);
    } else if constexpr (f.scales == Scales::f16_min) {
      scale[0] = scale[1] = d;
      min[0] = min[1] = m;
    } else if constexpr (f.scales == Scales::sub32) {
      scale[0] = scale[1] = d * static_cast<float>(static_cast<std::int8_t>(unit[64 + 16 * in_unit + r]));
    } else if constexpr (f.scales == Scales::sub32_min) {
      scale[0] = scale[1] = d * static_cast<float>(unit[64 + 16 * in_unit + r]);
      min[0] = min[1] = -(m * static_cast<float>(unit[192 + 16 * in_unit + r]));
    } else if constexpr (f.scales == Scales::sub16) {
      for (std::size_t h = 0; h < 2; ++h)
        scale[h] = d * static_cast<float>(static_cast<std::int8_t>(unit[64 + 32 * in_unit + 16 * h + r]));
    } else {
      for (std::size_t h = 0; h < 2; ++h) {
        const std::uint8_t s = unit[64 + 32 * in_unit + 16 * h + r];
        scale[h] = d * static_cast<float>(s & 15);
        min[h] = -(m * static_cast<float>(s >> 4));
      }
    }
    for (std::size_t i = 0; i < 32; ++i) {
      int q = codes[i];
      if constexpr (D == DType::iq4_nl || D == DType::iq4_xs)
        q = kIq4Values[q];
      else if constexpr (D == DType::mxfp4)
        q = kMxfp4Values[q];
      else
        q -= f.zero;
      out[i] = scale[i / 16] * static_cast<float>(q);
      if constexpr (f.scales == Scales::f16_min || f.scales == Scales::sub32_min || f.scales == Scales::sub16_min)
        out[i] += min[i / 16];
    }
  }
}

// ---- Source rows and their pages.

// Is the range inside one mapping of a file? Parts of a weight may also be a converter's heap memory, whose pages
// must not be let go: they would come back as zeros.
bool is_file_mapping(std::span<const std::byte> range) {
  std::ifstream maps("/proc/self/maps");
  std::string line;
  const auto begin = reinterpret_cast<std::uintptr_t>(range.data());
  while (std::getline(maps, line)) {
    unsigned long low = 0, high = 0, inode = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx %*s %*s %*s %lu", &low, &high, &inode) != 3) continue;
    if (begin >= low && begin < high) return inode != 0 && begin + range.size() <= high && line.find(" r--") != std::string::npos;
  }
  return false;
}

std::span<const std::byte> part_bytes(const TensorView& view, std::size_t first, std::size_t last) {
  if (first >= last) return {};
  const std::byte* begin = view.row(first);
  return {begin, view.row(last - 1) + row_bytes(view.dtype, view.shape.k())};
}

class SourcePages {
 public:
  explicit SourcePages(const WeightRef& weight) : weight_(weight) {
    for (const TensorView& view : weight.parts) {
      const auto bytes = part_bytes(view, 0, view.shape.n_rows());
      droppable_.push_back(weight.owner == nullptr && bytes.size() >= (std::size_t{64} << 10) && is_file_mapping(bytes));
    }
  }

  // Rows [first, last) of the weight will not be read again.
  void drop(std::size_t first, std::size_t last) const {
    std::size_t begin = 0;  // of the part, in the weight's rows
    for (std::size_t p = 0; p < weight_.parts.size(); ++p) {
      const TensorView& view = weight_.parts[p];
      const std::size_t rows = view.shape.n_rows();
      const std::size_t offset = weight_.stack == WeightRef::Stack::rows ? begin : 0;
      const std::size_t from = std::clamp(first, offset, offset + rows) - offset;
      const std::size_t to = std::clamp(last, offset, offset + rows) - offset;
      if (droppable_[p]) advise(part_bytes(view, from, to), Advice::drop);
      begin += rows;
    }
  }

 private:
  const WeightRef& weight_;
  std::vector<bool> droppable_;
};

}  // namespace

void PackedMatrix::Unmap::operator()(std::uint8_t* p) const {
  if (p != nullptr) ::munmap(p, n_bytes);
}

bool PackedMatrix::offers(Layout layout, DType) { return layout == Layout::panels; }

Result<PackedMatrix> PackedMatrix::pack(const WeightRef& weight, ThreadPool& pool, const Progress& progress,
                                        Layout layout) {
  const std::size_t block = dtype_info(weight.as).block;
  if (weight.n == 0 || weight.k == 0 || weight.k % block != 0)
    return Error{ErrorCode::invalid_argument,
                 fmt::format("{}: [{}, {}] cannot be packed as {}, whose blocks have {} weights", weight.name, weight.n,
                             weight.k, dtype_name(weight.as), block)};
  if (!offers(layout, weight.as))
    return Error{ErrorCode::invalid_argument,
                 fmt::format("{}: this layout is not offered for {}", weight.name, dtype_name(weight.as))};

  PackedMatrix matrix;
  const std::size_t n_panels = (weight.n + kPanelRows - 1) / kPanelRows;
  matrix.view_ = {nullptr, weight.n, weight.k, panel_bytes(weight.as, weight.k), weight.as, layout};
  const std::size_t stride = matrix.view_.stride;
  matrix.n_bytes_ = n_panels * stride;

  // Huge pages: a matvec touches every page once per token, and a walk of the page table per 4 KiB is felt. The
  // mapping is over-sized by one huge page, cut to a huge-page boundary and returned exactly as long as needed.
  const std::size_t page = 4096;
  const std::size_t length = (matrix.n_bytes_ + page - 1) / page * page;
  const std::size_t slack = length >= kHugePage ? kHugePage : 0;
  void* base = ::mmap(nullptr, length + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED)
    return Error{ErrorCode::out_of_memory, fmt::format("{}: no memory for {} bytes", weight.name, length)};
  auto* data = static_cast<std::uint8_t*>(base);
  if (slack > 0) {
    const std::size_t head = (kHugePage - reinterpret_cast<std::uintptr_t>(data) % kHugePage) % kHugePage;
    if (head > 0) ::munmap(data, head);
    data += head;
    if (slack > head) ::munmap(data + length, slack - head);
    static_cast<void>(::madvise(data, length, MADV_HUGEPAGE));
  }
  matrix.data_ = {data, Unmap{length}};
  matrix.view_.data = data;

  const SourcePages pages(weight);
  const std::size_t source_row_bytes = weight.row_bytes_as();
  std::atomic<std::size_t> consumed{0};
  std::atomic<bool> cancelled{false};
  pool.run([&](std::size_t member) {
    const Slice slice = slice_of(n_panels, 1, member, pool.size());
    std::vector<std::byte> copies;  // rows that do not lie ready in the file
    std::array<const std::byte*, kPanelRows> rows{};
    std::size_t dropped = slice.begin * kPanelRows;
    for (std::size_t p = slice.begin; p < slice.end && !cancelled.load(std::memory_order_relaxed); ++p) {
      const std::size_t first = p * kPanelRows;
      const std::size_t n_rows = std::min(kPanelRows, weight.n - first);
      for (std::size_t r = 0; r < n_rows; ++r) {
        rows[r] = weight.row_in_place(first + r);
        if (rows[r] != nullptr) continue;
        copies.resize(kPanelRows * source_row_bytes);
        std::byte* copy = copies.data() + r * source_row_bytes;
        weight.read_row(first + r, copy);
        rows[r] = copy;
      }
      pack_panel(weight.as, rows.data(), n_rows, weight.k, data + p * stride);

      const std::size_t last = first + n_rows;
      if ((last - dropped) * source_row_bytes >= kHugePage || p + 1 == slice.end) {
        pages.drop(dropped, last);
        consumed.fetch_add((last - dropped) * source_row_bytes, std::memory_order_relaxed);
        dropped = last;
        // One caller at a time: member 0 reports for all.
        if (member == 0 && progress && !progress(consumed.exchange(0))) cancelled.store(true);
      }
    }
  });
  if (progress && !cancelled.load()) {
    const std::size_t rest = consumed.exchange(0);
    if (rest > 0 && !progress(rest)) cancelled.store(true);
  }
  if (cancelled.load()) return Error{ErrorCode::cancelled, weight.name + ": packing was cancelled"};
  return matrix;
}

void PackedMatrix::decode_row(std::size_t i, float* out) const {
  UNICORN_DCHECK(i < n());
  const std::uint8_t* panel = view_.data + i / kPanelRows * view_.stride;
  const std::size_t r = i % kPanelRows, n_k = k();
  switch (dtype()) {
    case DType::f32:
      for (std::size_t kk = 0; kk < n_k; ++kk) std::memcpy(out + kk, panel + 64 * kk + 4 * r, 4);
      break;
    case DType::f16:
      for (std::size_t kk = 0; kk < n_k; ++kk) out[kk] = f16_to_f32(load_u16(panel + 32 * kk + 2 * r));
      break;
    case DType::bf16:
      for (std::size_t kk = 0; kk < n_k; ++kk)
        out[kk] = bf16_to_f32(load_u16(panel + 64 * (kk / 2) + 4 * r + 2 * (kk % 2)));
      break;
    default: with_quantised(dtype(), [&]<DType D>() { decode_quantised<D>(panel, r, n_k, out); });
  }
}

}  // namespace unicorn::cpu
