// vocab_from_tokenizer_json. The vocabulary and the merges, nearly all of a file's 30 MB, are read on the fly by simdjson;
// the small settings beside them by the ordinary JSON reader.
#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>

#include "core/json.h"
#include "text/pieces.h"
#include "text/quote.h"
#include "text/text_table.h"
#include "text/tokenizer.h"

namespace unicorn {
namespace {

namespace ondemand = simdjson::ondemand;

constexpr std::string_view kModelSettings[] = {
    "type",     "dropout",       "unk_token",    "continuing_subword_prefix", "end_of_word_suffix",
    "fuse_unk", "byte_fallback", "ignore_merges"};
constexpr std::size_t kMaxSettingBytes = 1 << 16;  // real ones have hundreds

// The value of a simdjson step, or an error that says where.
#define UNICORN_JSON(decl, expr, path) UNICORN_JSON_INNER(UNICORN_CONCAT(unicorn_json_, __LINE__), decl, expr, path)
#define UNICORN_JSON_INNER(tmp, decl, expr, path)                                        \
  auto tmp = (expr);                                                                     \
  if (tmp.error() != simdjson::SUCCESS) return corrupt((path), json_error(tmp.error())); \
  decl = std::move(tmp).value_unsafe()

std::string json_error(simdjson::error_code code) {
  if (code == simdjson::INCORRECT_TYPE) return "has another JSON type than expected";
  return fmt::format("is not valid JSON ({})", simdjson::error_message(code));
}

std::string merge_path(std::size_t index) { return fmt::format("model.merges[{}]", index); }

class Reader {
 public:
  explicit Reader(std::string_view what) : what_(what) {}

  Result<Vocab> read(std::string_view json);

 private:
  struct Entry {
    std::string_view text;  // in the parser's buffer
    TokenId id;
  };

  Error corrupt(std::string_view path, std::string_view message) const {
    return {ErrorCode::corrupt_file, fmt::format("{}: {}{}{}", what_, path, path.empty() ? "" : " ", message)};
  }
  Error unsupported(std::string_view path, std::string_view message) const {
    return {ErrorCode::unsupported, fmt::format("{}: {} {}", what_, path, message)};
  }

  Status read_added(ondemand::value value);
  Status read_model(ondemand::value value);
  Status read_vocab(ondemand::value value);
  Status read_merges(ondemand::value value);
  Status read_merge(ondemand::value value);
  Status resolve_halves();
  Result<Json> read_small(ondemand::value value, std::string_view path) const;
  Result<TokenId> read_id(ondemand::value value, std::string_view path) const;

  Status place_pieces();
  TokenId find(std::string_view text) const { return texts_.find(text); }

  Status apply_model();
  Status check_normalizer() const;
  Status check_pre_tokenizer() const;
  Status check_decoder() const;
  Status apply_post_processor();

