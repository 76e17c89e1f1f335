// A wav to a sentence in C++ with ONNX Runtime.
//
//     caption_onnx BUNDLE SOUND.wav [--tokens]      one line for each ten seconds
#include <onnxruntime_cxx_api.h>

#include "caption.hpp"

struct OnnxModel : Model {
  static constexpr auto NAME = "onnx";

  OnnxModel(const Json& manifest, const std::map<std::string, std::string>& files)
      : encode_(environment_, files.at("encode").c_str(), one_thread()),
        decode_(environment_, files.at("decode").c_str(), one_thread()),
        log_mel_shape_{1, manifest["front_end"]["n_mels"], manifest["encoder"]["window_frames"]} {
    const Json& decoder = manifest["decoder"];
    const int64_t layers = decoder["layers"], heads = decoder["heads"], steps = decoder["max_tokens"];
    const int64_t width = decoder["head_dim"], beams = beams_of(decoder), frames = manifest["encoder"]["memory_frames"];
    beams_[0] = beams;
    memory_shape_ = {1, layers, heads, frames, width};
    tokens_.resize(beams);
    keys_.resize(layers * beams * heads * steps * width);
    values_.resize(keys_.size());
    inputs_.push_back(tensor(tokens_, {beams}));
    inputs_.push_back(tensor(position_, {1}));
    inputs_.push_back(tensor(memory_length_, {1}));
    inputs_.push_back(tensor(keys_, {layers, beams, heads, steps, width}));
    inputs_.push_back(tensor(values_, {layers, beams, heads, steps, width}));
    inputs_.resize(7);
    layers_ = layers;
    row_ = heads * steps * width;
  }

  void encode(Floats log_mel, int64_t memory_length) override {
    memory_length_[0] = memory_length;
    const Ort::Value inputs[] = {tensor(log_mel, log_mel_shape_), tensor(memory_length_, {1})};
    static const char* const in[] = {"log_mel", "memory_length"};
    static const char* const out[] = {"cross_keys", "cross_values"};
    auto memory = encode_.Run({}, in, inputs, 2, out, 2);
    inputs_[5] = std::move(memory[0]);
    inputs_[6] = std::move(memory[1]);
    std::fill(keys_.begin(), keys_.end(), 0);
    std::fill(values_.begin(), values_.end(), 0);
  }

  const float* decode(const Integers& tokens, int64_t position, const Integers& parents) override {
    if (position) {
      reorder(outputs_[1].GetTensorData<float>(), keys_.data(), layers_, parents, row_);
      reorder(outputs_[2].GetTensorData<float>(), values_.data(), layers_, parents, row_);
    }
    tokens_.assign(tokens.begin(), tokens.end());
    position_[0] = position;
    static const char* const in[] = {"tokens",      "position",   "memory_length", "self_keys",
                                     "self_values", "cross_keys", "cross_values"};
    static const char* const out[] = {"log_probs", "new_self_keys", "new_self_values"};
    outputs_ = decode_.Run({}, in, inputs_.data(), inputs_.size(), out, 3);
    return outputs_[0].GetTensorData<float>();
  }

  Integers search(int64_t end) override {
    const auto stacked = [this](Ort::Value& memory) {  // one clip; several would lie one after the other
      const size_t size = memory.GetTensorTypeAndShapeInfo().GetElementCount();
      return Ort::Value::CreateTensor<float>(cpu(), memory.GetTensorMutableData<float>(), size, memory_shape_.data(), 5);
    };
    const Ort::Value inputs[] = {tensor(memory_length_, {1}), tensor(beams_, {1}), stacked(inputs_[5]),
                                 stacked(inputs_[6])};
    static const char* const in[] = {"memory_length", "beams", "cross_keys", "cross_values"};
    static const char* const out[] = {"tokens"};
    outputs_ = decode_.Run({}, in, inputs, 4, out, 1);
    const int64_t* first = outputs_[0].GetTensorData<int64_t>();
    const auto last = first + outputs_[0].GetTensorTypeAndShapeInfo().GetShape()[2];
    return Integers(first, std::min(last, std::find(first, last, end) + 1));
  }

 private:
  static Ort::MemoryInfo& cpu() {
    static auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    return memory;
  }

  static Ort::SessionOptions one_thread() {
    Ort::SessionOptions options;
    options.SetIntraOpNumThreads(1);
    return options;
  }

  // A tensor over the memory of `data`: what is written there later is what the next run reads.
  template <typename T>
  static Ort::Value tensor(std::vector<T>& data, const Integers& shape) {
    return Ort::Value::CreateTensor<T>(cpu(), data.data(), data.size(), shape.data(), shape.size());
  }

  Ort::Env environment_{ORT_LOGGING_LEVEL_WARNING};
  Ort::Session encode_, decode_;
  Integers log_mel_shape_, memory_shape_, tokens_, position_{0}, memory_length_{0}, beams_{0};
  Floats keys_, values_;
  std::vector<Ort::Value> inputs_, outputs_;
  int layers_;
  size_t row_;
};

int main(int argc, char** argv) { return caption_main<OnnxModel>(argc, argv); }
