//! Why a token is not accepted.

/// Why a token is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Invalid {
    /// It is no JSON Web Token in compact form, is too long, or asks for an extension.
    Malformed,
    /// No key has its algorithm and its `kid`.
    Key,
    /// The signature is not that of the key.
    Signature,
    /// Its `exp` is past.
    Expired,
    /// Its `nbf` is yet to come.
    NotYet,
    /// Its `iss` is not `token-issuer`.
    Issuer,
    /// Its `aud` does not name `token-audience`.
    Audience,
    /// Its `sub` is missing, too long, or has a control character or a space at an end.
    User,
    /// Another claim is missing, or has a value that it may not have.
    Claims,
}

impl Invalid {
    /// All reasons.
    pub(crate) const ALL: [Self; 9] = [
        Self::Malformed,
        Self::Key,
        Self::Signature,
        Self::Expired,
        Self::NotYet,
        Self::Issuer,
        Self::Audience,
        Self::User,
        Self::Claims,
    ];

    /// The word for counters and for the log. A client must not see it: it tells a forger what to change.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Key => "key",
            Self::Signature => "signature",
            Self::Expired => "expired",
            Self::NotYet => "not-yet",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::User => "user",
            Self::Claims => "claims",
        }
    }

    /// The sentence for the client. It tells only what the client can read from its token.
    pub(crate) const fn sentence(self) -> &'static str {
        match self {
            Self::Malformed => "the token is not a JSON Web Token",
            Self::Expired => "the token has expired",
            Self::NotYet => "the token is not valid yet",
            Self::Key | Self::Signature | Self::Issuer | Self::Audience | Self::User | Self::Claims => {
                "the token is not valid here"
            }
        }
    }
}
