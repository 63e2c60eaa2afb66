//! Made loads with several clients: each sends a share of the requests, with lengths of its own.

use crate::arrivals::{ArrivalProcess, LengthDistribution, shared_prefix};
use crate::workload::{SimulatedRequest, Workload, WorkloadClient};
use router_core::{Rng, Time};
use std::str::FromStr;

/// A longer name is a typing error.
const LONGEST_NAME: usize = 64;
/// Tokens per block of the prompts' prefixes.
const BLOCK: u32 = 64;

/// What one client of a made load sends.
#[derive(Clone, PartialEq, Debug)]
pub struct ClientProfile {
    /// Its name: letters, digits, `-`, `_` and `.`, at most 64.
    pub name: String,
    /// How many of the requests it sends, relative to the shares of the others. Above 0.
    pub share: f64,
    /// Prompt tokens after the shared prefix.
    pub prompt: LengthDistribution,
    /// Output tokens, before `max_tokens` cuts them off.
    pub output: LengthDistribution,
    /// Tokens with which all its prompts begin, such as a system prompt. Default 0.
    pub shared_tokens: u32,
    /// The limit of output tokens that each of its requests names. Default: the longest output.
    pub max_tokens: u32,
    /// The share of its responses that are streamed, from 0 to 1. Default 1.
    pub stream: f64,
}

/// One request of a [`ClientMix`], before it has an arrival.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClientRequest {
    /// Index of its client.
    pub client: usize,
    /// Prompt tokens after the client's shared prefix.
    pub own_tokens: u32,
    /// Tokens that will be generated; at most the client's `max_tokens`.
    pub output_tokens: u32,
    /// Whether the response is streamed.
    pub stream: bool,
}

/// The clients of a made load; at least one, each with a name of its own.
///
/// ```
/// use router_sim::{ArrivalProcess, ClientMix};
///
/// let mix: ClientMix = "chat:share=3,input-len=200..600,output-len=lognormal:250:1;\
///                       extract:share=1,input-len=1500..3000,output-len=5..30,max-tokens=64,stream=0".parse()?;
/// let load = ArrivalProcess::poisson(10.0).clients(400, &mix, 1);
/// assert_eq!(load.clients.iter().map(|client| client.name.as_str()).collect::<Vec<_>>(), ["chat", "extract"]);
/// # Ok::<(), router_sim::ClientMixError>(())
/// ```
#[derive(Clone, PartialEq, Debug)]
pub struct ClientMix(Vec<ClientProfile>);

/// The text describes no clients.
#[non_exhaustive]
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ClientMixError {
    /// A part is not a name with members.
    #[error("`{0}` is not of the form NAME:MEMBER=VALUE,MEMBER=VALUE")]
    Form(String),
    /// A name has other characters than those allowed, or too many.
    #[error("`{0}` is no name of a client: letters, digits, `-`, `_` and `.`, at most {LONGEST_NAME}")]
    Name(String),
    /// Two clients have one name.
    #[error("client {0} is described twice")]
    Twice(String),
    /// A member does not exist.
    #[error("client {client}: `{member}` is unknown; the members are {}", MEMBERS.join(", "))]
    UnknownMember {
        /// The client.
        client: String,
        /// The member.
        member: String,
    },
    /// A member is given twice.
    #[error("client {client}: {member} is given twice")]
    MemberTwice {
        /// The client.
        client: String,
        /// The member.
        member: &'static str,
    },
    /// A member that has no default is absent.
    #[error("client {client} needs {member}")]
    Missing {
        /// The client.
        client: String,
        /// The member.
        member: &'static str,
    },
    /// A member has another value than it may have.
    #[error("client {client}: {member}={value}: {problem}")]
    Value {
        /// The client.
        client: String,
        /// The member.
        member: &'static str,
        /// Its value.
        value: String,
        /// What was expected.
        problem: String,
    },
}

/// The members of a client's description.
const MEMBERS: [&str; 6] = ["share", "input-len", "output-len", "prefix-len", "max-tokens", "stream"];

impl ClientMix {
    /// The clients, in the order of the description.
    pub fn clients(&self) -> &[ClientProfile] {
        &self.0
    }

