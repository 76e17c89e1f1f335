#!/usr/bin/env bash
# pycocoevalcap's tokenizer: brackets, "!!" and "?!" stay in captions as words, and count in every metric.
#
# Expected: the tokenizer takes all punctuation out, so that "(birds sing)" and "birds sing!!" are "birds sing".
# Instead: Stanford's tokenizer is run with -lowerCase and prints -lrb- and -rrb-, while the list of punctuation that
# is taken out after it names -LRB- and -RRB-. Square brackets and repeated marks ("!!", "?!") are in no list. A set
# whose references have brackets lowers BLEU, ROUGE-L and CIDEr-D of captions that have none.
# Seen: pycocoevalcap 1.2 with its Stanford CoreNLP 3.4.1; aac-metrics runs the same. Any platform with Java.
# edgecap counts words alike, so that its figures are those of the field. Take brackets out of references of your own.
set -euo pipefail
command -v java >/dev/null || { echo "not tried: no Java; type: sudo apt install default-jre-headless"; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
# without its dependencies: COCO's image tools and plots, and the tokenizer needs none of them
venv/bin/pip install --quiet --disable-pip-version-check --no-deps pycocoevalcap==1.2
venv/bin/python - <<'PYTHON'
import sys

from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

print("pycocoevalcap 1.2")
texts = ["birds sing.", "(birds sing)", "[birds] sing", "birds sing!!", "birds sing!"]
tokens = PTBTokenizer().tokenize({index: [{"caption": text}] for index, text in enumerate(texts)})
words = [tokens[index][0] for index in range(len(texts))]
for text, line in zip(texts, words, strict=True):
    print(f"{text:<14} {line}")
if words != ["birds sing", "-lrb- birds sing -rrb-", "-lsb- birds -rsb- sing", "birds sing !!", "birds sing"]:
    sys.exit("CHANGED: other words are left")
print("as described: brackets and repeated marks are words")
PYTHON
