//! The shapes a prompt comes in: one text, token ids, or a list of either.

use crate::json::{JsonReader, Parse};

/// What the bytes of a prompt are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PromptShape {
    /// One string.
    Text,
    /// A list of numbers: the token ids of one prompt.
    Tokens(u32),
    /// A list of strings: one prompt each.
    Texts(u32),
    /// A list of lists of numbers: one prompt each.
    TokenLists {
        /// How many lists.
        lists: u32,
        /// How many numbers in all of them.
        tokens: u32,
    },
    /// A list whose elements are something else: messages, items, embeddings of several prompts.
    Items(u32),
    /// An object or a bare scalar.
    Other,
}

/// The bytes of a prompt in the body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prompt<'b> {
    /// A string without its quotes, a list with its brackets.
    pub(crate) raw: &'b [u8],
    pub(crate) shape: PromptShape,
}

impl<'b> Prompt<'b> {
    /// Consumes a value; `null` is no prompt.
    pub(crate) fn read(r: &mut JsonReader<'b>) -> Parse<Option<Self>> {
        let first = r.peek()?;
        if first == b'"' {
            return Ok(Some(Self { raw: r.string()?.0, shape: PromptShape::Text }));
        }
        let start = r.offset();
        let shape = if first == b'[' { Self::list(r)? } else { Self::other(r)? };
        let raw = r.since(start);
        Ok((raw != b"null").then_some(Self { raw, shape }))
    }

    /// Consumes a value that is known to hold one prompt, without reading it.
    pub(crate) fn opaque(r: &mut JsonReader<'b>) -> Parse<Option<Self>> {
        let raw = r.raw()?;
        Ok((raw != b"null").then_some(Self { raw, shape: PromptShape::Other }))
    }

    /// Consumes embeddings: a list of rows is one prompt, a list of lists of rows one prompt each.
    pub(crate) fn embeddings(r: &mut JsonReader<'b>) -> Parse<Option<Self>> {
        Ok(Self::read(r)?.map(|p| match p.shape {
            PromptShape::Items(_) => p,
            _ => Self { shape: PromptShape::Other, ..p },
        }))
    }

    fn other(r: &mut JsonReader<'b>) -> Parse<PromptShape> {
        r.skip()?;
        Ok(PromptShape::Other)
    }

    fn list(r: &mut JsonReader<'b>) -> Parse<PromptShape> {
        if let Some(n) = r.numbers() {
            return Ok(PromptShape::Tokens(n.count));
        }
        let (mut texts, mut lists, mut tokens, mut all) = (0u32, 0u32, 0u32, 0u32);
        r.elements(|r| {
            all = all.saturating_add(1);
            match r.peek()? {
                b'"' => {
                    texts += 1;
                    r.string().map(drop)
                }
                b'[' => match r.numbers() {
                    Some(n) => {
                        lists += 1;
                        tokens = tokens.saturating_add(n.count);
                        Ok(())
                    }
                    None => r.skip(),
                },
                _ => r.skip(),
            }
        })?;
        Ok(if all == texts && all > 0 {
            PromptShape::Texts(all)
        } else if all == lists && all > 0 {
            PromptShape::TokenLists { lists, tokens }
        } else {
            PromptShape::Items(all)
        })
    }

    /// How many prompts the value holds; `items` says what the elements of a list of other values are.
    pub(crate) fn prompts(&self, items: ListItems) -> u32 {
        match (self.shape, items) {
            (PromptShape::Texts(n) | PromptShape::TokenLists { lists: n, .. }, _)
            | (PromptShape::Items(n), ListItems::OneEach) => n.max(1),
            _ => 1,
        }
    }

    /// How many tokens, when the value holds token ids.
    pub(crate) const fn tokens(&self) -> Option<u32> {
        match self.shape {
            PromptShape::Tokens(n) | PromptShape::TokenLists { tokens: n, .. } => Some(n),
            _ => None,
        }
    }

    /// Length in the body, in bytes.
    pub(crate) const fn bytes(&self) -> u64 {
        self.raw.len() as u64
    }
}

/// What the elements of a list of neither texts nor token ids are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ListItems {
    /// Parts of one prompt (messages, response items).
    OnePrompt,
    /// A prompt each (multimodal embedding inputs, embeddings of several prompts).
    OneEach,
}
