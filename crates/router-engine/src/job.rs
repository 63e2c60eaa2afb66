//! What goes into the engine and what comes out: jobs, their progress and their times.
//!
//! Not here: how a job is scheduled (see `scheduler`).

use router_core::Time;

/// The host's name for a job; must be unique among the jobs in the engine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct JobId(pub u64);

/// One generation request, already tokenised.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Job {
    /// The host's name for it.
    pub id: JobId,
    /// Prompt length in tokens; 0 counts as 1, since an engine always has a first token to feed.
    pub prompt_tokens: u32,
    /// Chained hashes of the prompt's full blocks of [`crate::EngineLimits::block_tokens`] tokens, first block first.
    /// Equal leading runs mean equal prefixes. May be empty: nothing is then shared.
    pub blocks: Box<[u64]>,
    /// Tokens it will generate. 0 means the prefill runs and nothing is sampled.
    pub output_tokens: u32,
    /// Tokens the client allows. The scheduler knows only this bound, never `output_tokens`.
    pub max_output_tokens: u32,
    /// Whether another engine has prefilled the prompt. Its keys and values take memory, and only its last token is
    /// computed.
    pub prefilled: bool,
}

impl Job {
    /// A job without shared prefix whose length bound is exactly its length.
    pub fn new(id: JobId, prompt_tokens: u32, output_tokens: u32) -> Self {
        Self {
            id,
            prompt_tokens,
            blocks: Box::default(),
            output_tokens,
            max_output_tokens: output_tokens,
            prefilled: false,
        }
    }
}

/// When a job passed each stage, in engine time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JobTimes {
    /// Handed to the engine.
    pub submitted_at: Time,
    /// In the waiting queue: `submitted_at` plus the per-request overhead `c0` (tokenising, transport).
    pub queued_at: Time,
    /// First put into a prefill batch; `None` while it waits.
    pub scheduled_at: Option<Time>,
    /// First token sampled; `None` before, and always when no token is asked for.
    pub first_token_at: Option<Time>,
    /// Last token sampled, or the time of this report while it still runs.
    pub finished_at: Time,
}

/// What one finished job leaves behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JobRecord {
    /// Which job.
    pub id: JobId,
    /// When it passed each stage.
    pub times: JobTimes,
    /// Prompt tokens found in the prefix cache when it was first scheduled.
    pub cached_tokens: u32,
    /// Tokens generated.
    pub output_tokens: u32,
    /// How often it was retracted from the running batch because the KV cache was full.
    pub retractions: u32,
    /// Jobs in the waiting queue at that moment.
    pub waiting: u32,
}

/// What happened to a job at the end of a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JobEvent {
    /// The first token came out of the prefill.
    FirstToken {
        /// Which job.
        id: JobId,
        /// Its times so far; `finished_at` is the time of this token.
        times: JobTimes,
        /// Prompt tokens found in the prefix cache.
        cached_tokens: u32,
    },
    /// A further token came out.
    Token {
        /// Which job.
        id: JobId,
        /// Tokens generated so far, this one included.
        generated: u32,
        /// When.
        at: Time,
    },
    /// The last token came out (its own [`JobEvent::Token`] was reported before).
    Finished(JobRecord),
}

/// Where an abort found the job, and what it leaves behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AbortedJob {
    /// It was still waiting and had generated nothing.
    Waiting(JobRecord),
    /// It was running, or waiting again after a retraction.
    Running(JobRecord),
}

/// Why a job was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SubmitError {
    /// The waiting queue is at [`crate::EngineLimits::max_queued`].
    QueueFull,
    /// Prompt and allowed output together could never fit the KV cache.
    ExceedsKv,
}

/// A job with its state inside the engine.
#[derive(Clone, Debug)]
pub(crate) struct Sequence {
    pub(crate) job: Job,
    pub(crate) generated: u32,
    pub(crate) queued_at: Time,
    pub(crate) submitted_at: Time,
    pub(crate) scheduled_at: Option<Time>,
    pub(crate) first_token_at: Option<Time>,
    pub(crate) cached_tokens: u32,
    pub(crate) retractions: u32,
    /// Leading blocks of the job this sequence holds a reference on.
    pub(crate) shared_blocks: usize,
    /// KV tokens held outside shared blocks.
    pub(crate) private_tokens: u64,
    /// Of its tokens, how many are computed or were found in the cache, while its prompt is being computed.
    pub(crate) computed: u64,
    /// Tokens that the step in progress computes.
    pub(crate) chunk: u64,
}

impl Sequence {
    /// KV tokens the sequence needs to be resident: its prompt and what it generated.
    pub(crate) fn tokens(&self) -> u64 {
        u64::from(self.job.prompt_tokens.max(1)) + u64::from(self.generated)
    }

    /// Tokens it may still generate, as far as the scheduler knows.
    pub(crate) fn may_grow(&self) -> u64 {
        u64::from(self.job.max_output_tokens.max(self.job.output_tokens).saturating_sub(self.generated))
    }

    /// How many of `tokens` tokens this engine computes: of a prompt that another engine prefilled, only the last one.
    pub(crate) fn work(&self, tokens: u64) -> u64 {
        if self.job.prefilled { tokens.min(1) } else { tokens }
    }

    /// Whether its last token is out.
    pub(crate) fn done(&self) -> bool {
        self.generated >= self.job.output_tokens
    }

    pub(crate) fn times(&self, now: Time) -> JobTimes {
        JobTimes {
            submitted_at: self.submitted_at,
            queued_at: self.queued_at,
            scheduled_at: self.scheduled_at,
            first_token_at: self.first_token_at,
            finished_at: now,
        }
    }

    pub(crate) fn record(&self, now: Time, waiting: usize) -> JobRecord {
        JobRecord {
            id: self.job.id,
            times: self.times(now),
            cached_tokens: self.cached_tokens,
            output_tokens: self.generated,
            retractions: self.retractions,
            waiting: u32::try_from(waiting).unwrap_or(u32::MAX),
        }
    }
}
