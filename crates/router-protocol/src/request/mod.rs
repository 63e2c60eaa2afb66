//! Reads a request body in one pass ([`scan`]). No tree, no copy, no validation: the engine gets the same bytes and
//! decides whether they are a valid request.
//!
//! Of a name that occurs twice the last value counts, as in the JSON readers of the engines. A value of the wrong type
//! counts as absent.

mod members;
mod owned;
mod prefix;
mod prompt;
mod script;
mod session_names;

pub use members::{set_members, set_rank};
pub use owned::OwnedFacts;
pub use prefix::{MAX_PREFIX_BLOCKS, PREFIX_BLOCK_BYTES, prefix_hashes};
pub use session_names::SessionNames;

use std::borrow::Cow;

use router_core::{OutputForm, PromptScript, RequestFeatures, RequestId, Route, SessionMember};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::json::{JsonReader, Parse};
use crate::request::prefix::chained_hashes;
use crate::request::prompt::{ListItems, Prompt};
use crate::request::script::script_of;

/// What a request body says. Absent means unknown.
#[derive(Clone, PartialEq, Debug)]
pub struct RequestFacts<'b> {
    /// Whether the body is one JSON object and nothing after it. When false, nothing else is known.
    /// The inside of strings and the digits of numbers are not checked.
    pub well_formed: bool,
    /// Whether the client asked for a stream of events (`"stream": true`).
    pub stream: bool,
    /// How many prompts; 1 unless it is a batch. For rerank and score, how many documents.
    pub batch: u32,
    /// How many choices per prompt: the larger of `n` and `best_of`; 1 unless the client asks for more.
    pub choices: u32,
    /// The prompt as it stands in the body: a string with its escapes and without its quotes, a list (messages,
    /// token ids, a batch) with its brackets. For rerank and score, the query.
    pub prompt: Option<&'b [u8]>,
    /// What stands before the prompt when the engine renders it, as it stands in the body: the tools and the system prompt of
    /// `/v1/messages`.
    pub preamble: [Option<&'b [u8]>; 2],
    /// Length of all prompts (with preamble and documents) in the body, in bytes; of the whole body when no prompt was
    /// found.
    pub prompt_bytes: u64,
    /// Tokens of all prompts together, when the client sent token ids.
    pub prompt_tokens: Option<u32>,
    /// The client's limit on generated tokens per choice; the largest one of a batch.
    pub max_output_tokens: Option<u32>,
    /// SGLang's own request id, the first one of a batch.
    pub rid: Option<Cow<'b, str>>,
    /// What names the session whose requests should go to one worker.
    pub session: SessionNames<'b>,
    /// The model and the adapter (`lora_path` of SGLang) as they stand in the body. What an engine has cached for one of them
    /// is of no use for another one.
    pub model: [Option<&'b [u8]>; 2],
    /// What the output must be: free, or with tools, or of a format. Of a request with both, the format counts.
    pub form: OutputForm,
    /// The stored response that a `/v1/responses` request continues (`previous_response_id`).
    pub previous_response: Option<Cow<'b, str>>,
    /// The conversation that a `/v1/responses` request belongs to, by its id.
    pub conversation: Option<Cow<'b, str>>,
}

impl RequestFacts<'_> {
    /// Facts about a body of `len` bytes that is not JSON.
    fn unknown(len: usize) -> Self {
        Self {
            well_formed: false,
            stream: false,
            batch: 1,
            choices: 1,
            prompt: None,
            preamble: [None; 2],
            prompt_bytes: len as u64,
            prompt_tokens: None,
            max_output_tokens: None,
            rid: None,
            session: SessionNames::default(),
            model: [None; 2],
            form: OutputForm::Free,
            previous_response: None,
            conversation: None,
        }
    }

    /// The request as a policy sees it. `prefix` comes from [`prefix_hashes`](Self::prefix_hashes), or is empty.
    /// What takes time is left out; add [`text`](Self::text), [`script`](Self::script), [`model_key`](Self::model_key) and
    /// [`routing_key`](SessionNames::routing_key) where a policy needs them.
    pub fn features<'a>(&'a self, id: RequestId, route: Route, prefix: &'a [u64]) -> RequestFeatures<'a> {
        RequestFeatures {
            arrived_at: None,
            id,
            attempt: 0,
            route,
            stream: self.stream,
            batch: self.batch,
            prompt_bytes: self.prompt_bytes,
            script: PromptScript::Unknown,
            prompt_tokens: self.prompt_tokens,
            max_output_tokens: self.max_output_tokens,
            choices: self.choices,
            prefix,
            prefix_block_bytes: PREFIX_BLOCK_BYTES,
            text: None,
            routing_key: None,
            target_worker: None,
            client: None,
            model: None,
            form: self.form,
            stated_output_tokens: None,
            forecast: None,
            fleet_forecast: None,
        }
    }

    /// Replaces the content of `out` by the [hashes](crate::prefix_hashes) of the preamble and the prompt, for this model and
    /// adapter.
    pub fn prefix_hashes(&self, out: &mut Vec<u64>) {
        out.clear();
        if let Some(prompt) = self.prompt {
            chained_hashes(self.model_key().unwrap_or(0), self.preamble.into_iter().flatten(), prompt, out);
        }
    }

    /// The name of the model, if it is a text.
    pub fn model_name(&self) -> Option<Cow<'_, str>> {
        text_of(self.model[0]?)
    }

    /// The name of the adapter, if it is one text.
    pub fn adapter_name(&self) -> Option<Cow<'_, str>> {
        text_of(self.model[1]?)
    }

    /// The hash of the model and the adapter; absent where the request names neither.
    pub fn model_key(&self) -> Option<u64> {
        self.model
            .into_iter()
            .flatten()
            .fold(None, |key, name| Some(xxh3_64_with_seed(name, key.unwrap_or(0))))
    }

    /// The prompt as text, as it stands in the body; absent when it is not UTF-8.
    pub fn text(&self) -> Option<&str> {
        self.prompt.and_then(|p| std::str::from_utf8(p).ok())
    }

    /// The script of the prompt, estimated from a sample of its bytes.
    pub fn script(&self) -> PromptScript {
        self.prompt.map_or(PromptScript::Unknown, script_of)
    }
}