  std::string what_;
  Vocab vocab_;
  TextTable texts_;  // the pieces, to find the halves of merges
  std::vector<Entry> entries_;
  struct Half {
    std::string_view text;  // in the parser's buffer
    std::uint64_t hash;
  };
  std::vector<Half> halves_;  // of merges, two each, waiting to be looked up
  Json settings_ = Json::object();  // normalizer, pre_tokenizer, post_processor, decoder
  Json model_ = Json::object();  // the model's fields but vocab and merges
  bool has_vocab_ = false;
};

Result<Vocab> Reader::read(std::string_view json) {
  if (json.size() > TextTable::kMaxBytes) {
    return corrupt("", fmt::format("is {} bytes long, at most {} are supported", json.size(), TextTable::kMaxBytes));
  }
  const simdjson::padded_string padded(json);
  ondemand::parser parser;
  UNICORN_JSON(ondemand::document document, parser.iterate(padded), "");
  UNICORN_JSON(ondemand::object root, document.get_object(), "");
  bool has_model = false;
  for (auto item : root) {
    UNICORN_JSON(ondemand::field field, item, "");
    UNICORN_JSON(const std::string_view key, field.unescaped_key(), "");
    if (key == "added_tokens") {
      UNICORN_TRY(read_added(field.value()));
    } else if (key == "model") {
      if (has_model) return corrupt("model", "is there twice");
      has_model = true;
      UNICORN_TRY(read_model(field.value()));
    } else if (key == "normalizer" || key == "pre_tokenizer" || key == "post_processor" || key == "decoder") {
      const std::string name(key);
      UNICORN_ASSIGN(settings_[name], read_small(field.value(), name));
    }
  }
  if (document.current_location().error() != simdjson::OUT_OF_BOUNDS) {
    return corrupt("", "has more text after the JSON object");
  }
  if (!has_model) return corrupt("model", "is missing");
  UNICORN_TRY(apply_model());
  UNICORN_TRY(check_normalizer());
  UNICORN_TRY(check_pre_tokenizer());
  UNICORN_TRY(check_decoder());

  for (std::size_t i = 0; i < vocab_.added.size(); ++i) {
    const Vocab::Added& added = vocab_.added[i];
    const TokenId id = find(added.text);
    if (id >= 0 && id != added.id) {
      return corrupt(fmt::format("added_tokens[{}]", i),
                     fmt::format("{} has id {}, but model.vocab gives it {}", quote(added.text), added.id, id));
    }
  }
  UNICORN_TRY(apply_post_processor());
  const auto id_of = [&](std::string_view text) {
    for (const Vocab::Added& added : vocab_.added) {
      if (added.text == text) return added.id;
    }
    return TokenId{-1};
  };
  if (vocab_.bos < 0) vocab_.bos = id_of("<bos>");
  vocab_.eos = id_of("<eos>");
  vocab_.pad = id_of("<pad>");
  if (vocab_.unk >= 0) {
    for (const Vocab::Added& added : vocab_.added) {
      if (added.id != vocab_.unk || !added.special) continue;
      vocab_.types[static_cast<std::size_t>(vocab_.unk)] = TokenType::unknown;
    }
  }
  return std::move(vocab_);
}

Result<Json> Reader::read_small(ondemand::value value, std::string_view path) const {
  UNICORN_JSON(const ondemand::json_type type, value.type(), path);
  std::string_view text;
  if (type == ondemand::json_type::object) {
    UNICORN_JSON(ondemand::object object, value.get_object(), path);
    UNICORN_JSON(text, object.raw_json(), path);
  } else if (type == ondemand::json_type::array) {
    UNICORN_JSON(ondemand::array array, value.get_array(), path);
    UNICORN_JSON(text, array.raw_json(), path);
  } else {
    text = value.raw_json_token();
  }
  if (text.size() > kMaxSettingBytes) {
    return corrupt(path, fmt::format("is {} bytes long, expected at most {}", text.size(), kMaxSettingBytes));
  }
  return parse_json(text, fmt::format("{}: {}", what_, path));
}

Result<TokenId> Reader::read_id(ondemand::value value, std::string_view path) const {
  std::int64_t id = 0;
  if (value.get_int64().get(id) != simdjson::SUCCESS) return corrupt(path, "is not a whole number that fits");
  constexpr std::int64_t kMaxId = std::int64_t{1} << 22;
  if (id < 0 || id >= kMaxId) return corrupt(path, fmt::format("is {}, expected an id of 0 … {}", id, kMaxId - 1));
  return static_cast<TokenId>(id);
}

Status Reader::read_added(ondemand::value value) {
  UNICORN_JSON(ondemand::array array, value.get_array(), "added_tokens");
  for (auto item : array) {
    const std::string path = fmt::format("added_tokens[{}]", vocab_.added.size());
    UNICORN_JSON(ondemand::value element, item, path);
    UNICORN_JSON(ondemand::object object, element.get_object(), path);
    Vocab::Added added{-1, {}, false};
    bool has_text = false;
    for (auto entry : object) {
      UNICORN_JSON(ondemand::field field, entry, path);
      UNICORN_JSON(const std::string_view key, field.unescaped_key(), path);
      if (key == "id") {
        UNICORN_ASSIGN(added.id, read_id(field.value(), path + ".id"));
      } else if (key == "content") {
        UNICORN_JSON(added.text, field.value().get_string(), path + ".content");
        has_text = true;
      } else if (key == "special" || key == "normalized" || key == "lstrip" || key == "rstrip" ||
                 key == "single_word") {
        const std::string name(key);
        UNICORN_JSON(const bool set, field.value().get_bool(), path + "." + name);
        if (name == "special") {
          added.special = set;
        } else if (name == "normalized") {
          added.normalized = set;
        } else if (set) {
          return unsupported(path + "." + name, "is true, only false is supported");
        }
      }
    }
    if (added.id < 0) return corrupt(path + ".id", "is missing");
    if (!has_text) return corrupt(path + ".content", "is missing");
    vocab_.added.push_back(std::move(added));
  }
  return Ok{};
}

Status Reader::read_model(ondemand::value value) {
  UNICORN_JSON(ondemand::object object, value.get_object(), "model");
  std::string_view late_merges;  // merges that stand before the vocabulary wait for it
  bool has_merges = false;
  for (auto item : object) {
    UNICORN_JSON(ondemand::field field, item, "model");
    UNICORN_JSON(const std::string_view key, field.unescaped_key(), "model");
    if (key == "vocab") {
      if (has_vocab_) return corrupt("model.vocab", "is there twice");
      has_vocab_ = true;
      UNICORN_TRY(read_vocab(field.value()));
    } else if (key == "merges") {
      if (has_merges) return corrupt("model.merges", "is there twice");
      has_merges = true;
      if (has_vocab_) {
        UNICORN_TRY(read_merges(field.value()));
      } else {
        UNICORN_JSON(ondemand::array array, field.value().get_array(), "model.merges");
        UNICORN_JSON(late_merges, array.raw_json(), "model.merges");
      }
    } else if (std::find(std::begin(kModelSettings), std::end(kModelSettings), key) != std::end(kModelSettings)) {
      const std::string name(key);
      UNICORN_ASSIGN(model_[name], read_small(field.value(), "model." + name));
    }
  }
  if (!has_vocab_) return corrupt("model.vocab", "is missing");
  if (late_merges.empty()) return Ok{};
  const simdjson::padded_string padded(late_merges);
  ondemand::parser parser;
  UNICORN_JSON(ondemand::document document, parser.iterate(padded), "model.merges");
  UNICORN_JSON(ondemand::value merges, document.get_value(), "model.merges");
  return read_merges(merges);
}

Status Reader::read_vocab(ondemand::value value) {
  UNICORN_JSON(ondemand::object object, value.get_object(), "model.vocab");
  for (auto item : object) {
    UNICORN_JSON(ondemand::field field, item, "model.vocab");
    UNICORN_JSON(const std::string_view text, field.unescaped_key(), "model.vocab");
    auto id = read_id(field.value(), "model.vocab");
    if (!id.ok()) return Error{id.error().code, fmt::format("{} (piece {})", id.error().message, quote(text))};
    entries_.push_back({text, *id});
  }
  return place_pieces();
}

// Entries → pieces by id. Ids may leave gaps, but not so many that a small file fills the memory.
Status Reader::place_pieces() {
  TokenId n_ids = 0;
  std::size_t n_bytes = 0;
  for (const Entry& entry : entries_) {
    n_ids = std::max(n_ids, entry.id + 1);
    n_bytes += entry.text.size();
    if (static_cast<std::size_t>(entry.id) >= 2 * entries_.size() + (std::size_t{1} << 16)) {
      return corrupt("model.vocab", fmt::format("gives {} id {}, but has only {} entries", quote(entry.text), entry.id,
                                                entries_.size()));
    }
  }
  vocab_.pieces.resize(static_cast<std::size_t>(n_ids));
  vocab_.types.assign(static_cast<std::size_t>(n_ids), TokenType::unused);
  for (const Entry& entry : entries_) {
    const auto id = static_cast<std::size_t>(entry.id);
    if (vocab_.types[id] != TokenType::unused) {
      return corrupt("model.vocab",
                     fmt::format("gives id {} to both {} and {}", id, quote(vocab_.pieces[id]), quote(entry.text)));
    }
    vocab_.types[id] = TokenType::normal;
    vocab_.pieces[id] = entry.text;
  }
  texts_.reserve(vocab_.pieces.size(), n_bytes);
  for (std::size_t id = 0; id < vocab_.pieces.size(); ++id) {
    texts_.push_back(vocab_.pieces[id]);
    if (vocab_.types[id] == TokenType::unused) continue;
    if (!texts_.index(static_cast<TokenId>(id))) {
      return corrupt("model.vocab", fmt::format("gives {} both id {} and id {}", quote(vocab_.pieces[id]),
                                                find(vocab_.pieces[id]), id));
    }
  }
  entries_.clear();
  entries_.shrink_to_fit();
  return Ok{};
}

Status Reader::read_merges(ondemand::value value) {
  UNICORN_JSON(ondemand::array array, value.get_array(), "model.merges");
  for (auto item : array) {
    UNICORN_JSON(ondemand::value element, item, "model.merges");
    UNICORN_TRY(read_merge(element));
    if (halves_.size() == 64) UNICORN_TRY(resolve_halves());
  }
  return resolve_halves();
}

// ["left", "right"], or "left right" as older files write it.
Status Reader::read_merge(ondemand::value value) {
  const auto path = [&] { return merge_path(vocab_.merges.size() + halves_.size() / 2); };
  std::string_view parts[2];
  UNICORN_JSON(const ondemand::json_type type, value.type(), path());
  if (type == ondemand::json_type::array) {
    UNICORN_JSON(ondemand::array array, value.get_array(), path());
    std::size_t n_parts = 0;
    for (auto item : array) {
      UNICORN_JSON(ondemand::value part, item, path());
      if (n_parts == 2) return corrupt(path(), "has more than two parts");
      UNICORN_JSON(parts[n_parts], part.get_string(), path());
      ++n_parts;
    }
    if (n_parts != 2) return corrupt(path(), "has fewer than two parts");
  } else {
    UNICORN_JSON(const std::string_view text, value.get_string(), path());
    const std::size_t space = text.find(' ');
    if (space == std::string_view::npos || text.find(' ', space + 1) != std::string_view::npos) {
      return corrupt(path(), fmt::format("is {}, expected two pieces and a space between them", quote(text)));
    }
    parts[0] = text.substr(0, space);
    parts[1] = text.substr(space + 1);
  }
  for (const std::string_view part : parts) {
    halves_.push_back({part, hash_text(part)});
    texts_.prefetch(halves_.back().hash);  // a million look-ups in a table far larger than the cache
  }
  return Ok{};
}

Status Reader::resolve_halves() {
  for (std::size_t i = 0; i < halves_.size(); i += 2) {
    TokenId ids[2];
    for (std::size_t j = 0; j < 2; ++j) {
      ids[j] = texts_.find(halves_[i + j].text, halves_[i + j].hash);
      if (ids[j] >= 0) continue;
      return corrupt(merge_path(vocab_.merges.size()),
                     fmt::format("joins {}, which is not in model.vocab", quote(halves_[i + j].text)));
    }
    vocab_.merges.emplace_back(ids[0], ids[1]);
  }
  halves_.clear();
  return Ok{};
}

std::string type_of(const Json& json) {
  if (json.is_object() && json.contains("type") && json["type"].is_string()) return json["type"].get<std::string>();
  return json.is_null() ? "null" : "of no type";
}

bool is_replace(const Json& json, std::string_view from, std::string_view to) {
  return type_of(json) == "Replace" && json.value("pattern", Json()) == Json{{"String", from}} &&
         json.value("content", Json()) == to;
}

// A "Sequence" of one is that one.
Json unwrap(const Json& json, const char* list) {
  if (type_of(json) == "Sequence" && json.contains(list) && json[list].is_array() && json[list].size() == 1) {
    return json[list][0];
  }
  return json;
}

Status Reader::apply_model() {
  if (type_of(model_) != "BPE")
    return unsupported("model", fmt::format("is {}, only BPE is supported", type_of(model_)));
  const auto flag = [&](const char* name) { return model_.value(name, Json()) == true; };
  const Json dropout = model_.value("dropout", Json());
  if (!dropout.is_null() && dropout != 0) return unsupported("model.dropout", "is set, only null is supported");
  for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const Json value = model_.value(affix, Json());
    if (!value.is_null() && value != "") {  // NOLINT(readability-container-size-empty): no JSON string is empty()
      return unsupported(fmt::format("model.{}", affix),
                         fmt::format("is {}, only null is supported", dump_json(value)));
    }
  }
  if (!flag("byte_fallback")) return unsupported("model.byte_fallback", "is not true, only byte fallback is supported");
  vocab_.ignore_merges = flag("ignore_merges");

