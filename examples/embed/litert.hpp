// LiteRT's C API, as far as caption_litert.cpp needs it, and a signature of a program with its buffers.
#pragma once
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
  template <typename T>
  void read(const std::string& name, std::vector<T>& to) { copy(name, to.data(), to.size() * sizeof(T), READ); }

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
