#include "backends/cpu/packed_matrix.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <new>
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
    case DType::q4_0:
      return f.template operator()<DType::q4_0>();
    case DType::q4_1:
      return f.template operator()<DType::q4_1>();
    case DType::q5_0:
      return f.template operator()<DType::q5_0>();
    case DType::q5_1:
      return f.template operator()<DType::q5_1>();
    case DType::q8_0:
      return f.template operator()<DType::q8_0>();
    case DType::q2_k:
      return f.template operator()<DType::q2_k>();
    case DType::q3_k:
      return f.template operator()<DType::q3_k>();
    case DType::q4_k:
      return f.template operator()<DType::q4_k>();
    case DType::q5_k:
      return f.template operator()<DType::q5_k>();
    case DType::q6_k:
      return f.template operator()<DType::q6_k>();
    case DType::iq4_nl:
      return f.template operator()<DType::iq4_nl>();
    case DType::iq4_xs:
      return f.template operator()<DType::iq4_xs>();
    case DType::mxfp4:
      return f.template operator()<DType::mxfp4>();
    case DType::f32:
    case DType::f16:
    case DType::bf16:
      break;
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
    case Codes::byte:
      write_byte_plane(c, out);
      break;
    case Codes::nibble:
      write_nibble_plane(c, out);
      break;
    case Codes::nibble_bit:
      write_nibble_plane(c, out);
      write_bit_plane(c, 4, out + 256);
      break;
    case Codes::nibble_pair:
      write_nibble_plane(c, out);
      write_pair_plane(c, 4, out + 256);
      break;
    case Codes::pair:
      write_pair_plane(c, 0, out);
      break;
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
      case Codes::byte:
        code = in[64 * g + b];
        break;
      case Codes::nibble:
        code = nibble();
        break;
      case Codes::nibble_bit:
        code = nibble() | bit(in + 256) << 4;
        break;
      case Codes::nibble_pair:
        code = nibble() | pair(in + 256) << 4;
        break;
      case Codes::pair:
        code = pair(in);
        break;
      case Codes::pair_bit:
        code = pair(in) | bit(in + 128) << 2;
        break;
    }
    c[k] = static_cast<std::uint8_t>(code);
  }
}

// ---- One panel.

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

void pack_panel(DType dtype, const std::byte* const* rows, std::size_t n_rows, std::size_t k, std::uint8_t* panel) {
  switch (dtype) {
    case DType::f32:
      pack_floats<DType::f32>(rows, n_rows, 0, k, panel);
      break;
    case DType::f16:
      pack_floats<DType::f16>(rows, n_rows, 0, k, panel);
      break;
    case DType::bf16:
      pack_floats<DType::bf16>(rows, n_rows, 0, k, panel);
      break;
    default:
      with_quantised(dtype, [&]<DType D>() { pack_quantised<D>(rows, n_rows, k, panel); });
  }
}

// ---- Layout::columns, in chunks of kChunk outputs: a cache line of nibbles.

constexpr std::size_t kColumnChunk = 128;

// One k of a chunk: `codes` are a byte per output, 64 of which make whole pieces of every plane.
void write_column_codes(Codes kind, const std::uint8_t* codes, std::size_t n, std::size_t n_padded,
                        std::uint8_t* column) {
  const std::size_t count = std::min(kColumnChunk, n_padded - n);
  const auto nibble = [&] {
    for (std::size_t c = 0; c < count; c += 32)
      for (std::size_t i = 0; i < 16; ++i)
        column[(n + c) / 2 + i] = static_cast<std::uint8_t>((codes[c + i] & 15) | (codes[c + 16 + i] & 15) << 4);
  };
  const auto pair = [&](std::uint8_t* plane, int shift) {
    for (std::size_t c = 0; c < count; c += 64)
      for (std::size_t i = 0; i < 16; ++i) {
        int v = 0;
        for (std::size_t p = 0; p < 4; ++p) v |= (codes[c + 16 * p + i] >> shift & 3) << (2 * p);
        plane[(n + c) / 4 + i] = static_cast<std::uint8_t>(v);
      }
  };
  const auto bit = [&](std::uint8_t* plane, int shift) {
    for (std::size_t c = 0; c < count; c += 8) {
      int v = 0;
      for (std::size_t i = 0; i < 8; ++i) v |= (codes[c + i] >> shift & 1) << i;
      plane[(n + c) / 8] = static_cast<std::uint8_t>(v);
    }
  };
  switch (kind) {
    case Codes::byte:
      std::memcpy(column + n, codes, count);
      break;
    case Codes::nibble:
      nibble();
      break;
    case Codes::nibble_bit:
      nibble(), bit(column + n_padded / 2, 4);
      break;
    case Codes::nibble_pair:
      nibble(), pair(column + n_padded / 2, 4);
      break;
    case Codes::pair:
      pair(column, 0);
      break;
    case Codes::pair_bit:
      pair(column, 0), bit(column + n_padded / 4, 2);
      break;
  }
}

