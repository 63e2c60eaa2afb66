//! What is known of a flag of another router, and what becomes of it here.

/// A router whose command lines are understood.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SourceRouter {
    /// sglang-router 0.3.2, as `sglang-router launch` or `python -m sglang_router.launch_router`.
    SglangRouter,
    /// smg 1.13.0.
    Smg,
    /// vllm-router 0.1.17.
    VllmRouter,
    /// The launcher of sglang-router 0.1.
    Seed,
}

impl SourceRouter {
    /// All of them, as the documentation orders them.
    pub const ALL: [Self; 4] = [Self::SglangRouter, Self::Smg, Self::VllmRouter, Self::Seed];

    /// The name and the version whose flags the table has.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::SglangRouter => "sglang-router 0.3.2",
            Self::Smg => "smg 1.13",
            Self::VllmRouter => "vllm-router 0.1.17",
            Self::Seed => "sglang-router 0.1",
        }
    }
}

/// How many values follow a flag.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FlagValues {
    /// None.
    Nothing,
    /// One.
    One,
    /// All words up to the next flag.
    Many,
}

/// What becomes of a flag.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum FlagMapping {
    /// It is a flag of ours; the text says what is different, if anything.
    Same(&'static str),
    /// These words take its place, with the value where `{}` stands.
    Becomes(&'static [&'static str]),
    /// It is taken and changes nothing, because of what the text says; the log says so.
    Nothing(&'static str),
    /// It is refused; the text says what to do instead.
    Refused(&'static str),
    /// Some values have a fate of their own; the other ones have the second.
    ByValue(&'static [(&'static str, FlagMapping)], &'static FlagMapping),
}

/// Some flags that have one fate.
#[derive(Clone, Copy, Debug)]
pub(super) struct FlagRow {
    pub(super) peers: &'static [SourceRouter],
    pub(super) takes: FlagValues,
    pub(super) names: &'static [&'static str],
    pub(super) fate: FlagMapping,
}

/// A flag of other routers.
#[derive(Clone, Copy, Debug)]
pub struct ForeignFlag {
    /// Without the dashes.
    pub name: &'static str,
    /// Those that have it.
    pub peers: &'static [SourceRouter],
    /// Its values.
    pub takes: FlagValues,
    /// What becomes of it.
    pub fate: FlagMapping,
}
