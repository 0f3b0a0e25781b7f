#include "text/bpe.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <string>

#include "text/utf8.h"

namespace unicorn {
namespace {

struct Model {
  std::vector<std::string> pieces;
  std::array<TokenId, 256> bytes{};
  TokenId unk = -1;
  std::vector<Merge> merges;
};

// Hugging Face's BPE::merge_word, word for word and without any of our short cuts.
std::vector<TokenId> plain_bpe(const Model& model, std::string_view text) {
  std::map<std::string_view, TokenId> ids;
  for (std::size_t i = 0; i < model.pieces.size(); ++i) ids.emplace(model.pieces[i], static_cast<TokenId>(i));
  std::vector<TokenId> symbols;
  bool unk = false;
  while (!text.empty()) {
    const std::string_view c = text.substr(0, first_code_point(text).n_bytes);
    text.remove_prefix(c.size());
    if (const auto known = ids.find(c); known != ids.end()) {
      if (unk) symbols.push_back(model.unk);
      unk = false;
      symbols.push_back(known->second);
      continue;
    }
    std::vector<TokenId> bytes;
    for (const char b : c) bytes.push_back(model.bytes[static_cast<unsigned char>(b)]);
    if (std::count(bytes.begin(), bytes.end(), -1) == 0) {
      symbols.insert(symbols.end(), bytes.begin(), bytes.end());
    } else if (model.unk >= 0) {
      unk = true;
    }
  }
  if (unk) symbols.push_back(model.unk);

  std::map<std::pair<TokenId, TokenId>, std::pair<std::size_t, TokenId>> ranks;
  for (std::size_t i = 0; i < model.merges.size(); ++i) {
    ranks[{model.merges[i].left, model.merges[i].right}] = {i, model.merges[i].merged};
  }
  for (;;) {
    std::size_t best = symbols.size(), best_rank = 0;
    TokenId merged = -1;
    for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
      const auto rank = ranks.find({symbols[i], symbols[i + 1]});
      if (rank == ranks.end() || (best < symbols.size() && rank->second.first >= best_rank)) continue;
      best = i;
      best_rank = rank->second.first;
      merged = rank->second.second;
    }
    if (best == symbols.size()) return symbols;
    symbols[best] = merged;
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
}

const std::vector<std::string> kAlphabet = {" ", "a", "b", "c", "\xC3\xA9", "\xE6\x97\xA5", "\xF0\x9F\x99\x82"};

// A vocabulary grown by joining pieces at random, as training would; which of its merges are listed, in which order and
// how often is random too.
Model random_model(std::mt19937& random, bool all_bytes) {
  Model model;
  model.pieces = {"<unk>"};
  model.unk = random() % 4 == 0 ? -1 : 0;
  model.bytes.fill(-1);
  for (int b = 0; b < 256; ++b) {
    if (!all_bytes && random() % 3 == 0) continue;
    model.bytes[static_cast<std::size_t>(b)] = static_cast<TokenId>(model.pieces.size());
    model.pieces.push_back("<byte " + std::to_string(b) + ">");
  }
  const std::size_t first = model.pieces.size();
  std::set<std::string> known;
  for (const std::string& c : kAlphabet) {
    if (random() % 6 == 0) continue;
    model.pieces.push_back(c);
    known.insert(c);
  }
  for (int i = 0; i < 40 && model.pieces.size() > first; ++i) {
    const auto any = [&] { return model.pieces[first + random() % (model.pieces.size() - first)]; };
    const std::string joined = any() + any();
    if (joined.size() < 24 && known.insert(joined).second) model.pieces.push_back(joined);
  }
  for (std::size_t l = first; l < model.pieces.size(); ++l) {
    for (std::size_t r = first; r < model.pieces.size(); ++r) {
      const auto joined = std::find(model.pieces.begin(), model.pieces.end(), model.pieces[l] + model.pieces[r]);
      if (joined == model.pieces.end() || random() % 5 == 0) continue;
      const Merge merge{static_cast<TokenId>(l), static_cast<TokenId>(r),
                        static_cast<TokenId>(joined - model.pieces.begin())};
      for (unsigned n = random() % 8 == 0 ? 2 : 1; n > 0; --n) model.merges.push_back(merge);
    }
  }
  std::shuffle(model.merges.begin(), model.merges.end(), random);
  return model;
}

Bpe bpe_of(const Model& model) {
  TextTable texts;
  std::size_t n_bytes = 0;
  for (const std::string& piece : model.pieces) n_bytes += piece.size();
  texts.reserve(model.pieces.size(), n_bytes);
  std::vector<PieceUse> uses(model.pieces.size(), PieceUse::merged);
  for (const TokenId id : model.bytes) {
    if (id >= 0) uses[static_cast<std::size_t>(id)] = PieceUse::none;
  }
  uses[0] = PieceUse::none;
  for (std::size_t id = 0; id < model.pieces.size(); ++id) {
    texts.push_back(model.pieces[id]);
    texts.index(static_cast<TokenId>(id));
  }
  Bpe::Config config;
  config.bytes = model.bytes;
  config.unk = model.unk;
  return Bpe(config, std::move(texts), std::move(uses), model.merges);
}

std::vector<TokenId> encode(const Bpe& bpe, const std::string& text) {
  BpeScratch scratch(text.size());
  std::vector<TokenId> ids{-7};  // what other fragments left there
  bpe.encode(text, scratch, ids);
  EXPECT_EQ(ids[0], -7);
  ids.erase(ids.begin());
  return ids;
}

TEST(Bpe, WordsAndCachesGiveWhatPlainMergingGives) {
  std::mt19937 random(1);
  for (int round = 0; round < 250; ++round) {
    const Model model = random_model(random, round % 2 == 0);
    const Bpe bpe = bpe_of(model);
    for (int i = 0; i < 20; ++i) {
      std::string text;
      const std::size_t n = i == 0 ? 400 : random() % 60;  // long enough for the word cache, and for the heap
      for (std::size_t k = 0; k < n; ++k) text += random() % 50 == 0 ? "?" : kAlphabet[random() % kAlphabet.size()];
      ASSERT_EQ(encode(bpe, text), plain_bpe(model, text)) << "round " << round << ", text " << text;
    }
  }
}

TEST(Bpe, OneLongWordTakesTheHeapAndStaysFast) {
  Model model;
  model.pieces = {"<unk>", "a"};
  model.unk = 0;
  model.bytes.fill(-1);
  for (TokenId id = 1; id < 6; ++id) {  // a, aa, aaaa …
    model.merges.push_back({id, id, id + 1});
    model.pieces.push_back(model.pieces.back() + model.pieces.back());
  }
  const Bpe bpe = bpe_of(model);
  std::vector<TokenId> want(1'000'000 / 32, 6);
  EXPECT_EQ(encode(bpe, std::string(1'000'000, 'a')), want);
  for (std::size_t n : {95u, 96u, 97u, 98u, 191u, 193u}) {  // around where the heap takes over
    EXPECT_EQ(encode(bpe, std::string(n, 'a')), plain_bpe(model, std::string(n, 'a'))) << n;
  }
}

TEST(Bpe, InvalidUtf8BecomesByteTokensOrTheReplacementCharacter) {
  std::mt19937 random(2);
  Model model = random_model(random, true);
  const auto byte = [&](int b) { return model.bytes[static_cast<std::size_t>(b)]; };
  EXPECT_EQ(encode(bpe_of(model), "\xFF\xC3?\xED\xA0\x80"),
            (std::vector<TokenId>{byte(0xFF), byte(0xC3), byte('?'), byte(0xED), byte(0xA0), byte(0x80)}));
  model.bytes.fill(-1);
  model.unk = 0;
  EXPECT_EQ(encode(bpe_of(model), "\xFF\xFF"), std::vector<TokenId>{0});
  model.pieces.push_back("\xEF\xBF\xBD");
  const auto replacement = static_cast<TokenId>(model.pieces.size() - 1);
  EXPECT_EQ(encode(bpe_of(model), "\xFF\xFF"), (std::vector<TokenId>{replacement, replacement}));
}

}  // namespace
}  // namespace unicorn