// Outputs [n, n + n_rows) into all file blocks. n is a multiple of kColumnChunk.
template <DType D>
void pack_columns(const std::byte* const* rows, std::size_t n_rows, std::size_t n, const PackedView& w,
                  std::uint8_t* data) {
  constexpr ColumnFormat c = column_format(D);
  constexpr Codes kCodes = packed_format(D).codes;
  const std::size_t n_padded = column_padded(w.n), code_bytes = column_code_bytes(D, w.n);
  std::array<std::uint8_t, 256 * kColumnChunk> codes{};  // [k][output]; outputs beyond n stay 0
  FileBlock fb;
  for (std::size_t i = 0; i < w.k / c.k; ++i, data += w.stride) {
    std::uint8_t* sub = data + c.wide_bytes * n_padded + n;
    for (std::size_t r = 0; r < n_rows; ++r) {
      read_file_block<D>(rows[r], i, fb);
      if constexpr (c.wide_bytes == 1) {
        data[n + r] = static_cast<std::uint8_t>(fb.d);
      } else {
        store_u16(data + 2 * (n + r), fb.d);
        if constexpr (c.wide_bytes == 4) store_u16(data + 2 * n_padded + 2 * (n + r), fb.m);
      }
      for (std::size_t s = 0; s < c.sub_scales; ++s) sub[s * n_padded + r] = fb.scale[s];
      for (std::size_t s = 0; s < c.sub_mins; ++s) sub[(c.sub_scales + s) * n_padded + r] = fb.min[s];
      for (std::size_t k = 0; k < c.k; ++k) codes[k * kColumnChunk + r] = fb.codes[k];
    }
    std::uint8_t* column = data + column_scale_bytes(D, w.n);
    for (std::size_t k = 0; k < c.k; ++k, column += code_bytes)
      write_column_codes(kCodes, codes.data() + k * kColumnChunk, n, n_padded, column);
  }
}

template <class Element>
void pack_float_columns(const std::byte* const* rows, std::size_t n_rows, std::size_t n, const PackedView& w,
                        std::uint8_t* data) {
  for (std::size_t k = 0; k < w.k; ++k) {
    std::uint8_t* column = data + k * column_padded(w.n) * sizeof(Element) + n * sizeof(Element);
    for (std::size_t r = 0; r < n_rows; ++r)
      std::memcpy(column + r * sizeof(Element), rows[r] + k * sizeof(Element), sizeof(Element));
  }
}

void pack_column_chunk(const std::byte* const* rows, std::size_t n_rows, std::size_t n, const PackedView& w,
                       std::uint8_t* data) {
  switch (w.dtype) {
    case DType::f32:
      pack_float_columns<std::uint32_t>(rows, n_rows, n, w, data);
      break;
    case DType::f16:
    case DType::bf16:
      pack_float_columns<std::uint16_t>(rows, n_rows, n, w, data);
      break;
    default:
      with_quantised(w.dtype, [&]<DType D>() { pack_columns<D>(rows, n_rows, n, w, data); });
  }
}

// ---- One row back.

// What a block of 32 codes decodes with. The products are exact (11 + 8 bits and 11 + 6 bits), so each weight is rounded
// once, as in the file's formula.
struct RowScales {
  float scale[2], min[2] = {0.0f, 0.0f};
};

