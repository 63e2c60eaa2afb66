//! A forward-only reader over the bytes of one JSON text: no tree, no allocation, no recursion.
//!
//! Why this is not a library: the router needs a few members of a body that it otherwise passes on, so it wants neither a
//! tree nor an error for what only the engine can judge. It skips a long prompt with a vector search for the next quote,
//! skips lists of token ids without parsing the numbers, and has no `unsafe` code. On the same bodies and members
//! jiter takes 1.28 times its time for a chat request of 600 bytes and 1.57 times for one of 50 kB, sonic-rs 1.45 and 1.25,
//! serde_json 1.45 and 1.98 (`cargo bench -p router-bench --bench scan`, medians of one run on two cores of an AMD EPYC).
//!
//! It reads the members that a caller asks for and skips the rest. It checks brackets, quotes, colons, commas, literals
//! and nesting depth. It does not check the inside of strings (UTF-8, control characters, escapes), the digits of numbers
//! and the commas inside flat lists of numbers; the engine, which gets the same bytes, does. Every byte is read a bounded
//! number of times, so the time is linear in the input.

use std::borrow::Cow;

use memchr::{memchr, memchr_iter, memchr3};

/// The bytes are not JSON, or end too early.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct MalformedJson;

/// The result of reading one value.
pub(crate) type Parse<T> = Result<T, MalformedJson>;

/// How many words of eight bytes are searched one by one before a vector search takes over.
const WORDS_BEFORE_SEARCH: usize = 6;

/// A position in a JSON text.
#[derive(Clone, Debug)]
pub(crate) struct JsonReader<'b> {
    bytes: &'b [u8],
    at: usize,
}

/// A flat list of numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NumberList {
    /// How many there are.
    pub(crate) count: u32,
}

impl<'b> JsonReader<'b> {
    /// A reader at the first byte.
    pub(crate) const fn new(bytes: &'b [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The offset of the next unread byte.
    pub(crate) const fn offset(&self) -> usize {
        self.at
    }

    /// The bytes from offset `start` up to the next unread one.
    pub(crate) fn since(&self, start: usize) -> &'b [u8] {
        self.bytes.get(start..self.at).unwrap_or_default()
    }

    /// The next byte that is not white space, not consumed.
    #[inline]
    pub(crate) fn peek(&mut self) -> Parse<u8> {
        loop {
            match self.bytes.get(self.at) {
                Some(&byte) if byte > b' ' => return Ok(byte),
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                Some(&byte) => return Ok(byte),
                None => return Err(MalformedJson),
            }
        }
    }

    /// Whether nothing but white space is left.
    pub(crate) fn at_end(&mut self) -> bool {
        self.peek().is_err()
    }

    /// Walks the members of an object. `each` gets the key and must consume the value.
    /// Any other value is skipped: a wrong type counts as absent and does not make the text malformed.
    pub(crate) fn fields(&mut self, mut each: impl FnMut(&[u8], &mut Self) -> Parse<()>) -> Parse<()> {
        if self.peek()? != b'{' {
            return self.skip();
        }
        self.at += 1;
        if self.peek()? == b'}' {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.field(&mut each)?;
            match self.peek()? {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(MalformedJson),
            }
        }
    }

    #[inline]
    fn field(&mut self, each: &mut impl FnMut(&[u8], &mut Self) -> Parse<()>) -> Parse<()> {
        let start = self.key_at()?;
        let (key, escaped) = self.string()?;
        let whole = self.since(start);
        self.colon()?;
        if escaped {
            // An engine sees the decoded name, so the router has to as well.
            let name = serde_json::from_slice::<String>(whole).unwrap_or_default();
            return each(name.as_bytes(), self);
        }
        each(key, self)
    }

    /// Walks the elements of a list; any other value is skipped. `each` must consume the element.
    pub(crate) fn elements(&mut self, mut each: impl FnMut(&mut Self) -> Parse<()>) -> Parse<()> {
        if self.peek()? != b'[' {
            return self.skip();
        }
        self.at += 1;
        if self.peek()? == b']' {
            self.at += 1;
            return Ok(());
        }
        loop {
            each(self)?;
            match self.peek()? {
                b',' => self.at += 1,
                b']' => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(MalformedJson),
            }
        }
    }

