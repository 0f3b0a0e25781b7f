#include "backends/cpu/cpu_backend.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>

#include "backends/cpu/dispatch.h"
#include "backends/cpu/host_buffer.h"
#include "backends/cpu/program.h"
#include "backends/cpu/weight.h"
#include "plan/work.h"

namespace unicorn {
namespace cpu {
namespace {

// For estimates, until they are measured: what one core of a ten-year-old desktop reaches.
constexpr double kReadBytesPerSecond = 10e9;            // all members together
constexpr double kMultiplyAddsPerSecondAndMember = 20e9;

std::string cpu_model() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("model name"))
      if (const std::size_t colon = line.find(": "); colon != std::string::npos) return line.substr(colon + 2);
  return "CPU";
}

std::size_t physical_memory() {
  const long pages = ::sysconf(_SC_PHYS_PAGES), page = ::sysconf(_SC_PAGESIZE);
  return pages > 0 && page > 0 ? static_cast<std::size_t>(pages) * static_cast<std::size_t>(page) : 0;
}

class CpuBackend final : public Backend {
 public:
  CpuBackend(const KernelTable& kernels, std::size_t n_threads) : kernels_(kernels), pool_(n_threads) {
    info_.id = "cpu";
    info_.description =
        fmt::format("{}, {} thread{}, {}", cpu_model(), n_threads, n_threads == 1 ? "" : "s", kernels.name);
    info_.memory_bytes = physical_memory();
  }

  const DeviceInfo& info() const override { return info_; }

  std::vector<Claim> claims(const Plan& plan, const Limits& limits) const override {
    if (plan.activation != Activation::f32) return {};
    std::size_t d_ff = 0, d_model = 0;
    for (const Step& step : plan.steps)
      if (const auto* ffn = std::get_if<op::Ffn>(&step.op)) {
        d_ff = std::max<std::size_t>(d_ff, ffn->d_ff);
        d_model = std::max<std::size_t>(d_model, ffn->x.width);
      }
    const std::size_t n_bytes = limits.max_rows * d_ff * sizeof(float) +
                                ActivationRows::n_bytes(limits.max_rows, d_ff) +
                                2 * ActivationRows::n_bytes(limits.max_rows, d_model);
    return {{{0, static_cast<std::uint32_t>(plan.steps.size())}, n_bytes}};
  }

  Cost estimate(const Plan& plan, StepRange range, std::uint32_t rows, std::uint32_t depth) const override {
    const PlanWork work = work_of(plan, range, {rows, rows, 1, static_cast<double>(depth)}, DType::f16);
    return {std::max(work.bytes() / kReadBytesPerSecond,
                     (work.multiply_adds + work.attention_multiply_adds) /
                         (kMultiplyAddsPerSecondAndMember * static_cast<double>(pool_.size())))};
  }

  std::size_t resident_bytes(const WeightRef& weight) const override { return CpuWeight::resident_bytes(weight); }

  Result<std::unique_ptr<Weight>> prepare(const WeightRef& weight, const Progress& progress) override {
    UNICORN_ASSIGN(std::unique_ptr<CpuWeight> prepared, CpuWeight::prepare(weight, pool_, progress));
    return std::unique_ptr<Weight>(std::move(prepared));
  }

  Result<std::unique_ptr<Buffer>> allocate(std::size_t n_bytes, Memory) override {
    UNICORN_ASSIGN(HostMemory memory, HostMemory::allocate(n_bytes));
    return std::unique_ptr<Buffer>(std::make_unique<HostBuffer>(std::move(memory)));
  }

  Result<std::unique_ptr<Buffer>> import(const External& memory) override {
    if (memory.host == nullptr) return Error{ErrorCode::unsupported, "cpu: only host memory can be imported"};
    return std::unique_ptr<Buffer>(std::make_unique<HostBuffer>(memory));
  }

  Result<std::unique_ptr<Program>> compile(const Plan& plan, StepRange range, const Limits& limits,
                                           const Placement& placement) override {
    UNICORN_ASSIGN(std::unique_ptr<CpuProgram> program,
                   CpuProgram::compile(plan, range, limits, placement, kernels_, pool_));
    return std::unique_ptr<Program>(std::move(program));
  }

  Result<Fence> copy(const CopyRequest& request, std::span<const Fence> after) override {
    for (const Fence& fence : after)
      if (fence.backend != nullptr) UNICORN_TRY(fence.backend->wait(fence, kNoDeadline));
    const std::size_t n_bytes = kv_block_bytes(*request.layer, *request.limits);
    for (const KvCopy& c : request.blocks) {
      if ((std::size_t{c.block} + 1) * n_bytes > c.buffer->n_bytes())
        return Error{ErrorCode::invalid_argument, fmt::format("cpu: KV block {} lies outside its buffer", c.block)};
      std::byte* block = c.buffer->host() + std::size_t{c.block} * n_bytes;
      if (c.to_host)
        std::memcpy(c.host, block, n_bytes);
      else
        std::memcpy(block, c.host, n_bytes);
    }
    return Fence{};
  }

  Status wait(const Fence&, Deadline) override { return Ok{}; }

 private:
  const KernelTable& kernels_;
  ThreadPool pool_;
  DeviceInfo info_;
};

}  // namespace
}  // namespace cpu

Result<std::unique_ptr<Backend>> create_cpu_backend(const CpuOptions& options) {
  UNICORN_ASSIGN(const cpu::KernelTable* const kernels, cpu::select_kernels(options.isa));
  return std::unique_ptr<Backend>(
      std::make_unique<cpu::CpuBackend>(*kernels, options.n_threads > 0 ? options.n_threads : n_usable_cores()));
}

}  // namespace unicorn