template <DType D>
RowScales row_scales(const std::uint8_t* d, const std::uint8_t* m, const std::uint8_t* sub, std::size_t sub_stride,
                     const std::uint8_t* sub_min) {
  constexpr Scales kScales = packed_format(D).scales;
  RowScales s;
  if constexpr (kScales == Scales::e8m0) {
    s.scale[0] = s.scale[1] = mxfp4_scale(*d);
    return s;
  }
  const float scale = f16_to_f32(load_u16(d));
  s.scale[0] = s.scale[1] = scale;
  if constexpr (kScales == Scales::f16_min) {
    s.min[0] = s.min[1] = f16_to_f32(load_u16(m));
  } else if constexpr (kScales == Scales::sub32) {
    s.scale[0] = s.scale[1] = scale * static_cast<float>(static_cast<std::int8_t>(*sub));
  } else if constexpr (kScales == Scales::sub32_min) {
    s.scale[0] = s.scale[1] = scale * static_cast<float>(*sub);
    s.min[0] = s.min[1] = -(f16_to_f32(load_u16(m)) * static_cast<float>(*sub_min));
  } else if constexpr (kScales == Scales::sub16 || kScales == Scales::sub16_min) {
    for (std::size_t h = 0; h < 2; ++h) {
      const std::uint8_t byte = sub[h * sub_stride];
      if constexpr (kScales == Scales::sub16) {
        s.scale[h] = scale * static_cast<float>(static_cast<std::int8_t>(byte));
      } else {
        s.scale[h] = scale * static_cast<float>(byte & 15);
        s.min[h] = -(f16_to_f32(load_u16(m)) * static_cast<float>(byte >> 4));
      }
    }
  }
  return s;
}

template <DType D>
void decode_codes(const std::uint8_t* codes, const RowScales& s, float* out) {
  constexpr PackedFormat f = packed_format(D);
  for (std::size_t i = 0; i < 32; ++i) {
    int q = codes[i];
    if constexpr (D == DType::iq4_nl || D == DType::iq4_xs)
      q = kIq4Values[q];
    else if constexpr (D == DType::mxfp4)
      q = kMxfp4Values[q];
    else
      q -= f.zero;
    out[i] = s.scale[i / 16] * static_cast<float>(q);
    if constexpr (f.scales == Scales::f16_min || f.scales == Scales::sub32_min || f.scales == Scales::sub16_min)
      out[i] += s.min[i / 16];
  }
}

template <DType D>
void decode_panel_row(const std::uint8_t* panel, std::size_t r, std::size_t k, float* out) {
  constexpr PackedFormat f = packed_format(D);
  constexpr std::size_t kHalves = f.scales == Scales::sub16 || f.scales == Scales::sub16_min ? 2 : 1;
  constexpr std::size_t kWide = f.scales == Scales::f16 ? 32 : f.scales == Scales::e8m0 ? 16 : 0;  // per block
  constexpr std::size_t kElement = f.scales == Scales::e8m0 ? 1 : 2;
  for (std::size_t b = 0; b < k / 32; ++b, out += 32) {
    const std::uint8_t* unit = panel + b / f.blocks * unit_bytes(f);
    const std::size_t in_unit = b % f.blocks;
    std::uint8_t codes[32];
    read_codes(f.codes, unit + f.scale_bytes + in_unit * f.code_bytes + 4 * r, codes);
    decode_codes<D>(codes,
                    row_scales<D>(unit + kWide * in_unit + kElement * r, unit + 32 + 2 * r,
                                  unit + 64 + 16 * kHalves * in_unit + r, 16, unit + 192 + 16 * in_unit + r),
                    out);
  }
}

