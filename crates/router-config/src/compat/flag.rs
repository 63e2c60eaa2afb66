//! A flag of another router and what it maps to.

/// A router whose command lines are accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SourceRouter {
    /// sglang-router 0.3.2, as `sglang-router launch` or `python -m sglang_router.launch_router`.
    SglangRouter,
    /// smg 1.13.0.
    Smg,
    /// vllm-router 0.1.17.
    VllmRouter,
    /// sglang-router 0.1, by its Python launcher.
    SglangRouter01,
}

impl SourceRouter {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 4] = [Self::SglangRouter, Self::Smg, Self::VllmRouter, Self::SglangRouter01];

    /// Name and version whose flags the table has.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::SglangRouter => "sglang-router 0.3.2",
            Self::Smg => "smg 1.13",
            Self::VllmRouter => "vllm-router 0.1.17",
            Self::SglangRouter01 => "sglang-router 0.1",
        }
    }
}

/// How many values follow a flag.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FlagValues {
    /// None.
    Zero,
    /// One.
    One,
    /// All arguments up to the next flag.
    Many,
}

/// What a flag maps to.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum FlagMapping {
    /// This router has the same flag; the text says what is different, if anything.
    Same(&'static str),
    /// These arguments replace it, with its value in place of `{}`.
    ReplacedBy(&'static [&'static str]),
    /// It is this option of a policy; without effect, and logged, when the policy does not have it.
    PolicyOption(&'static str),
    /// It is accepted without effect; the text says why, and is logged.
    Ignored(&'static str),
    /// It is an error; the text says what to do instead.
    Rejected(&'static str),
    /// Some values have their own mapping; all others have the second.
    ByValue(&'static [(&'static str, FlagMapping)], &'static FlagMapping),
}

/// Flags with the same mapping.
#[derive(Clone, Copy, Debug)]
pub(super) struct FlagRow {
    pub(super) routers: &'static [SourceRouter],
    pub(super) values: FlagValues,
    pub(super) names: &'static [&'static str],
    pub(super) mapping: FlagMapping,
}

/// A flag of other routers.
#[derive(Clone, Copy, Debug)]
pub struct ForeignFlag {
    /// Name without dashes.
    pub name: &'static str,
    /// The routers that have it.
    pub routers: &'static [SourceRouter],
    /// Number of its values.
    pub values: FlagValues,
    /// What it maps to.
    pub mapping: FlagMapping,
}
