#include "hub/model_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

namespace unicorn {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class ModelStore : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "unicorn-hub-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    setenv("UNICORN_MODELS", (root_ / "models").c_str(), 1);
    unsetenv("UNICORN_DEMO_MODEL");
    unsetenv("XDG_DATA_HOME");
  }
  void TearDown() override { fs::remove_all(root_); }

  fs::path put(const fs::path& relative) {
    const fs::path path = root_ / "models" / relative;
    fs::create_directories(path.parent_path());
    std::ofstream(path) << "x";
    return path;
  }

  fs::path root_;
};

TEST_F(ModelStore, FolderComesFromTheEnvironmentInOrder) {
  EXPECT_EQ(model_folder(), root_ / "models");
  unsetenv("UNICORN_MODELS");
  setenv("XDG_DATA_HOME", "/data", 1);
  EXPECT_EQ(model_folder(), "/data/unicorn/models");
  setenv("XDG_DATA_HOME", "", 1);
  setenv("HOME", "/home/somebody", 1);
  EXPECT_EQ(model_folder(), "/home/somebody/.local/share/unicorn/models");
}

TEST_F(ModelStore, FindsAPathBeforeAName) {
  const fs::path file = put("one.gguf");
  EXPECT_EQ(find_model(file.string()).value(), file);
  EXPECT_EQ(find_model(file.parent_path().string()).value(), file.parent_path());
}

TEST_F(ModelStore, FindsNamesOfFilesFoldersAndSplitSets) {
  const fs::path file = put("one.gguf");
  const fs::path tensors = put("two.safetensors");
  const fs::path folder = put("three/config.json").parent_path();
  const fs::path nested = put("google/gemma-3n/config.json").parent_path();
  const fs::path part = put("four-00001-of-00003.gguf");
  put("four-00002-of-00003.gguf");
  EXPECT_EQ(find_model("one").value(), file);
  EXPECT_EQ(find_model("one.gguf").value(), file);
  EXPECT_EQ(find_model("two").value(), tensors);
  EXPECT_EQ(find_model("three").value(), folder);
  EXPECT_EQ(find_model("google/gemma-3n").value(), nested);
  EXPECT_EQ(find_model("four").value(), part);
}

TEST_F(ModelStore, ListsEachModelOnceSorted) {
  put("b.gguf");
  put("a/config.json");
  put("c-00001-of-00002.gguf");
  put("c-00002-of-00002.gguf");
  put("notes.txt");
  put(".hidden.gguf");
  EXPECT_THAT(list_models(), ElementsAre("a", "b", "c"));
}

TEST_F(ModelStore, AMissingFolderHoldsNothing) {
  EXPECT_THAT(list_models(), IsEmpty());
  EXPECT_THAT(find_model("x").error().message, HasSubstr("does not exist"));
}

TEST_F(ModelStore, AnUnknownNameSaysWhatThereIs) {
  put("alpha.gguf");
  const auto found = find_model("beta");
  ASSERT_FALSE(found.ok());
  EXPECT_EQ(found.error().code, ErrorCode::not_found);
  EXPECT_THAT(found.error().message, HasSubstr("'beta'"));
  EXPECT_THAT(found.error().message, HasSubstr("alpha"));
}

TEST_F(ModelStore, ANameDoesNotLeadOutOfTheFolder) {
  std::ofstream(root_ / "secret.gguf") << "x";
  put("a.gguf");
  EXPECT_FALSE(find_model("../secret").ok());
  EXPECT_FALSE(find_model("./../secret").ok());
}

TEST_F(ModelStore, TheDemoIsWhereTheEnvironmentSays) {
  setenv("UNICORN_DEMO_MODEL", root_.c_str(), 1);
  EXPECT_EQ(demo_model().value(), root_);
  EXPECT_EQ(find_model("").value(), root_);
  EXPECT_EQ(find_model("demo").value(), root_);
  setenv("UNICORN_DEMO_MODEL", (root_ / "gone").c_str(), 1);
  EXPECT_THAT(demo_model().error().message, HasSubstr("gone"));
}

TEST_F(ModelStore, AMissingDemoNamesThePlacesLookedAt) {
  const auto demo = demo_model();  // unit tests do not run beside it
  ASSERT_FALSE(demo.ok());
  EXPECT_EQ(demo.error().code, ErrorCode::not_found);
  EXPECT_THAT(demo.error().message, HasSubstr("share/unicorn/models/gemma3n-demo"));
}

}  // namespace
}  // namespace unicorn