template <DType D>
void decode_column_row(const PackedView& w, std::size_t r, float* out) {
  constexpr ColumnFormat c = column_format(D);
  constexpr Codes kCodes = packed_format(D).codes;
  constexpr std::size_t kHalves = c.sub_scales == 16 ? 2 : 1;
  const std::size_t n_padded = column_padded(w.n), code_bytes = column_code_bytes(D, w.n);
  for (std::size_t b = 0; b < w.k / 32; ++b, out += 32) {
    const std::size_t in_block = b % (c.k / 32);
    const std::uint8_t* data = w.data + b / (c.k / 32) * w.stride;
    const std::uint8_t* sub = data + c.wide_bytes * n_padded + r;
    const std::uint8_t* column = data + column_scale_bytes(D, w.n) + 32 * in_block * code_bytes;
    std::uint8_t codes[32];
    for (std::size_t k = 0; k < 32; ++k, column += code_bytes) {
      const auto nibble = [&] { return column[r / 32 * 16 + r % 16] >> (r % 32 < 16 ? 0 : 4) & 15; };
      const auto pair = [&](const std::uint8_t* plane) {
        return plane[r / 64 * 16 + r % 16] >> (2 * (r / 16 % 4)) & 3;
      };
      const auto bit = [&](const std::uint8_t* plane) { return plane[r / 8] >> (r % 8) & 1; };
      int code = 0;
      switch (kCodes) {
        case Codes::byte:
          code = column[r];
          break;
        case Codes::nibble:
          code = nibble();
          break;
        case Codes::nibble_bit:
          code = nibble() | bit(column + n_padded / 2) << 4;
          break;
        case Codes::nibble_pair:
          code = nibble() | pair(column + n_padded / 2) << 4;
          break;
        case Codes::pair:
          code = pair(column);
          break;
        case Codes::pair_bit:
          code = pair(column) | bit(column + n_padded / 4) << 2;
          break;
      }
      codes[k] = static_cast<std::uint8_t>(code);
    }
    decode_codes<D>(
        codes,
        row_scales<D>(data + (c.wide_bytes == 1 ? 1 : 2) * r, data + 2 * n_padded + 2 * r,
                      sub + kHalves * in_block * n_padded, n_padded, sub + (c.sub_scales + in_block) * n_padded),
        out);
  }
}

// ---- Source rows and their pages.

