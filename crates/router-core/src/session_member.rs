//! The members of a request's body that may name its session.

/// A member of a request's body that names the session, the user or the cached prompt that the request belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SessionMember {
    /// `session_params.session_id` of SGLang.
    SessionParams,
    /// `session_id`.
    SessionId,
    /// `user` of OpenAI.
    User,
    /// `user_id`.
    UserId,
    /// `metadata.user_id` of Anthropic.
    MetadataUserId,
    /// `prompt_cache_key` of OpenAI.
    PromptCacheKey,
    /// `safety_identifier` of OpenAI.
    SafetyIdentifier,
}

impl SessionMember {
    /// All of them, in their usual order of precedence.
    pub const ALL: [Self; 7] = [
        Self::SessionParams,
        Self::SessionId,
        Self::User,
        Self::UserId,
        Self::MetadataUserId,
        Self::PromptCacheKey,
        Self::SafetyIdentifier,
    ];

    /// Its place in [`ALL`](Self::ALL).
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Its name in the body, with a dot where it stands inside of another member.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SessionParams => "session_params.session_id",
            Self::SessionId => "session_id",
            Self::User => "user",
            Self::UserId => "user_id",
            Self::MetadataUserId => "metadata.user_id",
            Self::PromptCacheKey => "prompt_cache_key",
            Self::SafetyIdentifier => "safety_identifier",
        }
    }

    /// The member with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|member| member.as_str() == name)
    }
}
