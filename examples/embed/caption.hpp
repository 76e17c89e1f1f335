// The program around a runtime: a wav, beam search, and the sentence of its tokens, as in edgecap's BUNDLE.md.
#pragma once
#include <cstring>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>

#include "frontend.hpp"

using Integers = std::vector<int64_t>;

// Mono samples in [-1, 1] of a wav with 16 bits and the model's rate.
inline Floats read_wav(const std::string& path, uint32_t rate) {
  std::ifstream file(path, std::ios::binary);
  const std::string bytes(std::istreambuf_iterator<char>(file), {});
  const auto number = [&](size_t at, size_t size) {
    uint32_t value = 0;
    if (at + size <= bytes.size()) std::memcpy(&value, &bytes[at], size);
    return value;
  };
  Floats samples;
  size_t channels = 0, length = 0;
  for (size_t at = 12; at + 8 <= bytes.size(); at += 8 + length + length % 2) {
    const auto name = bytes.substr(at, 4);
    length = number(at + 4, 4);
    if (name == "fmt " && number(at + 12, 4) == rate && number(at + 22, 2) == 16) channels = number(at + 10, 2);
    if (name != "data" || !channels) continue;
    std::vector<int16_t> integers((std::min(bytes.size(), at + 8 + length) - at - 8) / 2);
    std::memcpy(integers.data(), &bytes[at + 8], 2 * integers.size());
    samples.resize(integers.size() / channels);
    for (size_t i = 0; i < samples.size() * channels; i++) samples[i / channels] += integers[i] / 32768.0f / channels;
  }
  if (samples.empty()) {
    throw std::runtime_error(path + " has no samples of 16 bits at " + std::to_string(rate) + " Hz; type: ffmpeg -i " +
                             path + " -ar " + std::to_string(rate) + " -c:a pcm_s16le other.wav");
  }
  return samples;
}

// The two graphs of a bundle in a runtime; caption_onnx.cpp and caption_litert.cpp have one each.
struct Model {
  virtual ~Model() = default;
  // Run `encode` and begin a caption with empty caches.
  virtual void encode(Floats log_mel, int64_t memory_length) = 0;
  // Run `decode`: the log-probabilities (beams, words) of what follows `tokens`. Row i continues row parents[i].
  virtual const float* decode(const Integers& tokens, int64_t position, const Integers& parents) = 0;
  virtual Integers search(int64_t) { throw std::runtime_error("no search in the graph"); }  // `search` is "in-graph"
};

// The rows of a cache (layers, beams, `row`) in the order of `parents`.
inline void reorder(const float* from, float* to, int layers, const Integers& parents, size_t row) {
  for (int layer = 0; layer < layers; layer++) {
    for (const int64_t parent : parents) to = std::copy_n(from + (layer * parents.size() + parent) * row, row, to);
  }
}

inline int beams_of(const Json& decoder) { return decoder["beams"] == 0 ? decoder["default_beam"] : decoder["beams"]; }

// The tokens of the best caption of what was encoded.
inline Integers beam_search(Model& model, const Json& manifest) {
  const int beams = beams_of(manifest["decoder"]), steps = manifest["decoder"]["max_tokens"];
  const int words = manifest["vocabulary"]["size"], end = manifest["vocabulary"]["end"];
  Integers tokens(beams, manifest["vocabulary"]["start"]), parents(beams), best;
  if (manifest["decoder"].value("search", "outside") == "in-graph") return model.search(end);
  Floats sums(beams), totals;
  std::vector<Integers> captions(beams);
  std::vector<bool> alive(beams, true);
  double best_score = -INFINITY;
  for (int position = 0, ended = 0; position < steps; position++) {
    const float* log_probs = model.decode(tokens, position, parents);
    totals.assign(log_probs, log_probs + words * (position ? beams : 1));  // at first all beams are alike
    for (size_t i = 0; i < totals.size(); i++) totals[i] += sums[i / words];
    const auto [before, alive_before] = std::pair(captions, alive);
    for (int beam = 0; beam < beams; beam++) {
      const auto highest = std::max_element(totals.begin(), totals.end());
      parents[beam] = (highest - totals.begin()) / words;
      tokens[beam] = (highest - totals.begin()) % words;
      sums[beam] = *highest;
      *highest = -INFINITY;
      alive[beam] = alive_before[parents[beam]];
      captions[beam] = before[parents[beam]];
      captions[beam].push_back(tokens[beam]);
      if (tokens[beam] != end && position + 1 < steps) continue;
      ended++;
      const double score = double(sums[beam]) / (position + 1);
      if (alive[beam] && score > best_score) best = captions[beam], best_score = score;
      alive[beam] = false, sums[beam] = -1000;  // out of the competition
    }
    if (ended == beams || std::find(alive.begin(), alive.end(), true) == alive.end()) break;
  }
  return best;
}

