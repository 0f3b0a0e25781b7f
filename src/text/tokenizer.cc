#include "text/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/pieces.h"
#include "text/quote.h"
#include "text/utf8.h"

namespace unicorn {
namespace {

// Far above any real vocabulary; below what a hostile file could use to fill the memory or take quadratic time.
constexpr std::size_t kMaxPieces = std::size_t{1} << 22;
constexpr std::size_t kMaxPieceBytes = 1024;

// Appends `text` with every U+2581 as a space.
void append_with_spaces(std::string_view text, std::string& out) {
  for (std::size_t at = 0;;) {
    const std::size_t marker = text.find(kSpaceMarker, at);
    out.append(text.substr(at, marker - at));
    if (marker == std::string_view::npos) return;
    out += ' ';
    at = marker + kSpaceMarker.size();
  }
}

std::string with_spaces(std::string_view text) {
  std::string out;
  append_with_spaces(text, out);
  return out;
}

Error corrupt(std::string_view what, std::string message) {
  return {ErrorCode::corrupt_file, fmt::format("{}: {}", what, message)};
}

// Brings every list to one entry per id and makes types, pieces and added tokens agree.
Status complete(Vocab& vocab, std::string_view what) {
  if (vocab.types.empty()) {
    for (const std::string& piece : vocab.pieces) {
      vocab.types.push_back(byte_of_piece(piece) ? TokenType::byte : TokenType::normal);
    }
  }
  const std::size_t n_listed = vocab.pieces.size();
  if (vocab.types.size() != n_listed) {
    return corrupt(what, fmt::format("{} token types, expected {}, one per piece", vocab.types.size(), n_listed));
  }
  if (!vocab.scores.empty() && vocab.scores.size() != n_listed) {
    return corrupt(what, fmt::format("{} token scores, expected {}, one per piece", vocab.scores.size(), n_listed));
  }
  const std::size_t max_ids = std::min(kMaxPieces, n_listed + vocab.added.size() + (std::size_t{1} << 16));
  if (n_listed > kMaxPieces) {
    return corrupt(what, fmt::format("{} pieces, at most {} are supported", n_listed, kMaxPieces));
  }
  for (std::size_t i = 0; i < vocab.added.size(); ++i) {
    const Vocab::Added& added = vocab.added[i];
    if (added.id < 0 || static_cast<std::size_t>(added.id) >= max_ids) {
      return corrupt(
          what, fmt::format("added token {} has id {}, expected 0 … {}", quote(added.text), added.id, max_ids - 1));
    }
    const auto id = static_cast<std::size_t>(added.id);
    if (id >= vocab.pieces.size()) {
      vocab.pieces.resize(id + 1);
      vocab.types.resize(id + 1, TokenType::unused);
    }
    std::string& piece = vocab.pieces[id];
    if (piece.empty()) piece = added.text;
    if (piece != added.text) {
      return corrupt(
          what, fmt::format("added token {} has id {}, which is the piece {}", quote(added.text), id, quote(piece)));
    }
    TokenType& type = vocab.types[id];
    if (!added.special) {
      if (type != TokenType::byte) type = TokenType::user_defined;
    } else if (type != TokenType::unknown) {
      type = TokenType::control;
    }
  }
  if (!vocab.scores.empty()) vocab.scores.resize(vocab.pieces.size(), 0.0f);

  std::size_t n_bytes = 0;
  for (std::size_t id = 0; id < vocab.pieces.size(); ++id) {
    const std::string& piece = vocab.pieces[id];
    if (piece.size() > kMaxPieceBytes) {
      return corrupt(
          what, fmt::format("piece {} is {} bytes long, at most {} are supported", id, piece.size(), kMaxPieceBytes));
    }
    if (!is_utf8(piece)) return corrupt(what, fmt::format("piece {} ({}) is not UTF-8", id, quote(piece)));
    if (vocab.types[id] == TokenType::byte && !byte_of_piece(piece)) {
      return corrupt(what, fmt::format("piece {} ({}) has type byte, expected '<0x00>' … '<0xFF>'", id, quote(piece)));
    }
    n_bytes += piece.size();
  }
  if (n_bytes > TextTable::kMaxBytes) {
    return corrupt(what, fmt::format("{} bytes of pieces, at most {} are supported", n_bytes, TextTable::kMaxBytes));
  }
  const auto n_pieces = static_cast<TokenId>(vocab.pieces.size());
  for (const auto& [name, id] :
       {std::pair{"bos", vocab.bos}, {"eos", vocab.eos}, {"unk", vocab.unk}, {"pad", vocab.pad}}) {
    if (id < -1 || id >= n_pieces) {
      return corrupt(what, fmt::format("{} has id {}, expected an id below {}", name, id, n_pieces));
    }
  }
  return Ok{};
}

}  // namespace

struct Tokenizer::Impl {
  Impl(Vocab v, Bpe b) : vocab(std::move(v)), bpe(std::move(b)) {}