class SourcePages {
 public:
  explicit SourcePages(const WeightRef& weight) : weight_(weight) {
    for (const TensorView& view : weight.parts) {
      const auto bytes = view.rows(0, view.shape.n_rows());
      droppable_.push_back(weight.owner == nullptr && bytes.size() >= (std::size_t{64} << 10) &&
                           is_file_mapping(bytes));
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
      if (droppable_[p]) advise(view.rows(from, to), Advice::drop);
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

std::size_t PackedMatrix::packed_bytes(const WeightRef& weight, Layout layout) {
  switch (layout) {
    case Layout::panels:
      return (weight.n + kPanelRows - 1) / kPanelRows * panel_bytes(weight.as, weight.k);
    case Layout::columns: {
      const std::size_t block_k = column_format(weight.as).k;
      return (weight.k + block_k - 1) / block_k * column_block_bytes(weight.as, weight.n);
    }
    case Layout::rows:
      return weight.n_bytes();
  }
  UNICORN_CHECK(false);
  return 0;
}

Result<PackedMatrix> PackedMatrix::pack(const WeightRef& weight, ThreadPool& pool, const Progress& progress,
                                        Layout layout) {
  const std::size_t block = dtype_info(weight.as).block;
  if (weight.n == 0 || weight.k == 0 || weight.k % block != 0)
    return Error{ErrorCode::invalid_argument,
                 fmt::format("{}: [{}, {}] cannot be packed as {}, whose blocks have {} weights", weight.name, weight.n,
                             weight.k, dtype_name(weight.as), block)};

  PackedMatrix matrix;
  // The threads share out pieces of `piece` rows: a panel, a chunk of columns, a row.
  const std::size_t piece = layout == Layout::panels ? kPanelRows : layout == Layout::columns ? kColumnChunk : 1;
  const std::size_t n_pieces = (weight.n + piece - 1) / piece;
  const std::size_t source_row_bytes = weight.row_bytes_as();
  const std::size_t stride = layout == Layout::panels    ? panel_bytes(weight.as, weight.k)
                             : layout == Layout::columns ? column_block_bytes(weight.as, weight.n)
                                                         : source_row_bytes;
  matrix.n_bytes_ = packed_bytes(weight, layout);
  matrix.view_ = {nullptr, weight.n, weight.k, stride, weight.as, layout};

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
  std::atomic<std::size_t> consumed{0};
  std::atomic<bool> cancelled{false}, out_of_memory{false};
  const auto pack_slice = [&](std::size_t member) {
    const Slice slice = slice_of(n_pieces, 1, member, pool.size());
    std::vector<std::byte> copies;  // rows that do not lie ready in the file
    std::vector<const std::byte*> rows(piece);
    std::size_t dropped = slice.begin * piece;
    for (std::size_t p = slice.begin; p < slice.end && !cancelled.load(std::memory_order_relaxed); ++p) {
      const std::size_t first = p * piece;
      const std::size_t n_rows = std::min(piece, weight.n - first);
      if (layout == Layout::rows) {
        weight.read_row(first, reinterpret_cast<std::byte*>(data + first * stride));
      } else {
        for (std::size_t r = 0; r < n_rows; ++r) {
          rows[r] = weight.row_in_place(first + r);
          if (rows[r] != nullptr) continue;
          copies.resize(piece * source_row_bytes);
          std::byte* copy = copies.data() + r * source_row_bytes;
          weight.read_row(first + r, copy);
          rows[r] = copy;
        }
        if (layout == Layout::panels)
          pack_panel(weight.as, rows.data(), n_rows, weight.k, data + p * stride);
        else
          pack_column_chunk(rows.data(), n_rows, first, matrix.view_, data);
      }

      const std::size_t last = first + n_rows;
      if ((last - dropped) * source_row_bytes >= kHugePage || p + 1 == slice.end) {
        pages.drop(dropped, last);
        consumed.fetch_add((last - dropped) * source_row_bytes, std::memory_order_relaxed);
        dropped = last;
        // One caller at a time: member 0 reports for all.
        if (member == 0 && progress && !progress(consumed.exchange(0))) cancelled.store(true);
      }
    }
  };
  pool.run([&](std::size_t member) {
    try {
      pack_slice(member);
    } catch (const std::bad_alloc&) {  // rows that are converted need some memory; no thread may throw
      out_of_memory.store(true);
    }
  });
  if (out_of_memory.load())
    return Error{ErrorCode::out_of_memory, fmt::format("{}: no memory to convert it", weight.name)};
  if (progress && !cancelled.load()) {
    const std::size_t rest = consumed.exchange(0);
    if (rest > 0 && !progress(rest)) cancelled.store(true);
  }
  if (cancelled.load()) return Error{ErrorCode::cancelled, weight.name + ": packing was cancelled"};
  return matrix;
}

void PackedMatrix::decode_row(std::size_t i, float* out) const {
  UNICORN_DCHECK(i < n());
  if (layout() == Layout::rows) {
    unicorn::decode_row(dtype(), reinterpret_cast<const std::byte*>(view_.data + i * view_.stride), out, k());
    return;
  }
  const bool panels = layout() == Layout::panels;
  const std::size_t r = i % kPanelRows;
  const std::uint8_t* panel = view_.data + i / kPanelRows * view_.stride;
  if (is_quantised(dtype())) {
    with_quantised(dtype(), [&]<DType D>() {
      if (panels)
        decode_panel_row<D>(panel, r, k(), out);
      else
        decode_column_row<D>(view_, i, out);
    });
    return;
  }
  const std::size_t size = dtype() == DType::f32 ? 4 : 2;
  for (std::size_t kk = 0; kk < k(); ++kk) {
    const std::uint8_t* at = !panels                  ? view_.data + (kk * column_padded(n()) + i) * size
                             : dtype() == DType::bf16 ? panel + 64 * (kk / 2) + 4 * r + 2 * (kk % 2)
                                                      : panel + (kPanelRows * kk + r) * size;
    if (dtype() == DType::f32)
      std::memcpy(out + kk, at, 4);
    else
      out[kk] = dtype() == DType::f16 ? f16_to_f32(load_u16(at)) : bf16_to_f32(load_u16(at));
  }
}

}  // namespace unicorn::cpu
