#include "engine/memory.h"

#include <gtest/gtest.h>

#include <fstream>

namespace unicorn {
namespace {

namespace fs = std::filesystem;

// A made-up proc/ and sys/.
class AvailableMemory : public ::testing::Test {
 protected:
  AvailableMemory() {
    fs::remove_all(root_);
    write("proc/meminfo", "MemTotal:       9000 kB\nMemAvailable:   1000 kB\nHugePages_Total:       0\n");
  }
  ~AvailableMemory() override { fs::remove_all(root_); }
  void write(const std::string& path, const std::string& text) {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  void limit(const std::string& group, const std::string& max, const std::string& current) {
    write("sys/fs/cgroup/" + group + "memory.max", max + "\n");
    write("sys/fs/cgroup/" + group + "memory.current", current + "\n");
  }

  const fs::path root_ = fs::path(::testing::TempDir()) / "unicorn_memory_test";
};

TEST_F(AvailableMemory, IsWhatTheKernelSaysWithoutAGroup) { EXPECT_EQ(available_memory(root_), 1024000u); }

TEST_F(AvailableMemory, IsUnknownWithoutProc) { EXPECT_EQ(available_memory(root_ / "nothing"), std::nullopt); }

TEST_F(AvailableMemory, IsBoundByEveryGroupAroundTheProcess) {
  write("proc/self/cgroup", "4:memory:/elsewhere\n0::/a/b\n");
  limit("a/b/", "max", "100");
  EXPECT_EQ(available_memory(root_), 1024000u);
  limit("a/", "5000", "1000");
  EXPECT_EQ(available_memory(root_), 4000u) << "the parent's limit holds for the child";
  limit("", "9000", "8000");
  EXPECT_EQ(available_memory(root_), 1000u) << "and so does the root's";
  limit("a/b/", "300", "100");
  EXPECT_EQ(available_memory(root_), 200u);
  limit("elsewhere/", "1", "0");
  EXPECT_EQ(available_memory(root_), 200u) << "not our group";
}

TEST_F(AvailableMemory, CountsFilePagesAsFree) {
  write("proc/self/cgroup", "0::/\n");
  limit("", "5000", "4000");
  write("sys/fs/cgroup/memory.stat", "anon 1000\nfile 3000\ninactive_file 2000\nactive_file 500\n");
  EXPECT_EQ(available_memory(root_), 3500u);
  limit("", "1000", "4000");
  EXPECT_EQ(available_memory(root_), 0u) << "nothing is left, which is not the same as unknown";
}

}  // namespace
}  // namespace unicorn
