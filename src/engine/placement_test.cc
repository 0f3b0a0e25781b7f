#include "engine/placement.h"

#include <gtest/gtest.h>

namespace unicorn {
namespace {

Plan four_layers() {
  Plan plan;
  plan.n_layers = 4;
  for (std::int32_t layer : {-1, 0, 0, 1, 2, 2, 3, 4}) plan.steps.push_back({op::Embed{}, Rows::all, layer});
  return plan;
}

std::string text(const Result<std::vector<PlacedRange>>& r) {
  if (!r.ok()) return "error";
  std::string s;
  for (const PlacedRange& p : *r)
    s += p.device + std::to_string(p.range.begin) + "-" + std::to_string(p.range.end) + " ";
  return s;
}

TEST(Place, CoversEveryStepOnce) {
  const Plan plan = four_layers();
  EXPECT_EQ(text(place(plan, "a")), "a0-8 ");
  EXPECT_EQ(text(place(plan, "a,b")), "a0-3 b3-4 a4-6 b6-8 ");
  EXPECT_EQ(text(place(plan, "a@0-1,b")), "a0-4 b4-8 ");
  EXPECT_EQ(text(place(plan, "a@0;3,b")), "a0-3 b3-6 a6-8 ");
  EXPECT_EQ(text(place(plan, "a@0-3")), "a0-8 ");
}

TEST(Place, SaysWhatIsWrong) {
  const Plan plan = four_layers();
  for (const char* spec : {"", "a,,b", "a@4", "a@2-1", "a@x", "a@0", "@1"})
    EXPECT_EQ(text(place(plan, spec)), "error") << spec;
  EXPECT_NE(place(plan, "a@9").error().message.find("'9'"), std::string::npos);
}

}  // namespace
}  // namespace unicorn
