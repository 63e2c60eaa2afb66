//! Prompts of 100 KB, as agents send them: a conversation grows, and hardly two are alike.

use crate::messages::chat_request_with;
use bytes::Bytes;
use router_core::{RequestFeatures, RequestId, Rng, Route};
use router_protocol::OwnedFacts;

/// Bytes of the user's message, about 800 blocks of 128 bytes.
pub const PROMPT_BYTES: usize = 100_000;

/// Bytes of the text that prompts are cut from.
const TEXT_BYTES: usize = 1 << 18;

const WORDS: [&str; 16] = [
    "the ",
    "worker ",
    "reads ",
    "a ",
    "file ",
    "and ",
    "returns ",
    "its ",
    "lines ",
    "to ",
    "model ",
    "with ",
    "errors\\n",
    "fn ",
    "self.",
    "= ",
];

/// Makes prompts; the same ones in each run.
#[derive(Debug)]
pub struct LongPrompts {
    text: String,
    rng: Rng,
    made: u64,
}

impl Default for LongPrompts {
    fn default() -> Self {
        let mut rng = Rng::seeded(3);
        let mut text = String::with_capacity(TEXT_BYTES + 16);
        while text.len() < TEXT_BYTES {
            text.push_str(WORDS[rng.below(WORDS.len())]);
        }
        Self { text, rng, made: 0 }
    }
}

impl LongPrompts {
    /// A prompt that nobody has sent yet: it differs from all others in its first block.
    pub fn unseen(&mut self) -> String {
        let start = self.number();
        self.filled(start)
    }

    /// A prompt whose first half is that of `other`.
    pub fn half_like(&mut self, other: &str) -> String {
        let start = format!("{}{}", &other[..PROMPT_BYTES / 2], self.number());
        self.filled(start)
    }

    fn number(&mut self) -> String {
        self.made += 1;
        format!("conversation {} ", self.made)
    }

    fn filled(&mut self, start: String) -> String {
        let missing = PROMPT_BYTES - start.len();
        let from = self.rng.below(self.text.len() - missing);
        start + &self.text[from..from + missing]
    }
}

/// A long prompt as a policy sees it.
#[derive(Debug)]
pub struct ScannedPrompt {
    facts: OwnedFacts,
    prefix: Vec<u64>,
}

impl ScannedPrompt {
    /// Scans a chat request with this text.
    pub fn new(text: &str) -> Self {
        let facts = OwnedFacts::scan(Route::ChatCompletions, &Bytes::from(chat_request_with(text)));
        let mut prefix = Vec::new();
        facts.facts().prefix_hashes(&mut prefix);
        Self { facts, prefix }
    }

    /// Passes the features to `work`.
    pub fn with_features(&self, work: impl FnOnce(&RequestFeatures<'_>)) {
        work(&self.facts.facts().features(RequestId(0), Route::ChatCompletions, &self.prefix));
    }
}
