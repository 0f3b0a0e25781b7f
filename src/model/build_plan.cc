#include "model/model.h"

namespace unicorn {

Result<Plan> build_plan(const ModelConfig& config, const WeightSource& weights) {
  switch (config.family) {
    case Family::gemma3n:
      return build_gemma3n(config, weights);
    case Family::gemma3:
      return build_gemma3(config, weights);
  }
  UNICORN_CHECK(false);
  return Plan{};
}

}  // namespace unicorn