    /// Consumes a value and returns its bytes, quotes and brackets included.
    pub(crate) fn raw(&mut self) -> Parse<&'b [u8]> {
        self.peek()?;
        let start = self.at;
        self.skip()?;
        Ok(self.since(start))
    }

    /// Consumes a string and returns its bytes as they stand between the quotes, and whether any is escaped.
    pub(crate) fn string(&mut self) -> Parse<(&'b [u8], bool)> {
        if self.peek()? != b'"' {
            return Err(MalformedJson);
        }
        self.at += 1;
        let start = self.at;
        let mut escaped = false;
        // Most strings are short, so eight bytes at a time beat the start-up cost of a vector search for the first stretch.
        for _ in 0..WORDS_BEFORE_SEARCH {
            let Some((word, _)) = self.bytes.get(self.at..).and_then(|rest| rest.split_first_chunk::<8>())
            else {
                break;
            };
            match quote_or_escape_in(u64::from_le_bytes(*word)) {
                None => self.at += 8,
                Some(i) if word.get(i) == Some(&b'"') => {
                    self.at += i + 1;
                    return Ok((self.inside(start), escaped));
                }
                Some(i) => {
                    // A backslash and the byte that it escapes.
                    escaped = true;
                    self.at += i + 2;
                }
            }
        }
        let from = self.at;
        self.seek_end_of_string()?;
        let inside = self.inside(start);
        escaped = escaped || memchr(b'\\', inside.get(from - start..).unwrap_or_default()).is_some();
        Ok((inside, escaped))
    }

    /// The bytes from offset `start` up to the quote that was consumed last.
    fn inside(&self, start: usize) -> &'b [u8] {
        self.bytes.get(start..self.at - 1).unwrap_or_default()
    }

    /// Consumes the rest of a string, quote included. Only quotes are looked for, because a long text has far more escaped line
    /// ends than quotes; a quote is escaped if an odd number of backslashes stands before it.
    fn seek_end_of_string(&mut self) -> Parse<()> {
        let rest = self.bytes.get(self.at..).ok_or(MalformedJson)?;
        for quote in memchr_iter(b'"', rest) {
            let before = rest.get(..quote).unwrap_or_default();
            let backslashes = before.iter().rev().take_while(|byte| **byte == b'\\').count();
            if backslashes.is_multiple_of(2) {
                self.at += quote + 1;
                return Ok(());
            }
        }
        Err(MalformedJson)
    }

    /// Consumes any value; the text of it if it is a string of valid UTF-8 and valid escapes.
    pub(crate) fn text(&mut self) -> Parse<Option<Cow<'b, str>>> {
        if self.peek()? != b'"' {
            self.skip()?;
            return Ok(None);
        }
        let start = self.at;
        let (inside, escaped) = self.string()?;
        Ok(if escaped {
            serde_json::from_slice::<String>(self.since(start)).ok().map(Cow::Owned)
        } else {
            std::str::from_utf8(inside).ok().map(Cow::Borrowed)
        })
    }

    /// Consumes any value; the count if it is a whole number that fits. A sign, a fraction or an exponent is unknown.
    pub(crate) fn count(&mut self) -> Parse<Option<u32>> {
        Ok(self.whole_number()?.and_then(|n| u32::try_from(n).ok()))
    }

    /// As [`count`](Self::count), for larger counts.
    pub(crate) fn whole_number(&mut self) -> Parse<Option<u64>> {
        if !self.peek()?.is_ascii_digit() {
            self.skip()?;
            return Ok(None);
        }
        let mut number = Some(0u64);
        while let Some(digit @ b'0'..=b'9') = self.bytes.get(self.at) {
            number = number.and_then(|n| n.checked_mul(10)?.checked_add(u64::from(digit - b'0')));
            self.at += 1;
        }
        if self.bytes.get(self.at).copied().is_some_and(is_in_number) {
            self.skip_number();
            return Ok(None);
        }
        Ok(number)
    }

    /// Consumes any value; the number if it is one, finite and not negative.
    pub(crate) fn measure(&mut self) -> Parse<Option<f64>> {
        if !self.peek()?.is_ascii_digit() {
            self.skip()?;
            return Ok(None);
        }
        let start = self.at;
        self.skip_number();
        let number = std::str::from_utf8(self.since(start)).ok().and_then(|s| s.parse::<f64>().ok());
        Ok(number.filter(|n| n.is_finite()))
    }

    /// Consumes any value; whether it is the literal `true`.
    pub(crate) fn is_true(&mut self) -> Parse<bool> {
        Ok(self.raw()? == b"true")
    }

    /// Consumes a list if it holds nothing but numbers (at least one) and stays where it is if not.
    /// Such lists (token ids, embeddings) are long, and only their length matters, so a vector search passes them.
    pub(crate) fn numbers(&mut self) -> Option<NumberList> {
        let inside = self.bytes.get(self.at + 1..)?;
        let first = inside.iter().find(|b| !matches!(b, b' ' | b'\t' | b'\n' | b'\r'))?;
        if !first.is_ascii_digit() && *first != b'-' {
            return None;
        }
        let end = memchr3(b']', b'[', b'"', inside)?;
        let (list, rest) = inside.split_at_checked(end)?;
        if rest.first() != Some(&b']') || !list.iter().fold(true, |ok, &b| ok & is_numeric(b)) {
            return None;
        }
        let commas = memchr_iter(b',', list).count();
        self.at += end + 2;
        Some(NumberList { count: u32::try_from(commas).unwrap_or(u32::MAX).saturating_add(1) })
    }

    /// Consumes one value of any kind.
    pub(crate) fn skip(&mut self) -> Parse<()> {
        match self.peek()? {
            b'{' | b'[' => self.skip_container(),
            _ => self.skip_scalar(),
        }
    }

    fn skip_scalar(&mut self) -> Parse<()> {
        match self.peek()? {
            b'"' => self.string().map(drop),
            b't' => self.literal(b"true"),
            b'f' => self.literal(b"false"),
            b'n' => self.literal(b"null"),
            b'-' | b'0'..=b'9' => {
                self.skip_number();
                Ok(())
            }
            _ => Err(MalformedJson),
        }
    }

    fn skip_number(&mut self) {
        while self.bytes.get(self.at).copied().is_some_and(is_in_number) {
            self.at += 1;
        }
    }

    fn literal(&mut self, word: &[u8]) -> Parse<()> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        if !rest.starts_with(word) {
            return Err(MalformedJson);
        }
        self.at += word.len();
        Ok(())
    }

    /// Consumes an object or list. Iterative, because a body of a million brackets must not end the process.
    fn skip_container(&mut self) -> Parse<()> {
        let mut nest = BracketStack::default();
        loop {
            match self.peek()? {
                b'{' => {
                    self.at += 1;
                    if self.peek()? == b'}' {
                        self.at += 1;
                    } else {
                        nest.push(Bracket::Object)?;
                        self.key()?;
                        continue;
                    }
                }
                b'[' if self.numbers().is_some() => {}
                b'[' => {
                    self.at += 1;
                    if self.peek()? == b']' {
                        self.at += 1;
                    } else {
                        nest.push(Bracket::List)?;
                        continue;
                    }
                }
                _ => self.skip_scalar()?,
            }
            if self.after_value(&mut nest)? {
                return Ok(());
            }
        }
    }

    /// After a value: closes what ends here and steps to the next value. True when the outermost one has closed.
    fn after_value(&mut self, nest: &mut BracketStack) -> Parse<bool> {
        while let Some(kind) = nest.top() {
            match (self.peek()?, kind) {
                (b',', Bracket::List) => {
                    self.at += 1;
                    return Ok(false);
                }
                (b',', Bracket::Object) => {
                    self.at += 1;
                    self.key()?;
                    return Ok(false);
                }
                (b'}', Bracket::Object) | (b']', Bracket::List) => {
                    self.at += 1;
                    nest.pop();
                }
                _ => return Err(MalformedJson),
            }
        }
        Ok(true)
    }

    fn key(&mut self) -> Parse<()> {
        self.string()?;
        self.colon()
    }

    fn key_at(&mut self) -> Parse<usize> {
        self.peek()?;
        Ok(self.at)
    }

    fn colon(&mut self) -> Parse<()> {
        if self.peek()? != b':' {
            return Err(MalformedJson);
        }
        self.at += 1;
        Ok(())
    }
}