  std::size_t n_byte_tokens = 0;
  for (std::size_t id = 0; id < vocab_.pieces.size(); ++id) {
    const std::string& piece = vocab_.pieces[id];
    const auto is_lower = [](char c) { return c >= 'a' && c <= 'f'; };
    if (!byte_of_piece(piece) || is_lower(piece[3]) || is_lower(piece[4])) continue;
    vocab_.types[id] = TokenType::byte;
    ++n_byte_tokens;
  }
  const Json unk = model_.value("unk_token", Json());
  if (unk.is_null()) return Ok{};
  if (!unk.is_string() || find(unk.get<std::string>()) < 0) {
    return corrupt("model.unk_token", fmt::format("is {}, which is not in model.vocab", dump_json(unk)));
  }
  vocab_.unk = find(unk.get<std::string>());
  if (!flag("fuse_unk") && n_byte_tokens < 256) {
    return unsupported("model.fuse_unk", "is not true, which needs all 256 byte tokens");
  }
  return Ok{};
}

Status Reader::check_normalizer() const {
  const Json normalizer = unwrap(settings_.value("normalizer", Json()), "normalizers");
  if (is_replace(normalizer, " ", kSpaceMarker)) return Ok{};
  return unsupported("normalizer",
                     fmt::format("is {}, only Replace of ' ' by U+2581 is supported", type_of(normalizer)));
}

Status Reader::check_pre_tokenizer() const {
  const Json splitter = unwrap(settings_.value("pre_tokenizer", Json()), "pretokenizers");
  // The normaliser leaves no space to split at, whatever the behaviour is.
  const bool inverted = splitter.is_object() && splitter.value("invert", Json()) == true;
  if (type_of(splitter) == "Split" && splitter.value("pattern", Json()) == Json{{"String", " "}} && !inverted)
    return Ok{};
  if (splitter.is_null()) return Ok{};
  return unsupported("pre_tokenizer", fmt::format("is {}, only Split at ' ' is supported", type_of(splitter)));
}

Status Reader::check_decoder() const {
  const Json decoder = settings_.value("decoder", Json());
  const Json steps = type_of(decoder) == "Sequence" ? decoder.value("decoders", Json::array()) : Json::array();
  if (!steps.is_array() || steps.empty()) {
    return unsupported("decoder", fmt::format("is {}, only a Sequence of Replace, ByteFallback and Fuse is supported",
                                              type_of(decoder)));
  }
  for (std::size_t i = 0; i < std::max<std::size_t>(steps.size(), 2); ++i) {
    const Json step = i < steps.size() ? steps[i] : Json();
    const bool expected = (i == 0 && is_replace(step, kSpaceMarker, " ")) ||
                          (i == 1 && type_of(step) == "ByteFallback") || (i == 2 && type_of(step) == "Fuse");
    if (expected) continue;
    return unsupported(
        fmt::format("decoder.decoders[{}]", i),
        fmt::format("is {}, only Replace of U+2581 by ' ', ByteFallback, Fuse is supported", type_of(step)));
  }
  return Ok{};
}

// The one template that is understood: perhaps a special token, then the text.
Status Reader::apply_post_processor() {
  const Json processor = unwrap(settings_.value("post_processor", Json()), "processors");
  vocab_.add_bos = false;
  if (processor.is_null()) return Ok{};
  if (type_of(processor) != "TemplateProcessing") {
    return unsupported("post_processor",
                       fmt::format("is {}, only TemplateProcessing is supported", type_of(processor)));
  }
  const Json single = processor.value("single", Json());
  const auto is = [&](std::size_t i, const char* kind) {
    return single.is_array() && i < single.size() && single[i].is_object() && single[i].contains(kind) &&
           single[i][kind].is_object() && single[i][kind].value("id", Json()).is_string();
  };
  const bool has_bos = is(0, "SpecialToken");
  if (!is(has_bos ? 1 : 0, "Sequence") || single.size() != (has_bos ? 2u : 1u)) {
    return unsupported("post_processor.single", "is not [SpecialToken, Sequence] or [Sequence]");
  }
  if (!has_bos) return Ok{};
  const auto name = single[0]["SpecialToken"]["id"].get<std::string>();
  const Json tokens = processor.value("special_tokens", Json());
  const Json ids = tokens.is_object() && tokens.contains(name) && tokens[name].is_object()
                       ? tokens[name].value("ids", Json())
                       : Json();
  if (!ids.is_array() || ids.size() != 1 || !ids[0].is_number_unsigned() ||
      ids[0] >= vocab_.pieces.size() + vocab_.added.size()) {
    return corrupt("post_processor.special_tokens", fmt::format("has no single id for {}", quote(name)));
  }
  vocab_.bos = ids[0].get<TokenId>();
  vocab_.add_bos = true;
  return Ok{};
}

#undef UNICORN_JSON
#undef UNICORN_JSON_INNER

}  // namespace

Result<Vocab> vocab_from_tokenizer_json(std::string_view json, std::string_view what) {
  return Reader(what).read(json);
}

}  // namespace unicorn