/// The hash of a routing key. Policies see the hash, wherever the client wrote the key.
pub fn routing_key(key: &[u8]) -> u64 {
    xxh3_64(key)
}

/// The text that a JSON value is; `None` for other values.
fn text_of(json: &[u8]) -> Option<Cow<'_, str>> {
    JsonReader::new(json).text().ok()?
}

/// Reads a request body once. Never fails: a body that is not one JSON object has `well_formed: false`.
///
/// ```
/// use router_core::Route;
/// let body = br#"{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true,"max_tokens":8}"#;
/// let facts = router_protocol::scan(Route::ChatCompletions, body);
/// assert_eq!((facts.stream, facts.max_output_tokens), (true, Some(8)));
/// assert_eq!(facts.prompt, Some(&br#"[{"role":"user","content":"hi"}]"#[..]));
/// ```
pub fn scan<'b>(route: Route, body: &'b [u8]) -> RequestFacts<'b> {
    let mut members = BodyMembers::default();
    let mut reader = JsonReader::new(body);
    let object = reader.peek() == Ok(b'{');
    if !object || members.read(&mut reader).is_err() {
        return RequestFacts::unknown(body.len());
    }
    if !reader.at_end() {
        return RequestFacts::unknown(body.len());
    }
    members.facts(route, body.len())
}

/// The members of the body the router looks at, whatever the route.
#[derive(Default)]
struct BodyMembers<'b> {
    stream: bool,
    text: Option<Prompt<'b>>,
    prompt: Option<Prompt<'b>>,
    messages: Option<Prompt<'b>>,
    input: Option<Prompt<'b>>,
    ids: Option<Prompt<'b>>,
    embeds: Option<Prompt<'b>>,
    query: Option<Prompt<'b>>,
    documents: Option<Prompt<'b>>,
    tools: Option<Prompt<'b>>,
    system: Option<Prompt<'b>>,
    n: Option<u32>,
    best_of: Option<u32>,
    max_tokens: Option<u32>,
    max_completion_tokens: Option<u32>,
    max_output_tokens: Option<u32>,
    sampling: SamplingParams,
    rid: Option<Cow<'b, str>>,
    session: SessionNames<'b>,
    model: Option<&'b [u8]>,
    adapter: Option<&'b [u8]>,
    has_format: bool,
    previous_response: Option<Cow<'b, str>>,
    conversation: Option<Cow<'b, str>>,
}