// Words to text: "man 's" is "man's", and no space stands before a comma.
inline std::string sentence(const Integers& tokens, const Json& words, const Json& special) {
  static const std::set<std::string> to_the_left{"'s", "'", "n't", "'re", "'ve", "'ll", "'d", "'m",
                                                 ",",  ".", ";",   ":",   "!",   "?",   "%",  ")"};
  static const std::set<std::string> to_the_right{"(", "$", "#"};
  std::string text, word;
  bool glue = true;
  for (const int64_t token : tokens) {
    if (token <= special["unk"]) continue;  // pad, start, end, unk
    word = words[token];
    word = word == "-lrb-" ? "(" : word == "-rrb-" ? ")" : word;
    text += (glue || to_the_left.count(word) ? "" : " ") + word;
    glue = to_the_right.count(word);
  }
  return text;
}

// Caption a wav, ten seconds at a time: the arguments are BUNDLE SOUND.wav [--tokens].
template <typename Runtime>
int caption_main(int argc, char** argv) try {
  if (argc < 3) throw std::runtime_error("usage: " + std::string(argv[0]) + " BUNDLE SOUND.wav [--tokens]");
  const std::string bundle = std::string(argv[1]) + "/";
  const Json manifest = Json::parse(std::ifstream(bundle + "manifest.json"), nullptr, false);
  const bool fits = manifest.is_object() && manifest["runtime"] == Runtime::NAME;
  if (!fits) throw std::runtime_error(bundle + " holds no bundle for the runtime " + Runtime::NAME);
  const Json &encoder = manifest["encoder"], &f = manifest["front_end"];
  std::map<std::string, std::string> files;  // by role
  for (const Json& file : manifest["files"]) files[file["role"]] = bundle + std::string(file["name"]);
  const Json words = Json::parse(std::ifstream(files["vocabulary"]));
  Runtime model(manifest, files);
  const int rate = f["sample_rate"], hop = f["hop_length"], window = (int(encoder["window_frames"]) - 1) * hop;
  const int per_memory = encoder["frames_per_memory"];
  const size_t shortest = std::max((per_memory - 1) * hop, int(f["n_fft"]) / 2 + 1);
  const Floats samples = read_wav(argv[2], rate);
  const int size = samples.size();
  for (int start = 0; start < std::max(1, size - rate + 1); start += window) {  // less than a second is left out
    Floats clip(samples.begin() + start, samples.begin() + std::min(size, start + window));
    if (level(clip, rate) < manifest["silence"]["threshold_dbfs"]) {
      std::cout << std::string(manifest["silence"]["caption"]) << "\n";
      continue;
    }
    clip.resize(std::max(clip.size(), shortest));
    const int length = std::clamp((int(clip.size()) / hop + 1) / per_memory, 1, int(encoder["memory_frames"]));
    model.encode(log_mel(clip, f, encoder["window_frames"]), length);
    const Integers tokens = beam_search(model, manifest);
    if (argc == 3) std::cout << sentence(tokens, words, manifest["vocabulary"]);
    for (size_t i = 0; argc > 3 && i < tokens.size(); i++) std::cout << (i ? " " : "") << tokens[i];
    std::cout << "\n";
  }
  return 0;
} catch (const std::exception& error) {
  std::cerr << error.what() << "\n";
  return 1;
}
