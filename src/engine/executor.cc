#include "engine/executor.h"

#include <fmt/format.h>

#include <functional>

namespace unicorn {

Result<std::unique_ptr<Executor>> Executor::create(const Plan& plan, const std::vector<PlacedRange>& placement,
                                                   const Limits& limits, Devices devices, const Progress& progress) {
  std::unique_ptr<Executor> x(new Executor(plan));
  x->shared_.resize(plan.tensors.size());

  std::vector<std::vector<std::size_t>> tensor_ranges(plan.tensors.size()), kv_ranges(plan.kv_layers.size());
  for (std::size_t r = 0; r < placement.size(); ++r) {
    const PlacedRange& p = placement[r];
    auto [it, fresh] = x->devices_.try_emplace(p.device);
    Device& device = it->second;
    if (fresh) {
      device.backend = std::move(devices.at(p.device));
      device.weights.resize(plan.weights.size());
      device.placement.tensors.resize(plan.tensors.size());
      device.placement.kv.resize(plan.kv_layers.size());
      device.placement.weights.resize(plan.weights.size());
    }
    if (!claim_over(*device.backend, plan, p.range, limits))
      return Error{ErrorCode::unsupported,
                   fmt::format("device '{}' cannot run steps {} to {} of this model ('{}' …)", p.device, p.range.begin,
                               p.range.end, op_name(plan.steps[p.range.begin].op))};
    x->ranges_.push_back({&device, nullptr});
    const auto note = [&](std::vector<std::size_t>& list) {
      if (list.empty() || list.back() != r) list.push_back(r);
    };
    for (std::uint32_t s = p.range.begin; s < p.range.end; ++s) {
      const StepAccess a = access(plan.steps[s]);
      for (const auto* refs : {&a.reads, &a.writes})
        for (const TensorRef& ref : *refs) note(tensor_ranges[index(ref.id)]);
      if (a.kv_read) note(kv_ranges[*a.kv_read]);
      if (a.kv_write) note(kv_ranges[*a.kv_write]);
      for (WeightId id : a.weights) {
        std::unique_ptr<Weight>& w = device.weights[index(id)];
        if (w != nullptr) continue;
        UNICORN_ASSIGN(w, device.backend->prepare(plan.weights[index(id)], progress));
        device.placement.weights[index(id)] = w.get();
        x->weight_bytes_ += w->resident_bytes();
      }
    }
  }

  // One buffer, seen by every device among `users`: the first allocates it, the others import it.
  const auto share = [&](const std::vector<std::size_t>& users, std::size_t n_bytes,
                         const std::function<Buffer*&(Device&)>& slot) -> Result<std::byte*> {
    Device& owner = *x->ranges_[users.front()].device;
    UNICORN_ASSIGN(std::unique_ptr<Buffer> buffer, owner.backend->allocate(n_bytes, Memory::shared));
    std::byte* host = buffer->host();
    slot(owner) = buffer.get();
    owner.buffers.push_back(std::move(buffer));
    for (std::size_t r : users) {
      Device& user = *x->ranges_[r].device;
      if (slot(user) != nullptr) continue;
      UNICORN_ASSIGN(std::unique_ptr<Buffer> imported, user.backend->import({host, n_bytes, -1}));
      slot(user) = imported.get();
      user.buffers.push_back(std::move(imported));
    }
    return host;
  };

  for (std::size_t t = 0; t < plan.tensors.size(); ++t) {
    const bool read_by_host = TensorId{static_cast<std::uint32_t>(t)} == plan.logits ||
                              TensorId{static_cast<std::uint32_t>(t)} == plan.hidden;
    if (tensor_ranges[t].empty() || (tensor_ranges[t].size() == 1 && !read_by_host)) continue;
    const TensorInfo& info = plan.tensors[t];
    const std::size_t rows = info.rows == Rows::all ? limits.max_rows : limits.max_output_rows;
    UNICORN_ASSIGN(x->shared_[t], share(tensor_ranges[t], rows * info.width * sizeof(float),
                                        [&](Device& d) -> Buffer*& { return d.placement.tensors[t]; }));
  }
  for (std::size_t l = 0; l < plan.kv_layers.size(); ++l) {
    if (kv_ranges[l].empty()) continue;
    const std::size_t n_bytes = limits.kv_blocks[plan.kv_layers[l].group] * kv_block_bytes(plan.kv_layers[l], limits);
    x->kv_bytes_ += n_bytes;
    UNICORN_ASSIGN(std::byte* const host,
                   share(kv_ranges[l], n_bytes, [&](Device& d) -> Buffer*& { return d.placement.kv[l]; }));
    static_cast<void>(host);
  }
  for (std::size_t r = 0; r < placement.size(); ++r) {
    Device& device = *x->ranges_[r].device;
    UNICORN_ASSIGN(x->ranges_[r].program, device.backend->compile(plan, placement[r].range, limits, device.placement));
  }
  return x;
}

Status Executor::run(const Batch& batch, StepObserver* observer) {
  const Io io{observer};
  Fence fence;
  for (Range& range : ranges_) {
    UNICORN_ASSIGN(fence, range.program->submit(batch, io, {&fence, 1}));
  }
  if (fence.backend != nullptr) UNICORN_TRY(fence.backend->wait(fence, kNoDeadline));
  return Ok{};
}

std::span<const float> Executor::row(TensorId tensor, std::size_t output_row) const {
  const std::size_t width = plan_.tensors[index(tensor)].width;
  return {reinterpret_cast<const float*>(shared_[index(tensor)]) + output_row * width, width};
}

std::string Executor::description() const {
  std::string text;
  for (const auto& [name, device] : devices_) {
    if (!text.empty()) text += "; ";
    text += name + ": " + device.backend->info().description;
  }
  return text;
}

}  // namespace unicorn
