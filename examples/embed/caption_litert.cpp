// A wav to a sentence in C++ with LiteRT's C API, that of libLiteRt.so in the package ai-edge-litert.
//
//     caption_litert BUNDLE SOUND.wav [--tokens]      one line for each ten seconds
#include "caption.hpp"

using Handle = void*;
extern "C" {  // The package has no headers; these are the functions of its version 2.3 that are used. 0 is success.
int LiteRtCreateEnvironment(int count, const void* options, Handle* environment);
int LiteRtCreateModelFromFile(Handle environment, const char* path, Handle* model);
int LiteRtCreateOptions(Handle* options);
int LiteRtSetOptionsHardwareAccelerators(Handle options, int accelerators);
int LiteRtCreateCompiledModel(Handle environment, Handle model, Handle options, Handle* compiled);
int LiteRtRunCompiledModel(Handle compiled, size_t signature, size_t, Handle* inputs, size_t, Handle* outputs);
int LiteRtGetModelSignature(Handle model, size_t index, Handle* signature);
int LiteRtGetSignatureKey(Handle signature, const char** key);
int LiteRtGetNumSignatureInputs(Handle signature, size_t* count);
int LiteRtGetNumSignatureOutputs(Handle signature, size_t* count);
int LiteRtGetSignatureInputName(Handle signature, size_t index, const char** name);
int LiteRtGetSignatureOutputName(Handle signature, size_t index, const char** name);
int LiteRtGetSignatureInputTensorByIndex(Handle signature, size_t index, Handle* tensor);
int LiteRtGetSignatureOutputTensorByIndex(Handle signature, size_t index, Handle* tensor);
int LiteRtGetRankedTensorType(Handle tensor, void* type);
int LiteRtGetCompiledModelInputBufferRequirements(Handle compiled, size_t signature, size_t index, Handle* needs);
int LiteRtGetCompiledModelOutputBufferRequirements(Handle compiled, size_t signature, size_t index, Handle* needs);
int LiteRtCreateManagedTensorBufferFromRequirements(Handle environment, const void* type, Handle needs, Handle* buffer);
int LiteRtLockTensorBuffer(Handle buffer, void** address, int mode);
int LiteRtUnlockTensorBuffer(Handle buffer);
}
constexpr int CPU = 1, READ = 0, WRITE = 1;  // an accelerator and two lock modes

inline void check(int status, const char* step) {
  if (status) throw std::runtime_error(std::string("LiteRT cannot ") + step + ": status " + std::to_string(status));
}

// One signature of the program, with a buffer for each input and output.
class Signature {
 public:
  Signature(Handle environment, Handle model, Handle compiled, const std::string& wanted) : compiled_(compiled) {
    Handle signature = nullptr, tensor = nullptr, needs = nullptr;
    const char* name = "";
    while (name != wanted) {
      check(LiteRtGetModelSignature(model, ++index_, &signature), "find a signature");
      check(LiteRtGetSignatureKey(signature, &name), "read a signature's name");
    }
    size_t inputs = 0, outputs = 0;
    check(LiteRtGetNumSignatureInputs(signature, &inputs), "count inputs");
    check(LiteRtGetNumSignatureOutputs(signature, &outputs), "count outputs");
    for (size_t i = 0; i < inputs; i++) {
      check(LiteRtGetSignatureInputName(signature, i, &name), "read an input's name");
      check(LiteRtGetSignatureInputTensorByIndex(signature, i, &tensor), "find an input");
      check(LiteRtGetCompiledModelInputBufferRequirements(compiled, index_, i, &needs), "read what an input needs");
      in_.push_back(buffers_[name] = buffer(environment, tensor, needs));
    }
    for (size_t i = 0; i < outputs; i++) {
      check(LiteRtGetSignatureOutputName(signature, i, &name), "read an output's name");
      check(LiteRtGetSignatureOutputTensorByIndex(signature, i, &tensor), "find an output");
      check(LiteRtGetCompiledModelOutputBufferRequirements(compiled, index_, i, &needs), "read what an output needs");
      out_.push_back(buffers_[name] = buffer(environment, tensor, needs));
    }
  }

  void run() {
    check(LiteRtRunCompiledModel(compiled_, index_, in_.size(), in_.data(), out_.size(), out_.data()), "run");
  }

  // Copies between a tensor and memory of the same type.
  template <typename T>
  void write(const std::string& name, std::vector<T>& from) { copy(name, from.data(), from.size() * sizeof(T), WRITE); }
  void read(const std::string& name, Floats& to) { copy(name, to.data(), to.size() * sizeof(float), READ); }

 private:
  static Handle buffer(Handle environment, Handle tensor, Handle needs) {
    alignas(8) char type[256];  // LiteRtRankedTensorType, which has 72 bytes
    Handle created = nullptr;
    check(LiteRtGetRankedTensorType(tensor, type), "read a tensor's type");
    check(LiteRtCreateManagedTensorBufferFromRequirements(environment, type, needs, &created), "create a buffer");
    return created;
  }

  void copy(const std::string& name, void* memory, size_t bytes, int mode) {
    void* address = nullptr;
    check(LiteRtLockTensorBuffer(buffers_.at(name), &address, mode), "lock a buffer");
    std::memcpy(mode == WRITE ? address : memory, mode == WRITE ? memory : address, bytes);
    check(LiteRtUnlockTensorBuffer(buffers_.at(name)), "unlock a buffer");
  }

  Handle compiled_;
  size_t index_ = -1;
  std::vector<Handle> in_, out_;
  std::map<std::string, Handle> buffers_;
};

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

 private:
  static void write_integers(Signature& graph, const char* name, const Integers& numbers) {
    std::vector<int32_t> narrow(numbers.begin(), numbers.end());  // where other runtimes have int64
    graph.write(name, narrow);
  }

  std::unique_ptr<Signature> encode_, decode_;
  Floats keys_, values_, ordered_, memory_, log_probs_;
  int layers_;
  size_t row_;
};

int main(int argc, char** argv) { return caption_main<LiteRtModel>(argc, argv); }