  // Where the next token of a text starts and ends is decided in three passes: added tokens in the raw text, then those
  // that are matched with spaces normalised, then BPE on what is left.
  void encode_raw(std::string_view text, bool parse_special, std::vector<TokenId>& ids) const;
  void encode_normalized(std::string_view text, bool parse_special, BpeScratch& scratch,
                         std::vector<TokenId>& ids) const;

  Vocab vocab;
  Bpe bpe;  // its texts are the pieces with every U+2581 as a space, which is also what they decode to
  AddedTokenMatcher raw_added, normalized_added;
  std::vector<std::int16_t> bytes;  // by id: what a byte token stands for, or -1
  std::unordered_map<std::string_view, TokenId> not_indexed;  // pieces that bpe.texts() cannot find
};

Result<Tokenizer> Tokenizer::create(Vocab vocab, std::string_view what) {
  UNICORN_TRY(complete(vocab, what));
  const std::size_t n_pieces = vocab.pieces.size();

  std::vector<bool> listed(n_pieces);  // in vocab.added
  for (const Vocab::Added& added : vocab.added) listed[static_cast<std::size_t>(added.id)] = true;

  TextTable texts;
  std::size_t n_bytes = 0;
  for (const std::string& piece : vocab.pieces) n_bytes += piece.size();
  texts.reserve(n_pieces, n_bytes);
  std::vector<PieceUse> uses(n_pieces, PieceUse::none);
  Bpe::Config config;
  config.bytes.fill(-1);
  config.unk = vocab.unk;
  config.ignore_merges = vocab.ignore_merges;
  std::vector<std::int16_t> bytes(n_pieces, -1);
  std::string text;
  const auto is_space_run = [&](std::size_t id) {
    return vocab.types[id] == TokenType::user_defined && !listed[id] &&
           vocab.pieces[id].find_first_not_of(' ') == std::string::npos;
  };
  for (std::size_t id = 0; id < n_pieces; ++id) {
    const std::string& piece = vocab.pieces[id];
    text.clear();
    append_with_spaces(piece, text);
    texts.push_back(text);
    if (const auto byte = byte_of_piece(piece)) {
      bytes[id] = *byte;
      if (vocab.types[id] == TokenType::byte) {
        TokenId& slot = config.bytes[*byte];
        if (slot >= 0) return corrupt(what, fmt::format("pieces {} and {} are both byte {}", slot, id, quote(piece)));
        slot = static_cast<TokenId>(id);
      }
    }
    const bool has_space = piece.find(' ') != std::string::npos;  // which normalised text never has
    if (piece.empty() || (has_space && !is_space_run(id))) continue;
    switch (vocab.types[id]) {
      case TokenType::normal:
      case TokenType::unused:
        uses[id] = PieceUse::merged;
        break;
      case TokenType::user_defined:
        uses[id] = PieceUse::preferred;
        break;
      case TokenType::unknown:
      case TokenType::control:
      case TokenType::byte:
        break;
    }
  }
  // Two pieces may have one text (GGUF files pad their vocabularies): one that text can become goes first.
  std::vector<bool> indexed(n_pieces);
  for (const bool usable : {true, false}) {
    for (std::size_t id = 0; id < n_pieces; ++id) {
      const std::string& piece = vocab.pieces[id];
      if (piece.empty() || (uses[id] != PieceUse::none) != usable) continue;
      if (!usable && piece.find(' ') != std::string::npos) continue;
      indexed[id] = texts.index(static_cast<TokenId>(id));
      if (!indexed[id]) uses[id] = PieceUse::none;
    }
  }

  std::vector<Merge> merges;
  if (vocab.merges.empty()) {
    merges = rebuild_merges(vocab.scores, texts, uses);
  } else {
    UNICORN_ASSIGN(merges, resolve_merges(vocab.merges, texts, uses, what));
  }
  auto impl = std::make_unique<Impl>(std::move(vocab), Bpe(config, std::move(texts), std::move(uses), merges));
  impl->bytes = std::move(bytes);
  for (std::size_t id = 0; id < n_pieces; ++id) {
    const std::string& piece = impl->vocab.pieces[id];
    if (!indexed[id] && !piece.empty()) impl->not_indexed.emplace(piece, static_cast<TokenId>(id));
  }

  std::vector<std::string> patterns;  // alive until the matchers are built
  patterns.reserve(impl->vocab.added.size() + n_pieces);
  for (const Vocab::Added& added : impl->vocab.added) {
    patterns.push_back(added.normalized ? with_spaces(added.text) : added.text);
    // Listed twice, once as special: it is, wherever it is met.
    const bool special = added.special || impl->vocab.types[static_cast<std::size_t>(added.id)] == TokenType::control;
    (added.normalized ? impl->normalized_added : impl->raw_added).add(patterns.back(), added.id, special);
  }
  for (std::size_t id = 0; id < n_pieces; ++id) {
    const TokenType type = impl->vocab.types[id];
    const bool special = type == TokenType::control || type == TokenType::unknown;
    if (listed[id] || !(special || type == TokenType::user_defined)) continue;
    std::string pattern = impl->vocab.pieces[id];
    if (type == TokenType::user_defined && pattern.find_first_not_of(' ') == std::string::npos) {
      const std::size_t n_spaces = pattern.size();
      pattern.clear();
      for (std::size_t i = 0; i < n_spaces; ++i) pattern += kSpaceMarker;
    }
    patterns.push_back(std::move(pattern));
    impl->raw_added.add(patterns.back(), static_cast<TokenId>(id), special);
  }
  impl->raw_added.finish();
  impl->normalized_added.finish();
  return Tokenizer(std::move(impl));
}

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

std::vector<TokenId> Tokenizer::encode(std::string_view text, EncodeOptions options) const {
  std::vector<TokenId> ids;
  ids.reserve(text.size() / 3 + 8);
  if (options.add_bos && impl_->vocab.add_bos && impl_->vocab.bos >= 0) ids.push_back(impl_->vocab.bos);
  impl_->encode_raw(text, options.parse_special, ids);
  return ids;
}

void Tokenizer::Impl::encode_raw(std::string_view text, bool parse_special, std::vector<TokenId>& ids) const {
  BpeScratch scratch(text.size());
  // The few texts that write U+2581 themselves are copied with spaces instead. Reserved once, so that what the scratch
  // remembers stays in place.
  const bool has_marker = text.find(kSpaceMarker) != std::string_view::npos;
  std::string copies;
  if (has_marker) copies.reserve(text.size());

  for (std::size_t at = 0; at < text.size();) {
    const AddedTokenMatcher::Match match = raw_added.next(text, at, parse_special);
    std::string_view fragment = text.substr(at, match.begin - at);
    if (has_marker) {
      const std::size_t begin = copies.size();
      append_with_spaces(fragment, copies);
      fragment = std::string_view(copies).substr(begin);
    }
    encode_normalized(fragment, parse_special, scratch, ids);
    if (match.id >= 0) ids.push_back(match.id);
    at = match.end;
  }
}

void Tokenizer::Impl::encode_normalized(std::string_view text, bool parse_special, BpeScratch& scratch,
                                        std::vector<TokenId>& ids) const {
  if (normalized_added.empty()) return bpe.encode(text, scratch, ids);
  for (std::size_t at = 0; at < text.size();) {
    const AddedTokenMatcher::Match match = normalized_added.next(text, at, parse_special);
    bpe.encode(text.substr(at, match.begin - at), scratch, ids);
    if (match.id >= 0) ids.push_back(match.id);
    at = match.end;
  }
}

std::string Tokenizer::decode(std::span<const TokenId> ids, bool skip_special) const {
  std::string text, run;  // run: the byte tokens since the last other token
  text.reserve(4 * ids.size());
  const auto flush = [&] {
    if (is_utf8(run)) {
      text += run;
    } else {
      for (std::size_t i = 0; i < run.size(); ++i) text += kReplacementCharacter;
    }
    run.clear();
  };
  for (const TokenId id : ids) {
    if (id < 0 || static_cast<std::size_t>(id) >= size() || (skip_special && is_control(id))) continue;
    const std::int16_t byte = impl_->bytes[static_cast<std::size_t>(id)];
    if (byte >= 0) {
      run += static_cast<char>(byte);
      continue;
    }
    flush();
    text += impl_->bpe.texts()[id];
  }
  flush();
  return text;
}

std::size_t Tokenizer::size() const { return impl_->vocab.pieces.size(); }

std::string_view Tokenizer::piece(TokenId id) const {
  if (id < 0 || static_cast<std::size_t>(id) >= size()) return {};
  return impl_->vocab.pieces[static_cast<std::size_t>(id)];
}

std::string Tokenizer::piece_bytes(TokenId id) const {
  if (id < 0 || static_cast<std::size_t>(id) >= size()) return {};
  if (const auto value = byte(id)) return std::string(1, static_cast<char>(*value));
  return std::string(impl_->bpe.texts()[id]);
}

std::optional<std::uint8_t> Tokenizer::byte(TokenId id) const {
  if (id < 0 || static_cast<std::size_t>(id) >= size()) return std::nullopt;
  const std::int16_t value = impl_->bytes[static_cast<std::size_t>(id)];
  if (value < 0) return std::nullopt;
  return static_cast<std::uint8_t>(value);
}

bool Tokenizer::is_control(TokenId id) const {
  if (id < 0 || static_cast<std::size_t>(id) >= size()) return false;
  const TokenType type = impl_->vocab.types[static_cast<std::size_t>(id)];
  return type == TokenType::control || type == TokenType::unknown;
}

std::optional<TokenId> Tokenizer::find(std::string_view piece) const {
  const TokenId id = impl_->bpe.texts().find(with_spaces(piece));
  if (id >= 0 && this->piece(id) == piece) return id;
  const auto other = impl_->not_indexed.find(piece);
  if (other == impl_->not_indexed.end()) return std::nullopt;
  return other->second;
}

const Vocab& Tokenizer::vocab() const { return impl_->vocab; }

}  // namespace unicorn
