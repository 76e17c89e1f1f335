// A wav to a sentence in C++ with LiteRT's C API, that of libLiteRt.so in the package ai-edge-litert.
//
//     caption_litert BUNDLE SOUND.wav [--tokens]      one line for each ten seconds
#include "litert.hpp"

struct LiteRtModel : Model {
  static constexpr auto NAME = "litert";
  LiteRtModel(const Json& manifest, const std::map<std::string, std::string>& files) {
    Handle environment = nullptr, model = nullptr, options = nullptr, compiled = nullptr;  // until the program ends
    check(LiteRtCreateEnvironment(0, nullptr, &environment), "start");
    check(LiteRtCreateModelFromFile(environment, files.at("program").c_str(), &model), "read the program");
    check(LiteRtCreateOptions(&options), "create options");
    check(LiteRtSetOptionsHardwareAccelerators(options, CPU), "choose the processor");
    check(LiteRtCreateCompiledModel(environment, model, options, &compiled), "compile the program");
    encode_ = std::make_unique<Signature>(environment, model, compiled, "encode");
    decode_ = std::make_unique<Signature>(environment, model, compiled, "decode");
    const Json& decoder = manifest["decoder"];
    layers_ = decoder["layers"];
    const size_t heads = decoder["heads"], width = decoder["head_dim"], steps = decoder["max_tokens"];
    row_ = heads * steps * width;
    for (Floats* cache : {&keys_, &values_, &ordered_}) cache->resize(layers_ * beams_of(decoder) * row_);
    memory_.resize(layers_ * heads * size_t(manifest["encoder"]["memory_frames"]) * width);
    log_probs_.resize(beams_of(decoder) * size_t(manifest["vocabulary"]["size"]));
    beams_ = {beams_of(decoder)}, best_.resize(steps);
  }

  void encode(Floats log_mel, int64_t memory_length) override {
    encode_->write("log_mel", log_mel);
    for (Signature* graph : {encode_.get(), decode_.get()}) write_integers(*graph, "memory_length", {memory_length});
    encode_->run();
    for (const char* name : {"cross_keys", "cross_values"}) {
      encode_->read(name, memory_);
      decode_->write(name, memory_);
    }
    for (Floats* cache : {&keys_, &values_}) std::fill(cache->begin(), cache->end(), 0);
  }

  const float* decode(const Integers& tokens, int64_t position, const Integers& parents) override {
    write_integers(*decode_, "tokens", tokens);
    write_integers(*decode_, "position", {position});
    for (auto [name, cache] : {std::pair("self_keys", &keys_), std::pair("self_values", &values_)}) {
      reorder(cache->data(), ordered_.data(), layers_, parents, row_);
      decode_->write(name, ordered_);
    }
    decode_->run();
    decode_->read("new_self_keys", keys_);
    decode_->read("new_self_values", values_);
    decode_->read("log_probs", log_probs_);
    return log_probs_.data();
  }

  Integers search(int64_t end) override {
    write_integers(*decode_, "beams", beams_);
    decode_->run();
    decode_->read("tokens", best_);  // the first row
    const auto last = std::find(best_.begin(), best_.end(), end);
    return {best_.begin(), last + (last != best_.end())};
  }

 private:
  static void write_integers(Signature& graph, const char* name, const Integers& numbers) {
    std::vector<int32_t> narrow(numbers.begin(), numbers.end());  // where other runtimes have int64
    graph.write(name, narrow);
  }

  std::unique_ptr<Signature> encode_, decode_;
  Floats keys_, values_, ordered_, memory_, log_probs_;
  Integers beams_;
  std::vector<int32_t> best_;
  size_t layers_, row_;
};

int main(int argc, char** argv) { return caption_main<LiteRtModel>(argc, argv); }