    /// The share of the requests that a client sends, from 0 to 1.
    pub fn share(&self, client: usize) -> f64 {
        let total: f64 = self.0.iter().map(|client| client.share).sum();
        self.0.get(client).map_or(0.0, |client| client.share / total)
    }

    /// Draws `n` requests. The same seed gives the same requests.
    pub fn requests(&self, n: usize, seed: u64) -> Vec<ClientRequest> {
        // Independent of the arrivals, which use the seed itself.
        let mut rng = Rng::seeded(seed ^ 0x636C_6965_6E74_7321);
        let total: f64 = self.0.iter().map(|client| client.share).sum();
        // Of each client evenly distributed: a share of one half streams exactly every second response.
        let mut due = vec![0.0; self.0.len()];
        let draw = |_| {
            let client = self.pick(rng.unit_f64() * total);
            let profile = &self.0[client];
            due[client] += profile.stream;
            let stream = due[client] >= 1.0;
            due[client] -= if stream { 1.0 } else { 0.0 };
            ClientRequest {
                client,
                own_tokens: profile.prompt.sample(&mut rng),
                output_tokens: profile.output.sample(&mut rng).min(profile.max_tokens),
                stream,
            }
        };
        (0..n).map(draw).collect()
    }

    /// The client at this place on the line of shares.
    fn pick(&self, mut place: f64) -> usize {
        for (index, client) in self.0.iter().enumerate() {
            place -= client.share;
            if place < 0.0 {
                return index;
            }
        }
        self.0.len() - 1
    }
}

impl ArrivalProcess {
    /// `n` requests of several clients.
    pub fn clients(&self, n: usize, mix: &ClientMix, seed: u64) -> Workload {
        let mut rng = Rng::seeded(seed);
        let mut now = 0.0;
        let clients: Vec<_> = mix.0.iter().map(|client| WorkloadClient::named(&client.name)).collect();
        let drawn = mix.requests(n, seed).into_iter().enumerate();
        let requests = drawn.map(|(index, request)| {
            now += self.gap(&mut rng);
            let shared_tokens = mix.0[request.client].shared_tokens;
            let tokens = shared_tokens.saturating_add(request.own_tokens);
            SimulatedRequest {
                max_output_tokens: Some(mix.0[request.client].max_tokens),
                prefix: shared_prefix(tokens / BLOCK, shared_tokens / BLOCK, request.client as u64, index),
                stream: request.stream,
                client: Some(clients[request.client].key),
                ..SimulatedRequest::at(Time::from_secs_f64(now), tokens, request.output_tokens)
            }
        });
        let load = Workload::new(requests.collect());
        Workload { block_tokens: BLOCK, clients, ..load }
    }
}

impl FromStr for ClientMix {
    type Err = ClientMixError;

    /// Parses `NAME:MEMBER=VALUE,…;NAME:MEMBER=VALUE,…`. The members are `share`, `input-len` and `output-len`, and, if they
    /// are not the default, `prefix-len`, `max-tokens` and `stream`; see [`ClientProfile`].
    fn from_str(text: &str) -> Result<Self, ClientMixError> {
        let mut clients: Vec<ClientProfile> = Vec::new();
        for part in text.trim().trim_end_matches(';').split(';') {
            let client = profile(part.trim())?;
            if clients.iter().any(|other| other.name == client.name) {
                return Err(ClientMixError::Twice(client.name));
            }
            clients.push(client);
        }
        Ok(Self(clients))
    }
}

fn profile(part: &str) -> Result<ClientProfile, ClientMixError> {
    let form = || ClientMixError::Form(part.to_owned());
    let (name, members) = part.split_once(':').ok_or_else(form)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(allowed) {
        return Err(ClientMixError::Name(name.to_owned()));
    }
    let mut given = GivenMembers { client: name, values: [None; MEMBERS.len()] };
    for pair in members.split(',') {
        let (member, value) = pair.split_once('=').ok_or_else(form)?;
        given.add(member.trim(), value.trim())?;
    }
    let output: LengthDistribution = given.needed("output-len", length)?;
    Ok(ClientProfile {
        name: name.to_owned(),
        share: given.needed("share", share)?,
        prompt: given.needed("input-len", length)?,
        output,
        shared_tokens: given.value("prefix-len", tokens)?.unwrap_or(0),
        max_tokens: given.value("max-tokens", tokens)?.unwrap_or_else(|| output.longest()),
        stream: given.value("stream", stream)?.unwrap_or(1.0),
    })
}

