#include "plan/plan.h"

#include <algorithm>

namespace unicorn {
namespace {

template <class... Fs>
struct Overloaded : Fs... {
  using Fs::operator()...;
};
template <class... Fs>
Overloaded(Fs...) -> Overloaded<Fs...>;

void add_weights(StepAccess& a, std::initializer_list<WeightId> ids) {
  for (WeightId id : ids)
    if (id != kNoWeight) a.weights.push_back(id);
}

}  // namespace

std::string_view op_name(const Op& op) {
  return std::visit(Overloaded{
                        [](const op::Embed&) { return "embed"; },
                        [](const op::Matmul&) { return "matmul"; },
                        [](const op::RmsNorm&) { return "rms_norm"; },
                        [](const op::AddRmsNorm&) { return "add_rms_norm"; },
                        [](const op::QNormRope&) { return "q_norm_rope"; },
                        [](const op::KvStore&) { return "kv_store"; },
                        [](const op::Attention&) { return "attention"; },
                        [](const op::Ffn&) { return "ffn"; },
                        [](const op::TakeOutputRows&) { return "take_output_rows"; },
                        [](const op::Logits&) { return "logits"; },
                        [](const op::PleCombine&) { return "ple_combine"; },
                        [](const op::AltupInit&) { return "altup_init"; },
                        [](const op::AltupPredict&) { return "altup_predict"; },
                        [](const op::LaurelMerge&) { return "laurel_merge"; },
                        [](const op::AltupCorrect&) { return "altup_correct"; },
                        [](const op::PleInject&) { return "ple_inject"; },
                        [](const op::AltupMerge&) { return "altup_merge"; },
                    },
                    op);
}

StepAccess access(const Step& step) {
  StepAccess a;
  std::visit(Overloaded{
                 [&](const op::Embed& o) {
                   a.writes = {o.out};
                   add_weights(a, {o.table});
                 },
                 [&](const op::Matmul& o) {
                   a.reads = {o.x};
                   for (const op::MatmulPart& part : o.parts) {
                     a.writes.push_back(part.y);
                     add_weights(a, {part.w});
                   }
                 },
                 [&](const op::RmsNorm& o) {
                   a.reads = {o.x};
                   a.writes = {o.out};
                   add_weights(a, {o.w});
                 },
                 [&](const op::AddRmsNorm& o) {
                   a.reads = {o.x, o.h};
                   a.writes = {o.x, o.out};
                   add_weights(a, {o.post, o.next});
                 },
                 [&](const op::QNormRope& o) {
                   a.reads = {o.q};
                   a.writes = {o.q};
                   add_weights(a, {o.w});
                 },
                 [&](const op::KvStore& o) {
                   a.reads = {o.k, o.v};
                   a.writes = {o.k, o.v};
                   add_weights(a, {o.k_norm});
                   a.kv_write = o.kv_layer;
                 },
                 [&](const op::Attention& o) {
                   a.reads = {o.q};
                   a.writes = {o.out};
                   a.kv_read = o.kv_layer;
                 },
                 [&](const op::Ffn& o) {
                   a.reads = {o.x};
                   a.writes = {o.out};
                   add_weights(a, {o.gate, o.up, o.down});
                 },
                 [&](const op::TakeOutputRows& o) {
                   a.reads = {o.x};
                   a.writes = {o.out};
                 },
                 [&](const op::Logits& o) {
                   a.reads = {o.x};
                   a.writes = {o.out};
                   add_weights(a, {o.w});
                 },
                 [&](const op::PleCombine& o) {
                   a.reads = {o.projected, o.rows};
                   a.writes = {o.out};
                   add_weights(a, {o.norm});
                 },
                 [&](const op::AltupInit& o) {
                   a.reads = {o.e, o.projected};
                   a.writes = {o.streams};
                 },
                 [&](const op::AltupPredict& o) {
                   a.reads = {o.streams};
                   a.writes = {o.predicted, o.normed};
                   add_weights(a, {o.router.norm, o.router.router, o.coefs, o.next_norm});
                 },
                 [&](const op::LaurelMerge& o) {
                   a.reads = {o.active, o.o, o.x, o.laurel};
                   a.writes = {o.out, o.normed};
                   add_weights(a, {o.post_attn, o.post_laurel, o.ffn_norm});
                 },
                 [&](const op::AltupCorrect& o) {
                   a.reads = {o.h, o.residual, o.predicted};
                   a.writes = {o.streams, o.gate_in};
                   add_weights(a, {o.post_ffn, o.router.norm, o.router.router, o.coefs, o.correct_scale});
                 },
                 [&](const op::PleInject& o) {
                   a.reads = {o.gate_in, o.ple, o.streams};
                   a.writes = {o.streams};
                   add_weights(a, {o.gate, o.proj, o.post_norm});
                 },
                 [&](const op::AltupMerge& o) {
                   a.reads = {o.streams, o.projected};
                   a.writes = {o.out};
                   add_weights(a, {o.norm});
                 },
             },
             step.op);
  return a;
}

}  // namespace unicorn
