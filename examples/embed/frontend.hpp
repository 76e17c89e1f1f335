// Samples to a log-mel spectrogram, with the constants of a bundle's manifest: steps 1 to 3 of edgecap's BUNDLE.md.
#pragma once
#include <algorithm>
#include <cmath>
#include <complex>
#include <nlohmann/json.hpp>
#include <vector>

using Floats = std::vector<float>;
using Json = nlohmann::json;
using Turns = std::vector<std::complex<float>>;
constexpr int LANES = 16;
typedef float Lanes __attribute__((vector_size(4 * LANES)));  // one number of each of 16 frames, transformed together

// RMS of the loudest 100 ms in dB relative to full scale, each block without its mean.
inline double level(const Floats& samples, size_t rate) {
  const size_t length = std::min(rate / 10, samples.size());
  double loudest = 1e-12;
  for (size_t start = 0; start < samples.size(); start += length) {
    const float* block = &samples[std::min(start, samples.size() - length)];
    double mean = 0, variance = 0;
    for (size_t i = 0; i < length; i++) mean += block[i];
    mean /= length;
    for (size_t i = 0; i < length; i++) variance += (block[i] - mean) * (block[i] - mean);
    loudest = std::max(loudest, variance / length);
  }
  return 10 * std::log10(loudest);
}

struct Weight {
  int bin, band;
  float value;
};

// Triangular HTK filters with a peak of 1: the weights above 0.
inline std::vector<Weight> mel_bank(const Json& f) {
  const int size = f["n_fft"], bands = f["n_mels"];
  const bool in_hertz = f["mel_slopes"] == "hertz";
  const auto mel = [](double hertz) { return 2595 * std::log10(1 + hertz / 700); };
  const double low = mel(f["f_min"]), high = mel(f["f_max"]), rate = f["sample_rate"];
  const auto edge = [&](int i) {
    const double place = low + (high - low) * i / (bands + 1);
    return in_hertz ? 700 * (std::pow(10, place / 2595) - 1) : place;
  };
  std::vector<Weight> bank;
  for (int band = 0; band < bands; band++) {
    const double left = edge(band), peak = edge(band + 1), right = edge(band + 2);
    for (int bin = in_hertz ? 0 : 1; bin <= size / 2; bin++) {  // over mel, the constant component is in no band
      const double place = in_hertz ? bin * rate / size : mel(bin * rate / size);
      const float weight = std::min((place - left) / (peak - left), (right - place) / (right - peak));
      if (weight > 0) bank.push_back({bin, band, weight});
    }
  }
  return bank;
}

// The Fourier transform in place, of numbers whose places have their bits reversed; the length is a power of two.
inline void transform(std::vector<Lanes>& real, std::vector<Lanes>& imaginary, const Turns& turns) {
  const int size = real.size();
  for (int half = 1; half < size; half *= 2) {
    for (int k = 0; k < half; k++) {
      const float cosine = turns[k * (size / half / 2)].real(), sine = turns[k * (size / half / 2)].imag();
      for (int a = k, b = k + half; a < size; a += 2 * half, b += 2 * half) {
        const Lanes x = real[b] * cosine - imaginary[b] * sine, y = real[b] * sine + imaginary[b] * cosine;
        real[b] = real[a] - x, imaginary[b] = imaginary[a] - y;
        real[a] += x, imaginary[a] += y;
      }
    }
  }
}

// Log-mel of one clip with its own level and floor, padded behind with silence: (n_mels, columns).
inline Floats log_mel(const Floats& samples, const Json& f, int columns) {
  const int size = f["n_fft"], length = f["win_length"], hop = f["hop_length"], bands = f["n_mels"], power = f["power"];
  const int half = size / 2, count = samples.size(), frames = count / hop + 1;
  const float amin = f["amin"], offset = f["log_offset"], range = f["top_db"];
  const bool decibel = f["compression"] == "decibel";
  const auto bank = mel_bank(f);
  Floats window(size), mel(bands * frames), padded(count + size + 2 * LANES * hop);
  for (int i = 0; i < length; i++) window[(size - length) / 2 + i] = 0.5 - 0.5 * std::cos(2 * M_PI * i / length);
  std::copy(samples.begin(), samples.end(), padded.begin() + half);
  for (int i = 1; i <= half; i++) padded[half - i] = samples[i], padded[half + count - 1 + i] = samples[count - 1 - i];
  std::vector<int> order(size);
  Turns turns(half);
  for (int i = 0; i < size; i++) order[i] = order[i / 2] / 2 + i % 2 * half;
  for (int i = 0; i < half; i++) turns[i] = std::polar(1.0, -2 * M_PI * i / size);
  std::vector<Lanes> real(size), imaginary(size), energy(2 * half + 2), sums(2 * bands);
  for (int first = 0; first < frames; first += 2 * LANES) {
    for (int i = 0; i < size; i++) {  // half of the frames are the real numbers, half the imaginary ones
      const float *sample = &padded[first * hop + order[i]], *later = sample + LANES * hop;
      for (int lane = 0; lane < LANES; lane++) real[i][lane] = sample[lane * hop] * window[order[i]];
      for (int lane = 0; lane < LANES; lane++) imaginary[i][lane] = later[lane * hop] * window[order[i]];
    }
    transform(real, imaginary, turns);
    for (int bin = 0; bin <= half; bin++) {  // which symmetry takes apart
      const Lanes a = real[bin], b = imaginary[bin], c = real[(size - bin) % size], d = imaginary[(size - bin) % size];
      energy[2 * bin] = ((a + c) * (a + c) + (b - d) * (b - d)) / 4;
      energy[2 * bin + 1] = ((b + d) * (b + d) + (c - a) * (c - a)) / 4;
    }
    for (size_t i = 0; power == 1 && i < energy.size(); i++) {
      for (int lane = 0; lane < LANES; lane++) energy[i][lane] = std::sqrt(energy[i][lane]);
    }
    std::fill(sums.begin(), sums.end(), Lanes{});
    for (const auto& [bin, band, weight] : bank) {
      sums[2 * band] += energy[2 * bin] * weight;
      sums[2 * band + 1] += energy[2 * bin + 1] * weight;
    }
    for (int band = 0; band < bands; band++) {
      for (int i = 0; i < std::min(2 * LANES, frames - first); i++) {
        const float value = sums[2 * band + i / LANES][i % LANES];
        mel[band * frames + first + i] = decibel ? std::max(value, amin) : value;
      }
    }
  }
  double mean = 0;
  for (const float value : mel) mean += (power == 1 ? value * value : value) / mel.size();
  mean = std::max(mean, 1e-10);
  const double level = f["clip_level"].is_null() ? 10 * std::log10(mean) : double(f["clip_level"]);
  const float gain = std::pow(10, (level - 10 * std::log10(mean)) * power / 20);
  for (float& value : mel) value = decibel ? 10 * std::log10(value * gain) : std::log(value * gain + offset);
  const float floor = decibel ? *std::max_element(mel.begin(), mel.end()) - range : -INFINITY;
  Floats output(bands * columns, decibel ? 10 * std::log10(amin) : std::log(offset));
  for (int band = 0; band < bands; band++) {
    const float* row = &mel[band * frames];
    std::transform(row, row + frames, &output[band * columns], [&](float value) { return std::max(value, floor); });
  }
  return output;
}