/// The position of the first quote or backslash among eight bytes, first byte lowest.
/// `(x - 01..) & !x & 80..` has the top bit of every zero byte of `x` set; bits above the first one may be false, bits
/// below it are not (Mycroft's null-byte test).
#[inline]
const fn quote_or_escape_in(word: u64) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = 0x8080_8080_8080_8080;
    let quote = word ^ (ONES * b'"' as u64);
    let escape = word ^ (ONES * b'\\' as u64);
    let hits = ((quote.wrapping_sub(ONES) & !quote) | (escape.wrapping_sub(ONES) & !escape)) & TOPS;
    if hits == 0 { None } else { Some(hits.trailing_zeros() as usize / 8) }
}

const fn is_in_number(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')
}

const fn is_numeric(byte: u8) -> bool {
    is_in_number(byte) | matches!(byte, b',' | b' ' | b'\t' | b'\n' | b'\r')
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Bracket {
    Object,
    List,
}

/// The open brackets, one bit each. Deeper than 128 levels is refused, as serde_json does.
#[derive(Default)]
struct BracketStack {
    lists: u128,
    depth: u32,
}

impl BracketStack {
    fn push(&mut self, kind: Bracket) -> Parse<()> {
        if self.depth == u128::BITS {
            return Err(MalformedJson);
        }
        self.lists = self.lists << 1 | u128::from(kind == Bracket::List);
        self.depth += 1;
        Ok(())
    }

    fn pop(&mut self) {
        self.lists >>= 1;
        self.depth -= 1;
    }

    fn top(&self) -> Option<Bracket> {
        match (self.depth, self.lists & 1) {
            (0, _) => None,
            (_, 1) => Some(Bracket::List),
            _ => Some(Bracket::Object),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str) -> bool {
        let mut r = JsonReader::new(text.as_bytes());
        r.skip().is_ok() && r.at_end()
    }

    #[test]
    fn accepts_json_and_refuses_the_rest() {
        for good in [
            "{}",
            "[]",
            " [ ] ",
            "[1, 2,3 ]",
            r#"{"a":[{},[],"x",{"b":null}],"c":-1.5e3}"#,
            r#""\"\\""#,
            "true",
            r#"[1,"a",[2]]"#,
            r#"[[1,2],[3]]"#,
        ] {
            assert!(whole(good), "{good}");
        }
        for bad in [
            "",
            "{",
            "[",
            "{]",
            "[}",
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1,}"#,
            "[1,{]",
            r#"["a",]"#,
            "nul",
            r#""\"#,
            r#""a"#,
            "[1",
            "[[1]",
            "{} {}",
            r#"{a:1}"#,
            r#"{"a":1"b":2}"#,
        ] {
            assert!(!whole(bad), "{bad}");
        }
    }

    #[test]
    fn nesting_agrees_with_full_parser() {
        let deep = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(whole(&deep(128)));
        assert!(!whole(&deep(1_000_000)));
    }

    #[test]
    fn scalars_of_the_wrong_type_are_unknown() {
        for (text, want) in [
            ("7", Some(7)),
            ("-1", None),
            ("1.0", None),
            ("\"7\"", None),
            ("null", None),
            ("4294967296", None),
            ("99999999999999999999999", None),
            ("{}", None),
            ("[1]", None),
        ] {
            assert_eq!(JsonReader::new(text.as_bytes()).count(), Ok(want), "{text}");
        }
        for (text, want) in [("0.5", Some(0.5)), ("1e400", None), ("-0.5", None), ("\"1\"", None)] {
            assert_eq!(JsonReader::new(text.as_bytes()).measure(), Ok(want), "{text}");
        }
    }

    #[test]
    fn only_escaped_text_is_decoded() {
        let text = |s: &'static [u8]| JsonReader::new(s).text();
        assert!(matches!(text(br#""plain""#), Ok(Some(Cow::Borrowed("plain")))));
        assert_eq!(text(br#""a\u0062\n\ud83d\ude00""#), Ok(Some(Cow::Borrowed("ab\n\u{1f600}"))));
        assert_eq!(text(br#""\ud83d""#), Ok(None), "half a surrogate pair is no text");
        assert_eq!(text(b"\"\xff\""), Ok(None));
    }

    #[test]
    fn strings_end_where_a_slow_search_says() {
        // Every length around the word and search limits, with every byte that the bit trick could mistake.
        for len in 0..80 {
            for odd in [b'!', b'#', b'[', b']', 0x22 ^ 0x80, 0x5c ^ 0x80, 0x21, 0x5d, 0, 0xff] {
                for at in 0..len {
                    let mut text = vec![b'a'; len];
                    text[at] = odd;
                    let body = [b"\"", &text[..], b"\"tail\""].concat();
                    let mut r = JsonReader::new(&body);
                    assert_eq!(r.string(), Ok((&text[..], false)));
                    assert_eq!(r.offset(), len + 2);
                }
            }
            let escaped = [&b"\""[..], &vec![b'a'; len], b"\\\"b\""].concat();
            let inside = &escaped[1..escaped.len() - 1];
            assert_eq!(JsonReader::new(&escaped).string(), Ok((inside, true)));
        }
    }
}
