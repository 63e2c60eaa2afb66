//! The script of a prompt, estimated from a sample of its bytes. Tokens per byte differ by a factor of three between
//! scripts.

use router_core::PromptScript;

/// Length of one sampled piece, in bytes. Reading one takes about a tenth of a microsecond.
const PIECE_BYTES: usize = 128;
/// Pieces sampled. They are spread evenly over the prompt, because it often begins with instructions in another
/// language than what follows.
const PIECES: usize = 4;

/// Classes of bytes.
const OTHER: u8 = 0;
const SIGN: u8 = 1;
const HIGH: u8 = 2;

/// The class of every byte. Signs are what code, tables and numbers have more of than prose.
const CLASSES: [u8; 256] = {
    let mut classes = [OTHER; 256];
    let signs = b"0123456789(){}[]<>=+*/_;&|^%$#@~`:\\";
    let mut i = 0;
    while i < signs.len() {
        classes[signs[i] as usize] = SIGN;
        i += 1;
    }
    let mut high = 128;
    while high < 256 {
        classes[high] = HIGH;
        high += 1;
    }
    classes
};

/// The script of a prompt as it stands in the body.
pub(crate) fn script_of(prompt: &[u8]) -> PromptScript {
    let step = (prompt.len() / PIECES).max(PIECE_BYTES);
    let mut counts = [0_usize; 3];
    let mut escapes = 0;
    let mut sampled = 0;
    for from in (0..prompt.len()).step_by(step).take(PIECES) {
        let piece = &prompt[from..prompt.len().min(from + PIECE_BYTES)];
        sampled += piece.len();
        for &byte in piece {
            counts[usize::from(CLASSES[usize::from(byte)])] += 1;
        }
        escapes += piece.windows(2).filter(|pair| pair == b"\\u").count();
    }
    // An eighth of the bytes is far more than accents, quotes and emoji bring into a Latin text; an escape has six.
    let is_much = |bytes: usize| bytes * 8 > sampled;
    if sampled == 0 {
        PromptScript::Unknown
    } else if is_much(counts[usize::from(HIGH)]) {
        PromptScript::Wide
    } else if is_much(6 * escapes) {
        PromptScript::Escaped
    } else if is_much(counts[usize::from(SIGN)]) {
        PromptScript::Code
    } else {
        PromptScript::Latin
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_code_and_chinese_differ() {
        let cases: [(&str, PromptScript); 6] = [
            ("", PromptScript::Unknown),
            (
                "Please summarise the following article about the café in Zürich in two sentences.",
                PromptScript::Latin,
            ),
            ("fn main() { let x: [u8; 4] = [0; 4]; for i in 0..4 { x[i] += 1; } }", PromptScript::Code),
            ("请用两句话总结下面这篇关于人工智能的文章。", PromptScript::Wide),
            ("Расскажи коротко о городе.", PromptScript::Wide),
            (r"\u8bf7\u7528\u4e24\u53e5\u8bdd\u603b\u7ed3", PromptScript::Escaped),
        ];
        for (text, script) in cases {
            assert_eq!(script_of(text.as_bytes()), script, "{text}");
        }
    }

    #[test]
    fn text_after_long_instructions_counts() {
        let prompt = format!("{}{}", "You are a helpful assistant. ".repeat(40), "人工智能".repeat(400));
        assert_eq!(script_of(prompt.as_bytes()), PromptScript::Wide);
    }
}