/// What `sampling_params` says; the largest of each when it is a list, one entry per prompt.
#[derive(Clone, Copy, Default)]
struct SamplingParams {
    n: Option<u32>,
    max_new_tokens: Option<u32>,
    has_format: bool,
}

impl<'b> BodyMembers<'b> {
    fn read(&mut self, r: &mut JsonReader<'b>) -> Parse<()> {
        r.fields(|key, r| self.member(key, r))
    }

    #[inline]
    fn member(&mut self, key: &[u8], r: &mut JsonReader<'b>) -> Parse<()> {
        match key {
            b"stream" => self.stream = r.is_true()?,
            b"messages" => self.messages = Prompt::opaque(r)?,
            b"text" | b"text_1" => self.text = Prompt::read(r)?,
            b"prompt" => self.prompt = Prompt::read(r)?,
            b"input" => self.input = Prompt::read(r)?,
            b"input_ids" | b"prompt_token_ids" | b"token_ids" | b"tokens" => self.ids = Prompt::read(r)?,
            b"input_embeds" => self.embeds = Prompt::embeddings(r)?,
            b"query" => self.query = Prompt::read(r)?,
            b"documents" | b"items" | b"text_2" => self.documents = Prompt::read(r)?,
            b"max_tokens" | b"max_new_tokens" => self.max_tokens = r.count()?,
            b"max_completion_tokens" => self.max_completion_tokens = r.count()?,
            b"max_output_tokens" => self.max_output_tokens = r.count()?,
            b"n" => self.n = r.count()?,
            b"best_of" => self.best_of = r.count()?,
            b"sampling_params" => self.sampling = SamplingParams::read(r)?,
            b"rid" => self.rid = first_text(r)?,
            b"session_params" => self.session.set(SessionMember::SessionParams, session_id(r)?),
            b"session_id" => self.session.set(SessionMember::SessionId, r.text()?),
            b"user" => self.session.set(SessionMember::User, r.text()?),
            b"user_id" => self.session.set(SessionMember::UserId, r.text()?),
            b"metadata" => {
                let name = member(r, b"user_id", JsonReader::text)?.flatten();
                self.session.set(SessionMember::MetadataUserId, name);
            }
            b"prompt_cache_key" => self.session.set(SessionMember::PromptCacheKey, r.text()?),
            b"safety_identifier" => self.session.set(SessionMember::SafetyIdentifier, r.text()?),
            b"model" => self.model = present(r)?,
            b"lora_path" => self.adapter = present(r)?,
            b"previous_response_id" => self.previous_response = r.text()?,
            b"conversation" if r.peek()? == b'{' => {
                self.conversation = member(r, b"id", JsonReader::text)?.flatten();
            }
            b"conversation" => self.conversation = r.text()?,
            b"response_format"
            | b"json_schema"
            | b"regex"
            | b"ebnf"
            | b"structural_tag"
            | b"structured_outputs"
            | b"guided_json"
            | b"guided_regex"
            | b"guided_choice"
            | b"guided_grammar" => {
                self.has_format |= present(r)?.is_some();
            }
            b"tools" => self.tools = Prompt::opaque(r)?,
            b"system" => self.system = Prompt::opaque(r)?,
            _ => r.skip()?,
        }
        Ok(())
    }

    fn facts(self, route: Route, len: usize) -> RequestFacts<'b> {
        let prompt = self.prompt_of(route);
        let (batch, extra) = match (route, self.documents) {
            (Route::Rerank, Some(d)) => (d.prompts(ListItems::OneEach), d.bytes()),
            _ => (prompt.map_or(1, |p| p.prompts(items_of(route))), 0),
        };
        let preamble = if route == Route::Messages { [self.tools, self.system] } else { [None; 2] };
        let extra = extra + preamble.iter().flatten().map(Prompt::bytes).sum::<u64>();
        RequestFacts {
            well_formed: true,
            stream: self.stream,
            batch,
            choices: self.n.max(self.best_of).max(self.sampling.n).unwrap_or(1).max(1),
            prompt: prompt.map(|p| p.raw),
            preamble: preamble.map(|part| part.map(|p| p.raw)),
            prompt_bytes: prompt.map_or(len as u64, |p| p.bytes() + extra),
            prompt_tokens: prompt.and_then(|p| p.tokens()),
            max_output_tokens: self
                .max_completion_tokens
                .or(self.max_tokens)
                .or(self.max_output_tokens)
                .or(self.sampling.max_new_tokens),
            rid: self.rid,
            session: self.session,
            model: [self.model, self.adapter],
            form: match self.tools {
                _ if self.has_format || self.sampling.has_format => OutputForm::Format,
                Some(_) => OutputForm::Tools,
                None => OutputForm::Free,
            },
            previous_response: self.previous_response,
            conversation: self.conversation,
        }
    }
}