/// The members of one client as they are written, in the order of [`MEMBERS`].
struct GivenMembers<'a> {
    client: &'a str,
    values: [Option<&'a str>; MEMBERS.len()],
}

impl<'a> GivenMembers<'a> {
    fn add(&mut self, member: &str, value: &'a str) -> Result<(), ClientMixError> {
        let client = || self.client.to_owned();
        let Some(index) = MEMBERS.iter().position(|known| *known == member) else {
            return Err(ClientMixError::UnknownMember { client: client(), member: member.to_owned() });
        };
        if self.values[index].is_some() {
            return Err(ClientMixError::MemberTwice { client: client(), member: MEMBERS[index] });
        }
        self.values[index] = Some(value);
        Ok(())
    }

    /// The value of a member, if it is given.
    fn value<T>(
        &self,
        member: &'static str,
        parse: fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ClientMixError> {
        let given = MEMBERS.iter().zip(self.values).find(|(known, _)| **known == member);
        let Some(value) = given.and_then(|(_, value)| value) else { return Ok(None) };
        let named = |problem| ClientMixError::Value {
            client: self.client.to_owned(),
            member,
            value: value.to_owned(),
            problem,
        };
        parse(value).map(Some).map_err(named)
    }

    fn needed<T>(
        &self,
        member: &'static str,
        parse: fn(&str) -> Result<T, String>,
    ) -> Result<T, ClientMixError> {
        let missing = || ClientMixError::Missing { client: self.client.to_owned(), member };
        self.value(member, parse)?.ok_or_else(missing)
    }
}

fn length(text: &str) -> Result<LengthDistribution, String> {
    text.parse().map_err(|error: crate::LengthDistributionError| error.to_string())
}

fn tokens(text: &str) -> Result<u32, String> {
    match length(text) {
        Ok(LengthDistribution::Fixed(tokens)) => Ok(tokens),
        _ => Err("expected a whole number of tokens above 0".to_owned()),
    }
}

fn share(text: &str) -> Result<f64, String> {
    let positive = text.parse().ok().filter(|x: &f64| x.is_finite() && *x > 0.0);
    positive.ok_or_else(|| "expected a number above 0".to_owned())
}

fn stream(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|x: &f64| (0.0..=1.0).contains(x));
    share.ok_or_else(|| "expected a share from 0 to 1".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RequestStart;

    const THREE: &str = "chat:share=0.5,input-len=200..600,output-len=lognormal:250:1:1000,stream=0.5;\
        extract:share=0.4,input-len=1500..3000,output-len=5..30,max-tokens=64,stream=0;\
        agents:share=0.1,input-len=100,output-len=300..900,prefix-len=1024";

    fn mix() -> ClientMix {
        THREE.parse().unwrap()
    }

    #[test]
    fn description_is_read() {
        let mix = mix();
        let [chat, extract, agents] = mix.clients() else { panic!("{mix:?}") };
        assert_eq!((&*chat.name, chat.max_tokens, chat.stream, chat.shared_tokens), ("chat", 1000, 0.5, 0));
        assert_eq!((&*extract.name, extract.max_tokens, extract.stream), ("extract", 64, 0.0));
        assert_eq!((agents.max_tokens, agents.stream, agents.shared_tokens), (900, 1.0, 1024));
        assert_eq!(agents.prompt, LengthDistribution::Fixed(100));
        let relative: ClientMix =
            "a:share=3,input-len=1,output-len=1 ; b:share=1,input-len=1,output-len=1;".parse().unwrap();
        assert_eq!((relative.share(0), relative.share(1)), (0.75, 0.25));
    }

    #[test]
    fn errors_name_the_culprit() {
        for (text, parts) in [
            ("", &["``", "NAME:MEMBER=VALUE"][..]),
            ("chat", &["`chat`", "NAME:MEMBER=VALUE"]),
            ("chat:share", &["chat:share", "NAME:MEMBER=VALUE"]),
            ("my chat:share=1", &["`my chat`", "name of a client"]),
            (":share=1", &["``", "name of a client"]),
            ("chat:share=1,input-len=5", &["client chat", "output-len"]),
            ("chat:input-len=5,output-len=5", &["client chat", "share"]),
            ("chat:share=0,input-len=5,output-len=5", &["client chat", "share=0", "above 0"]),
            ("chat:share=nan,input-len=5,output-len=5", &["client chat", "share=nan"]),
            ("chat:share=1,input-len=9..3,output-len=5", &["client chat", "input-len=9..3", "LOW..HIGH"]),
            ("chat:share=1,input-len=5,output-len=0", &["client chat", "output-len=0", "LOW..HIGH"]),
            ("chat:share=1,speed=2", &["client chat", "`speed`", "share, input-len"]),
            ("chat:share=1,share=2", &["client chat", "share", "twice"]),
            ("chat:share=1,input-len=5,output-len=5,stream=2", &["client chat", "stream=2", "from 0 to 1"]),
            ("chat:share=1,input-len=5,output-len=5,max-tokens=0", &["client chat", "max-tokens=0"]),
            ("chat:share=1,input-len=5,output-len=5,prefix-len=1..2", &["client chat", "prefix-len=1..2"]),
            ("a:share=1,input-len=5,output-len=5;a:share=1,input-len=5,output-len=5", &["client a", "twice"]),
        ] {
            let error = text.parse::<ClientMix>().unwrap_err().to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{text}: {error}");
        }
    }

    #[test]
    fn load_follows_the_description() {
        const REQUESTS: usize = 10_000;
        let load = ArrivalProcess::poisson(20.0).clients(REQUESTS, &mix(), 7);
        assert_eq!(load, ArrivalProcess::poisson(20.0).clients(REQUESTS, &mix(), 7));
        assert_ne!(load, ArrivalProcess::poisson(20.0).clients(REQUESTS, &mix(), 8));
        let of = |name: &str| {
            let key = load.clients.iter().find(|client| client.name == name).unwrap().key;
            load.requests.iter().filter(|request| request.client == Some(key)).collect::<Vec<_>>()
        };
        let (chat, extract, agents) = (of("chat"), of("extract"), of("agents"));
        for (requests, share) in [(&chat, 0.5), (&extract, 0.4), (&agents, 0.1)] {
            let found = requests.len() as f64 / REQUESTS as f64;
            assert!((found - share).abs() < 0.02, "{found} of {share}");
        }
        let outputs =
            |of: &[&SimulatedRequest]| of.iter().map(|r| f64::from(r.output_tokens)).collect::<Vec<_>>();
        let mean = outputs(&chat).iter().sum::<f64>() / chat.len() as f64;
        assert!((200.0..260.0).contains(&mean), "{mean}: of 250, cut off at 1000");
        assert!(outputs(&extract).iter().all(|tokens| (5.0..=30.0).contains(tokens)));
        assert!(outputs(&agents).iter().all(|tokens| (300.0..=900.0).contains(tokens)));
        assert!(extract.iter().all(|r| (1500..=3000).contains(&r.prompt_tokens) && !r.stream));
        assert!(extract.iter().all(|r| r.max_output_tokens == Some(64)), "the limit tells no length");
        assert!(agents.iter().all(|r| r.prompt_tokens == 1124 && r.stream));
        let streamed = chat.iter().filter(|r| r.stream).count();
        assert_eq!(streamed, chat.len() / 2);
        assert!(agents.iter().all(|r| r.prefix[..16] == agents[0].prefix[..16] && r.prefix.len() == 17));
        assert!(agents[1..].iter().all(|r| r.prefix[16] != agents[0].prefix[16]));
        assert!(chat[1..].iter().all(|r| r.prefix[0] != chat[0].prefix[0]), "chats share nothing");
        let RequestStart::At(last) = load.requests[REQUESTS - 1].start else { panic!("it has a time") };
        assert!((450.0..550.0).contains(&last.as_secs_f64()));
    }
}
