// What people type, turned into values: each parser takes the text of one argument and says what was expected.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/result.h"
#include "core/token_id.h"

namespace unicorn {

// Errors of all: invalid_argument, with what was found and what was expected.
Result<std::uint64_t> parse_count(std::string_view text, std::uint64_t min, std::uint64_t max);
Result<double> parse_number(std::string_view text, double min, double max);  // finite; a leading + is welcome
// "512,2048": at least one count; commas and whitespace separate.
Result<std::vector<std::uint32_t>> parse_counts(std::string_view text, std::uint32_t min, std::uint32_t max);
// Token ids separated by commas and/or whitespace, in [ ] or not. At least one.
Result<std::vector<TokenId>> parse_ids(std::string_view text);
// "106=-2.5", "106=+1", "106=-inf" (never).
Result<std::pair<TokenId, float>> parse_logit_bias(std::string_view text);

// `text` is a list of ids, or @FILE for a file that holds one (@- is standard input). Also: the errors of read_text.
Result<std::vector<TokenId>> read_ids(const std::string& text);

// The whole of a file; "-" is standard input. Errors: not_found, io.
Result<std::string> read_text(const std::string& path);

// The candidate that is few typing errors away from `word`; empty when none is close.
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace unicorn
