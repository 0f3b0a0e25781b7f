#include "cli/arguments.h"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <system_error>

namespace unicorn {

namespace {

// At most 40 bytes of somebody's text, for a message.
std::string shown(std::string_view text) {
  constexpr std::size_t kShown = 40;
  if (text.size() <= kShown) return fmt::format("'{}'", text);
  return fmt::format("'{}…'", text.substr(0, kShown));
}

Error bad(std::string_view found, std::string_view expected) {
  return Error{ErrorCode::invalid_argument, fmt::format("{} is not {}", shown(found), expected)};
}

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v'; }

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

// Items of a list: separated by one comma or by whitespace. Nothing between two commas is an empty item.
std::vector<std::string_view> split(std::string_view text) {
  std::vector<std::string_view> items;
  text = trimmed(text);
  while (!text.empty()) {
    std::size_t end = 0;
    while (end < text.size() && text[end] != ',' && !is_space(text[end])) ++end;
    items.push_back(text.substr(0, end));
    text = trimmed(text.substr(end));
    if (!text.starts_with(',')) continue;
    text = trimmed(text.substr(1));
    if (text.empty()) items.emplace_back();  // a comma promises another item
  }
  return items;
}

template <class T>
std::errc parse_whole(std::string_view text, T& value) {
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failed == std::errc{} && end != text.data() + text.size()) return std::errc::invalid_argument;
  return failed;
}

bool is_digits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

Result<std::uint64_t> parse_count(std::string_view text, std::uint64_t min, std::uint64_t max) {
  std::uint64_t value = 0;
  const std::errc failed = parse_whole(text, value);
  const bool too_large = is_digits(text) && failed == std::errc::result_out_of_range;
  if (failed != std::errc{} && !too_large) return bad(text, fmt::format("a whole number from {} to {}", min, max));
  if (too_large || value < min || value > max)
    return Error{ErrorCode::invalid_argument,
                 fmt::format("{} is out of range, expected {} to {}", shown(text), min, max)};
  return value;
}

Result<double> parse_number(std::string_view text, double min, double max) {
  const std::string expected = fmt::format("a number from {} to {}", min, max);
  std::string_view digits = text;
  if (digits.starts_with('+') && !digits.starts_with("+-")) digits.remove_prefix(1);
  double value = 0;
  if (parse_whole(digits, value) != std::errc{} || !std::isfinite(value)) return bad(text, expected);
  if (value < min || value > max)
    return Error{ErrorCode::invalid_argument,
                 fmt::format("{} is out of range, expected {} to {}", shown(text), min, max)};
  return value;
}

Result<std::vector<std::uint32_t>> parse_counts(std::string_view text, std::uint32_t min, std::uint32_t max) {
  std::vector<std::uint32_t> values;
  for (const std::string_view item : split(text)) {
    UNICORN_ASSIGN(const std::uint64_t value, parse_count(item, min, max));
    values.push_back(static_cast<std::uint32_t>(value));
  }
  if (values.empty()) return bad(text, "a list of whole numbers (512,2048)");
  return values;
}

Result<std::vector<TokenId>> parse_ids(std::string_view text) {
  std::string_view list = trimmed(text);
  if (list.starts_with('[') && list.ends_with(']')) list = list.substr(1, list.size() - 2);
  std::vector<TokenId> ids;
  for (const std::string_view item : split(list)) {
    TokenId id = -1;
    if (parse_whole(item, id) != std::errc{} || id < 0)
      return Error{ErrorCode::invalid_argument,
                   fmt::format("{} is not a token id (entry {} of the list); expected whole numbers "
                               "separated by commas or spaces",
                               shown(item), ids.size() + 1)};
    ids.push_back(id);
  }
  if (ids.empty()) return Error{ErrorCode::invalid_argument, "the list of token ids is empty"};
  return ids;
}

Result<std::pair<TokenId, float>> parse_logit_bias(std::string_view text) {
  constexpr std::string_view kExpected = "a logit bias (ID=+X, ID=-X, or ID=-inf for never)";
  const std::size_t equals = text.find('=');
  if (equals == std::string_view::npos) return bad(text, kExpected);
  TokenId id = -1;
  if (parse_whole(text.substr(0, equals), id) != std::errc{} || id < 0) return bad(text, kExpected);
  std::string_view number = text.substr(equals + 1);
  if (number == "-inf") return std::pair(id, -std::numeric_limits<float>::infinity());
  constexpr double kLargest = 1e6;
  const Result<double> value = parse_number(number, -kLargest, kLargest);
  if (!value.ok()) return bad(text, kExpected);
  return std::pair(id, static_cast<float>(*value));
}

Result<std::vector<TokenId>> read_ids(const std::string& text) {
  if (!text.starts_with('@')) return parse_ids(text);
  const std::string path = text.substr(1);
  UNICORN_ASSIGN(const std::string content, read_text(path));
  Result<std::vector<TokenId>> ids = parse_ids(content);
  if (!ids.ok()) return Error{ErrorCode::corrupt_file, fmt::format("{}: {}", path, ids.error().message)};
  return ids;
}

Result<std::string> read_text(const std::string& path) {
  const bool standard_input = path == "-";
  std::error_code status;
  if (!standard_input && std::filesystem::is_directory(path, status))
    return Error{ErrorCode::io, fmt::format("{}: is a folder, expected a file", path)};
  std::FILE* file = standard_input ? stdin : std::fopen(path.c_str(), "rb");
  if (file == nullptr) {
    const std::string why = std::strerror(errno);
    return Error{errno == ENOENT ? ErrorCode::not_found : ErrorCode::io, fmt::format("{}: {}", path, why)};
  }
  std::string text;
  char buffer[1 << 16];
  std::size_t n = 0;
  while ((n = std::fread(buffer, 1, sizeof buffer, file)) > 0) text.append(buffer, n);
  const bool failed = std::ferror(file) != 0;
  if (!standard_input) std::fclose(file);
  if (failed) return Error{ErrorCode::io, fmt::format("{}: cannot be read", standard_input ? "standard input" : path)};
  return text;
}

std::string nearest(std::string_view word, const std::vector<std::string>& candidates) {
  // Levenshtein's distance, two neighbours swapped counting once: the usual typing error.
  const auto distance = [](std::string_view a, std::string_view b) {
    std::vector<std::vector<std::size_t>> d(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
    for (std::size_t i = 0; i <= a.size(); ++i) d[i][0] = i;
    for (std::size_t j = 0; j <= b.size(); ++j) d[0][j] = j;
    for (std::size_t i = 1; i <= a.size(); ++i)
      for (std::size_t j = 1; j <= b.size(); ++j) {
        d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (a[i - 1] != b[j - 1])});
        if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
          d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
      }
    return d[a.size()][b.size()];
  };
  if (word.size() > 64) return {};
  std::string best;
  std::size_t best_distance = word.size() / 3 + 2;  // beyond this it is another word
  for (const std::string& candidate : candidates) {
    std::size_t d = distance(word, candidate);
    if (word.size() >= 2 && candidate.starts_with(word)) d = std::min<std::size_t>(d, 1);  // "perp"
    if (d < best_distance) best = candidate, best_distance = d;
  }
  return best;
}

}  // namespace unicorn
