// The vocabularies and fixtures that the tests of this folder share (tests/data/text, scripts/make_tokenizer_fixtures.py).
#pragma once

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "core/mapped_file.h"
#include "text/tokenizer.h"

namespace unicorn::testing {

inline std::string read_file(const std::string& path) {
  auto file = MappedFile::open(path);
  if (!file.ok()) {
    ADD_FAILURE() << file.error().message;
    return {};
  }
  return {reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size()};
}

inline Json read_json(const std::string& path) {
  auto json = parse_json(read_file(path), path);
  if (!json.ok()) {
    ADD_FAILURE() << json.error().message;
    return {};
  }
  return std::move(json).value();
}

inline Tokenizer tokenizer_of(std::string_view json, std::string_view what) {
  auto vocab = vocab_from_tokenizer_json(json, what);
  UNICORN_CHECK_MSG(vocab.ok(), vocab.error().message);
  auto tokenizer = Tokenizer::create(std::move(*vocab), what);
  UNICORN_CHECK_MSG(tokenizer.ok(), tokenizer.error().message);
  return std::move(tokenizer).value();
}

inline std::string test_data(const std::string& name) { return std::string(UNICORN_TEST_DATA_DIR "/text/") + name; }
inline std::string demo_path() { return std::string(UNICORN_DEMO_MODEL_DIR) + "/tokenizer.json"; }

// Gemma 3's 262 145 ids; its merges are rebuilt from the pieces.
inline const Tokenizer& gemma3() {
  static const Tokenizer tokenizer =
      tokenizer_of(read_file(test_data("gemma3_tokenizer.json")), "gemma3_tokenizer.json");
  return tokenizer;
}

// The demo model's 8192 ids.
inline const Tokenizer& demo() {
  static const Tokenizer tokenizer = tokenizer_of(read_file(demo_path()), "tokenizer.json");
  return tokenizer;
}

inline void append_utf8(char32_t c, std::string& out) {
  const auto byte = [&](char32_t b) { out += static_cast<char>(b); };
  if (c < 0x80) return byte(c);
  if (c < 0x800) {
    byte(0xC0 | c >> 6);
  } else {
    if (c < 0x10000) {
      byte(0xE0 | c >> 12);
    } else {
      byte(0xF0 | c >> 18);
      byte(0x80 | (c >> 12 & 0x3F));
    }
    byte(0x80 | (c >> 6 & 0x3F));
  }
  byte(0x80 | (c & 0x3F));
}

// Valid UTF-8 of every kind but U+2581, which decodes to a space.
inline std::string random_text(std::mt19937& random) {
  const auto below = [&](unsigned n) { return static_cast<unsigned>(random() % n); };
  std::string text;
  for (unsigned n = below(40); n > 0; --n) {
    char32_t c = 0;
    switch (below(8)) {
      case 0:
        text.append(1 + below(40), " \n\t="[below(4)]);
        continue;
      case 1:
        c = 0x20 + below(0x5F);
        break;
      case 2:
        c = 0x4E00 + below(0x5200);
        break;
      case 3:
        c = 0x1F300 + below(0x700);
        break;
      case 4:
        c = below(0x110000);
        break;
      case 5:
        text += std::string_view("the river <table>  </s><0x41> a<start_of_tur").substr(below(30), 1 + below(12));
        continue;
      default:
        c = U"etaoin shrdlu"[below(13)];
    }
    if ((c >= 0xD800 && c < 0xE000) || c == 0x2581) continue;
    append_utf8(c, text);
  }
  return text;
}

}  // namespace unicorn::testing
