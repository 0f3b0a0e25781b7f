#include "core/mapped_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

namespace unicorn {
namespace {

namespace fs = std::filesystem;

class MappedFileTest : public ::testing::Test {
 protected:
  MappedFileTest()
      : folder_(fs::path(::testing::TempDir()) / ("mapped_file_" + std::to_string(::getpid()) + "_" +
                                                  ::testing::UnitTest::GetInstance()->current_test_info()->name())) {
    fs::create_directories(folder_);
  }
  ~MappedFileTest() override { fs::remove_all(folder_); }

  fs::path write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name, std::ios::binary) << text;
    return folder_ / name;
  }
  static std::string text_of(const MappedFile& file) {
    return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
  }

  fs::path folder_;
};

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

TEST_F(MappedFileTest, ShowsTheBytesOfAFile) {
  const fs::path path = write("a", "hello");
  const auto file = MappedFile::open(path);
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(text_of(*file), "hello");
  EXPECT_EQ(file->path(), path.string());
}

TEST_F(MappedFileTest, MapsAnEmptyFileToNothing) {
  const auto file = MappedFile::open(write("empty", ""));
  ASSERT_TRUE(file.ok());
  EXPECT_TRUE(file->bytes().empty());
}

TEST_F(MappedFileTest, MovesWithItsBytes) {
  auto opened = MappedFile::open(write("a", "hello"));
  ASSERT_TRUE(opened.ok());
  MappedFile file = std::move(opened).value();
  const std::byte* data = file.bytes().data();
  MappedFile moved = std::move(file);
  EXPECT_EQ(moved.bytes().data(), data);
  MappedFile assigned;
  assigned = std::move(moved);
  EXPECT_EQ(text_of(assigned), "hello");
}

TEST_F(MappedFileTest, NamesWhatItCannotOpen) {
  const auto missing = MappedFile::open(folder_ / "nothing");
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().code, ErrorCode::not_found);
  EXPECT_NE(missing.error().message.find("nothing"), std::string::npos);
  const auto folder = MappedFile::open(folder_);
  ASSERT_FALSE(folder.ok());
  EXPECT_EQ(folder.error().code, ErrorCode::io);
}

TEST_F(MappedFileTest, DoesNotWaitForAPipe) {
  const fs::path path = folder_ / "pipe";
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  const auto pipe = MappedFile::open(path);
  ASSERT_FALSE(pipe.ok());
  EXPECT_EQ(pipe.error().code, ErrorCode::io);
}

TEST_F(MappedFileTest, TakesAnyAdviceOnAnyRange) {
  const auto file = MappedFile::open(write("big", std::string(100'000, 'x')));
  ASSERT_TRUE(file.ok());
  for (const Advice advice : {Advice::sequential, Advice::random_access, Advice::will_need, Advice::drop})
    for (const auto& [begin, size] : {std::pair{0, 100'000}, {1, 5'000}, {50'000, 1}, {99'999, 1}, {7, 0}})
      advise(file->bytes().subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(size)), advice);
  EXPECT_EQ(text_of(*file), std::string(100'000, 'x'));  // dropped pages come back
}

TEST_F(MappedFileTest, KnowsAFilesMappingFromMemory) {
  const auto file = MappedFile::open(write("big", std::string(100'000, 'x')));
  ASSERT_TRUE(file.ok());
  EXPECT_TRUE(is_file_mapping(file->bytes()));
  EXPECT_TRUE(is_file_mapping(file->bytes().subspan(5'000, 7)));
  advise(file->bytes().subspan(50'000, 10'000), Advice::random_access);  // three mappings now
  EXPECT_TRUE(is_file_mapping(file->bytes()));
  const std::vector<std::byte> memory(100'000);
  EXPECT_FALSE(is_file_mapping(memory));
}

TEST_F(MappedFileTest, ReplacesAFileUnderItsReaders) {
  const fs::path path = write("a", "old");
  const auto reader = MappedFile::open(path);
  ASSERT_TRUE(reader.ok());
  ASSERT_TRUE(write_file_atomically(path, bytes_of("new and longer")).ok());
  EXPECT_EQ(text_of(*reader), "old");
  EXPECT_EQ(text_of(*MappedFile::open(path)), "new and longer");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), {}), 1);  // no temporary left
}

TEST_F(MappedFileTest, SaysWhereItCannotWrite) {
  const Status status = write_file_atomically(folder_ / "no" / "such" / "folder", bytes_of("x"));
  ASSERT_FALSE(status.ok());
  EXPECT_NE(status.error().message.find("such"), std::string::npos);
  const Status onto_folder = write_file_atomically(folder_, bytes_of("x"));
  ASSERT_FALSE(onto_folder.ok());
}

TEST_F(MappedFileTest, LetsSeveralThreadsReplaceOneFile) {
  const fs::path path = folder_ / "shared";
  std::atomic<int> failures{0};
  std::vector<std::thread> writers;
  for (int t = 0; t < 4; ++t)
    writers.emplace_back([&, t] {
      const std::string text(1000, static_cast<char>('a' + t));
      for (int i = 0; i < 50; ++i)
        if (!write_file_atomically(path, bytes_of(text)).ok()) ++failures;
    });
  for (std::thread& writer : writers) writer.join();
  EXPECT_EQ(failures, 0);
  const std::string text = text_of(*MappedFile::open(path));
  EXPECT_EQ(text, std::string(1000, text.at(0)));  // one writer's, whole
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), {}), 1);
}

}  // namespace
}  // namespace unicorn
