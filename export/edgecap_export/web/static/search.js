// Beam search and the sentence of its tokens, as edgecap.inference.decoding and edgecap.caption have them. Knows nothing
// about graphs or browsers; runs under Node too.
const FINISHED = Math.fround(-1000);  // running sum of a beam that has ended; the published value
const LEFT = new Set(["'s", "'", "n't", "'re", "'ve", "'ll", "'d", "'m", ",", ".", ";", ":", "!", "?", "%", ")"]);
const RIGHT = new Set(["(", "$", "#"]);
const BRACKETS = new Map([["-lrb-", "("], ["-rrb-", ")"]]);

// The hypotheses { tokens, score }, best first. `decode(tokens, position, parents)` gives the log-probabilities of the
// next token, Float32Array (beam · vocabulary), or a promise of them; row i continues row parents[i] of the call before.
export async function beamSearch(decode, { beam, maxTokens, start, end }) {
  let beams = Array.from({ length: beam }, () => ({ token: start, row: 0, sum: 0, tokens: [], alive: true }));
  const hypotheses = [];
  let finished = 0;
  for (let position = 0; position < maxTokens; position++) {
    const logProbs = await decode(beams.map((one) => one.token), position, beams.map((one) => one.row));
    const words = logProbs.length / beam;
    // At first all rows are alike, so only one of them counts.
    const sums = position === 0 ? [0] : beams.map((one) => one.sum);
    beams = best(logProbs, sums, words, beam).map(({ sum, row, token }) =>
      ({ token, row, sum, tokens: [...beams[row].tokens, token], alive: beams[row].alive }));
    for (const one of beams) {
      if (one.token !== end && position + 1 < maxTokens) continue;
      finished += 1;
      // Tokens after an end token count for the stop rule, as published, but are no caption.
      if (one.alive) hypotheses.push({ tokens: one.tokens, score: one.sum / (position + 1) });
      one.sum = FINISHED;
      one.alive = false;
    }
    if (finished === beam || !beams.some((one) => one.alive)) break;
  }
  return hypotheses.sort((a, b) => b.score - a.score);
}

// The `count` highest sums in float32; equal ones in the order of rows, then of tokens.
function best(logProbs, sums, words, count) {
  const kept = [];
  for (let row = 0; row < sums.length; row++) {
    for (let token = 0; token < words; token++) {
      const sum = Math.fround(logProbs[row * words + token] + sums[row]);
      if (Number.isNaN(sum)) throw new Error("the decoder gives log-probabilities that are not numbers");
      if (kept.length === count && !(sum > kept[count - 1].sum)) continue;
      let place = kept.length;
      while (place > 0 && sum > kept[place - 1].sum) place--;
      kept.splice(place, 0, { sum, row, token });
      if (kept.length > count) kept.pop();
    }
  }
  if (!Number.isFinite(kept[0]?.sum)) throw new Error("the decoder gives log-probabilities that are not numbers");
  return kept;
}

// The sentence of token ids. `special` is the manifest's `vocabulary` { pad, start, end, unk }.
export function sentence(tokens, vocabulary, special) {
  const left_out = new Set([special.pad, special.start, special.end, special.unk]);
  let text = "", glue = true;
  for (const token of tokens) {
    if (left_out.has(token)) continue;
    const word = BRACKETS.get(vocabulary[token]) ?? vocabulary[token];
    text += glue || LEFT.has(word) ? word : ` ${word}`;
    glue = RIGHT.has(word);
  }
  return text;
}