impl<'b> BodyMembers<'b> {
    /// The prompt the route names, or else the first there is.
    fn prompt_of(&self, route: Route) -> Option<Prompt<'b>> {
        let named = match route {
            Route::Generate => self.text.or(self.ids).or(self.embeds),
            Route::ChatCompletions | Route::Messages => self.messages,
            Route::Completions | Route::Tokenize => self.prompt,
            Route::Embeddings | Route::Responses | Route::Classify => self.input,
            Route::Rerank => self.query,
            _ => None,
        };
        named
            .or(self.messages)
            .or(self.prompt)
            .or(self.text)
            .or(self.input)
            .or(self.ids)
            .or(self.embeds)
            .or(self.query)
    }
}

/// Whether each element of a list prompt is a prompt of its own, where its type does not show it.
const fn items_of(route: Route) -> ListItems {
    match route {
        Route::Generate | Route::Embeddings | Route::Classify => ListItems::OneEach,
        _ => ListItems::OnePrompt,
    }
}

impl SamplingParams {
    /// One object, or a list of one per prompt.
    fn read(r: &mut JsonReader<'_>) -> Parse<Self> {
        let mut all = Self::default();
        if r.peek()? == b'[' {
            r.elements(|r| {
                let one = Self::one(r)?;
                all.n = all.n.max(one.n);
                all.max_new_tokens = all.max_new_tokens.max(one.max_new_tokens);
                all.has_format |= one.has_format;
                Ok(())
            })?;
            return Ok(all);
        }
        Self::one(r)
    }

    fn one(r: &mut JsonReader<'_>) -> Parse<Self> {
        let mut one = Self::default();
        r.fields(|key, r| {
            match key {
                b"n" => one.n = r.count()?,
                b"max_new_tokens" | b"max_tokens" => one.max_new_tokens = r.count()?,
                b"json_schema" | b"regex" | b"ebnf" | b"structural_tag" => {
                    one.has_format |= present(r)?.is_some()
                }
                _ => r.skip()?,
            }
            Ok(())
        })?;
        Ok(one)
    }
}

/// A value as it stands in the body, unless it is null.
fn present<'b>(r: &mut JsonReader<'b>) -> Parse<Option<&'b [u8]>> {
    Ok(Some(r.raw()?).filter(|raw| *raw != b"null"))
}

/// The member called `name` of an object, as `read` reads it; the last one where there are several.
fn member<'b, T>(
    r: &mut JsonReader<'b>,
    name: &[u8],
    read: impl Fn(&mut JsonReader<'b>) -> Parse<T>,
) -> Parse<Option<T>> {
    let mut found = None;
    r.fields(|key, r| {
        if key == name {
            found = Some(read(r)?);
            return Ok(());
        }
        r.skip()
    })?;
    Ok(found)
}

/// What `read` reads, of the first element when there is a list of them.
fn first<'b, T>(
    r: &mut JsonReader<'b>,
    read: impl Fn(&mut JsonReader<'b>) -> Parse<Option<T>>,
) -> Parse<Option<T>> {
    if r.peek()? != b'[' {
        return read(r);
    }
    let mut first = None;
    let mut seen = false;
    r.elements(|r| {
        if seen {
            return r.skip();
        }
        seen = true;
        first = read(r)?;
        Ok(())
    })?;
    Ok(first)
}

/// A string, or the first element of a list of strings.
fn first_text<'b>(r: &mut JsonReader<'b>) -> Parse<Option<Cow<'b, str>>> {
    first(r, JsonReader::text)
}

/// `session_params.session_id`, of the first entry when it is a list.
fn session_id<'b>(r: &mut JsonReader<'b>) -> Parse<Option<Cow<'b, str>>> {
    first(r, |r| Ok(member(r, b"session_id", JsonReader::text)?.flatten()))
}
