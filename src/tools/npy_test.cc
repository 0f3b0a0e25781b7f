#include "tools/npy.h"

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

class Npy : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "unicorn-npy-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    path_ = folder_ / "a.npy";
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::size_t n_files() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
  }
  void put(std::string_view header, std::string_view data) {
    std::ofstream out(path_, std::ios::binary);
    out << std::string_view("\x93NUMPY\x01\x00", 8) << static_cast<char>(header.size()) << '\0' << header << data;
  }

  fs::path folder_, path_;
};

TEST_F(Npy, RowsAppendedAreRowsRead) {
  const std::vector<float> rows = {1, 2, 3, 4, 5, 6};
  NpyWriter writer = NpyWriter::create(path_).value();
  ASSERT_TRUE(writer.append(std::span(rows).first(3)).ok());
  ASSERT_TRUE(writer.append(std::span(rows).last(3)).ok());
  EXPECT_FALSE(fs::exists(path_));  // not before it is whole
  ASSERT_TRUE(writer.finish(3).ok());
  const NpyMatrix matrix = read_npy(path_).value();
  EXPECT_EQ(matrix.n_rows, 2u);
  EXPECT_EQ(matrix.width, 3u);
  EXPECT_THAT(matrix.values, ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_EQ(n_files(), 1u);
}

TEST_F(Npy, AnUnfinishedFileLeavesNothingAndKeepsTheOldOne) {
  std::ofstream(path_) << "old";
  {
    NpyWriter writer = NpyWriter::create(path_).value();
    NpyWriter moved = std::move(writer);
    ASSERT_TRUE(moved.append(std::vector<float>(5)).ok());
  }
  EXPECT_EQ(n_files(), 1u);
  EXPECT_EQ(fs::file_size(path_), 3u);
}

TEST_F(Npy, TheHeaderIsNumPys) {
  const std::string header = npy_header(3, 256);
  EXPECT_EQ(header.size(), kNpyHeaderBytes);
  EXPECT_EQ(header.substr(0, 10), std::string("\x93NUMPY\x01\x00\x76\x00", 10));
  EXPECT_THAT(header, HasSubstr("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 256), }"));
  EXPECT_EQ(header.back(), '\n');
}

TEST_F(Npy, WhatCannotBeWrittenIsAnError) {
  EXPECT_EQ(NpyWriter::create(folder_ / "no/such/folder.npy").error().code, ErrorCode::io);
  EXPECT_EQ(NpyWriter::create(folder_).error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(NpyWriter::create("/dev/null").error().code, ErrorCode::invalid_argument);
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
}

TEST_F(Npy, OneDimensionIsOneRow) {
  put("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }    \n", std::string(8, '\0'));
  // The data must begin at a multiple of four: pad as NumPy does.
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";
  header.resize(117, ' ');
  put(header + '\n', std::string(8, '\0'));
  const auto matrix = read_npy(path_);
  ASSERT_TRUE(matrix.ok()) << matrix.error().message;
  EXPECT_EQ(matrix->n_rows, 1u);
  EXPECT_EQ(matrix->width, 2u);
}

TEST_F(Npy, WrongFilesAreErrors) {
  EXPECT_EQ(read_npy(path_).error().code, ErrorCode::not_found);
  std::ofstream(path_) << "not numpy at all";
  EXPECT_EQ(read_npy(path_).error().code, ErrorCode::corrupt_file);
  std::ofstream(path_, std::ios::trunc) << "";
  EXPECT_EQ(read_npy(path_).error().code, ErrorCode::corrupt_file);
  const auto padded = [](std::string header) {
    header.resize(117, ' ');
    return header + '\n';
  };
  put(padded("{'descr': '<f8', 'fortran_order': False, 'shape': (1, 1), }"), std::string(8, '\0'));
  EXPECT_EQ(read_npy(path_).error().code, ErrorCode::unsupported);
  put(padded("{'descr': '<f4', 'fortran_order': True, 'shape': (1, 1), }"), std::string(4, '\0'));
  EXPECT_EQ(read_npy(path_).error().code, ErrorCode::unsupported);
  put(padded("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }"), std::string(12, '\0'));
  EXPECT_EQ(read_npy(path_).error().code, ErrorCode::corrupt_file);
  put(padded("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }"), std::string(4, '\0'));
  EXPECT_EQ(read_npy(path_).error().code, ErrorCode::corrupt_file);
  put(padded("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999999), }"), std::string(4, '\0'));
  EXPECT_FALSE(read_npy(path_).ok());
  put("garbage (", "");
  EXPECT_FALSE(read_npy(path_).ok());
  fs::resize_file(path_, 11);
  EXPECT_FALSE(read_npy(path_).ok());
}

}  // namespace
}  // namespace unicorn
